//! Reading and writing the XML of libvirt: elements, attributes and text; nothing else of XML is kept.

use std::fmt::Write as _;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 32;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name, with prefix.
    pub(crate) name: String,
    /// Its attributes in order.
    pub(crate) attrs: Vec<(String, String)>,
    /// Its elements in order.
    pub(crate) children: Vec<Node>,
    /// Its text, without surrounding white space.
    pub(crate) text: String,
}

impl Node {
    /// An element without content.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// The same with an attribute more.
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attrs.push((name.to_owned(), value.into()));
        self
    }

    /// The same with an element more.
    #[must_use]
    pub(crate) fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// The same with text.
    #[must_use]
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// An attribute.
    pub(crate) fn attr(&self, name: &str) -> Option<&str> {
        self.attrs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All elements of that name directly inside.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element at a path of names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        self.children
            .iter()
            .filter(|child| child.name == *first)
            .find_map(|child| child.at(rest))
    }

    /// The attribute of the first element at a path; empty when there is none.
    pub(crate) fn attr_at(&self, path: &[&str], name: &str) -> &str {
        self.at(path)
            .and_then(|node| node.attr(name))
            .unwrap_or_default()
    }

    /// The element as text, indented.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        self.render_into(&mut out, 0);
        out
    }

    /// The element as one line.
    pub(crate) fn line(&self) -> String {
        self.render()
            .lines()
            .map(str::trim_start)
            .collect::<String>()
    }

    fn render_into(&self, out: &mut String, depth: usize) {
        let pad = "  ".repeat(depth);
        let _ = write!(out, "{pad}<{}", self.name);
        for (name, value) in &self.attrs {
            let _ = write!(out, " {name}='{}'", escape(value));
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>\n");
        } else if self.children.is_empty() {
            let _ = writeln!(out, ">{}</{}>", escape(&self.text), self.name);
        } else {
            out.push_str(">\n");
            for child in &self.children {
                child.render_into(out, depth + 1);
            }
            let _ = writeln!(out, "{pad}</{}>", self.name);
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&apos;")
        .replace('"', "&quot;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&apos;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// Reads a document; `None` when it is not well-formed.
pub(crate) fn parse(text: &str) -> Option<Node> {
    let mut reader = Reader { rest: text };
    reader.skip_misc()?;
    reader.element(0)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Skips white space, declarations and comments.
    fn skip_misc(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("<!--") {
                self.rest = self.rest.split_once("-->")?.1;
            } else if self.rest.starts_with("<?") || self.rest.starts_with("<!") {
                self.rest = self.rest.split_once('>')?.1;
            } else {
                return Some(());
            }
        }
    }

    fn until(&mut self, stops: &[char]) -> Option<&'a str> {
        let at = self.rest.find(stops)?;
        let (head, tail) = self.rest.split_at_checked(at)?;
        self.rest = tail;
        Some(head)
    }

    fn element(&mut self, depth: usize) -> Option<Node> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.rest = self.rest.strip_prefix('<')?;
        let name = self.until(&[' ', '\t', '\n', '\r', '>', '/'])?;
        let mut node = Node::new(name);
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix("/>") {
                self.rest = rest;
                return Some(node);
            }
            if let Some(rest) = self.rest.strip_prefix('>') {
                self.rest = rest;
                break;
            }
            node.attrs.push(self.attribute()?);
        }
        self.content(&mut node, depth)?;
        Some(node)
    }

    fn attribute(&mut self) -> Option<(String, String)> {
        let name = self.until(&['='])?.trim().to_owned();
        self.rest = self.rest.strip_prefix('=')?.trim_start();
        let quote = self.rest.chars().next().filter(|c| "'\"".contains(*c))?;
        self.rest = self.rest.strip_prefix(quote)?;
        let value = unescape(self.until(&[quote])?);
        self.rest = self.rest.strip_prefix(quote)?;
        Some((name, value))
    }

    fn content(&mut self, node: &mut Node, depth: usize) -> Option<()> {
        let mut text = String::new();
        loop {
            text.push_str(self.until(&['<'])?);
            if let Some(rest) = self.rest.strip_prefix("</") {
                let (name, after) = rest.split_once('>')?;
                if name.trim_end() != node.name {
                    return None;
                }
                self.rest = after;
                node.text = unescape(text.trim());
                return Some(());
            }
            if self.rest.starts_with("<!--") {
                self.rest = self.rest.split_once("-->")?.1;
            } else {
                node.children.push(self.element(depth + 1)?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: &str = "<?xml version='1.0'?>\n<!-- a comment -->\n<network connections=\"2\">\n  <name>a&amp;b</name>\n  \
        <ip address='192.168.122.1'>\n    <dhcp>\n      <host mac='52:54:00:57:00:10'/><host mac='x'/>\n    </dhcp>\n  </ip>\n</network>\n";

    #[test]
    fn elements_attributes_and_text_are_read() {
        let net = parse(NET).unwrap();
        assert_eq!(net.attr("connections"), Some("2"));
        assert_eq!(net.at(&["name"]).unwrap().text, "a&b");
        assert_eq!(net.attr_at(&["ip"], "address"), "192.168.122.1");
        assert_eq!(net.at(&["ip", "dhcp"]).unwrap().all("host").count(), 2);
        assert_eq!(net.attr_at(&["forward"], "mode"), "");
    }

    #[test]
    fn rendering_and_reading_are_inverse() {
        let net = parse(NET).unwrap();
        assert_eq!(parse(&net.render()).unwrap(), net);
        assert_eq!(
            Node::new("host").set("mac", "a'b").line(),
            "<host mac='a&apos;b'/>"
        );
    }

    #[test]
    fn malformed_documents_are_refused() {
        for text in ["", "plain", "<a>", "<a></b>", "<a x=1/>", "<a x='1/>"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let deep = "<a>".repeat(100);
        assert_eq!(parse(&deep), None);
    }
}
