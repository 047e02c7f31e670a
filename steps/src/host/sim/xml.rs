//! Just enough XML for libvirt's documents: elements, attributes, text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

/// An element.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) attrs: Vec<(String, String)>,
    pub(crate) children: Vec<Node>,
    pub(crate) text: String,
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn with_text(name: &str, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::new(name)
        }
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.put(name, value);
        self
    }

    pub(crate) fn put(&mut self, name: &str, value: &str) {
        match self.attrs.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.attrs.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(crate) fn attr(&self, name: &str) -> Option<&str> {
        let found = self.attrs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }

    pub(crate) fn child_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.children.iter_mut().find(|child| child.name == name)
    }

    /// Descends by names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }

    /// Direct children of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Inserts after the first child of the name, or in front.
    pub(crate) fn insert_after(&mut self, name: &str, node: Node) {
        let at = self.children.iter().position(|child| child.name == name);
        self.children.insert(at.map_or(0, |at| at + 1), node);
    }

    /// As libvirt prints it: two blanks per level, single quotes.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.render_into(&mut text, 0);
        text
    }

    fn render_into(&self, text: &mut String, depth: usize) {
        text.extend(std::iter::repeat_n("  ", depth));
        text.push('<');
        text.push_str(&self.name);
        for (name, value) in &self.attrs {
            let _ = write!(text, " {name}='{}'", escape(value));
        }
        if self.children.is_empty() && self.text.is_empty() {
            text.push_str("/>\n");
            return;
        }
        text.push('>');
        text.push_str(&escape(&self.text));
        if !self.children.is_empty() {
            text.push('\n');
            for child in &self.children {
                child.render_into(text, depth + 1);
            }
            text.extend(std::iter::repeat_n("  ", depth));
        }
        let _ = writeln!(text, "</{}>", self.name);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&apos;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&apos;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// Most documents remembered per thread.
const REMEMBERED_MAX: usize = 256;

thread_local! {
    static REMEMBERED: RefCell<HashMap<String, Rc<Node>>> = RefCell::new(HashMap::new());
}

/// The root element of a stored document, parsed once; an empty one if it cannot be parsed.
///
/// Stored documents change rarely and every look at a guest reads several of them.
pub(crate) fn stored(text: &str) -> Rc<Node> {
    REMEMBERED.with_borrow_mut(|remembered| {
        if let Some(node) = remembered.get(text) {
            return Rc::clone(node);
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let node = Rc::new(parse(text).unwrap_or_default());
        remembered.insert(text.to_owned(), Rc::clone(&node));
        node
    })
}

/// Deepest accepted nesting.
const DEPTH_MAX: usize = 64;

/// The root element; the error says what is wrong.
pub(crate) fn parse(text: &str) -> Result<Node, String> {
    let mut rest = text;
    let mut stack: Vec<Node> = Vec::new();
    loop {
        let Some(open) = rest.find('<') else {
            return Err("Document is empty or not closed".to_owned());
        };
        let (before, tag) = rest.split_at(open);
        if let Some(top) = stack.last_mut() {
            top.text.push_str(unescape(before).trim());
        }
        if let Some(comment) = tag.strip_prefix("<!--") {
            rest = comment.split_once("-->").ok_or("Comment not terminated")?.1;
            continue;
        }
        let (inner, after) = tag_end(tag).ok_or("Couldn't find end of Start Tag")?;
        rest = after;
        if inner.starts_with('?') || inner.starts_with('!') {
            continue;
        }
        let closed = if let Some(name) = inner.strip_prefix('/') {
            let node = stack.pop().ok_or("Extra content at the end")?;
            if node.name != name.trim() {
                return Err(format!(
                    "Opening and ending tag mismatch: {} and {name}",
                    node.name
                ));
            }
            node
        } else {
            let empty = inner.ends_with('/');
            let node = start(inner.trim_end_matches('/'))?;
            if !empty {
                if stack.len() >= DEPTH_MAX {
                    return Err("Excessive depth in document".to_owned());
                }
                stack.push(node);
                continue;
            }
            node
        };
        match stack.last_mut() {
            Some(top) => top.children.push(closed),
            None => return Ok(closed),
        }
    }
}

/// Splits after the `>` that is not inside quotes.
fn tag_end(tag: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in tag.char_indices().skip(1) {
        match (quote, c) {
            (None, '>') => return Some((tag.get(1..at)?, tag.get(at + 1..)?)),
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

fn start(inner: &str) -> Result<Node, String> {
    let (name, mut rest) = match inner.find(char::is_whitespace) {
        Some(at) => inner.split_at(at),
        None => (inner, ""),
    };
    let mut node = Node::new(name);
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(node);
        }
        let (key, value) = rest.split_once('=').ok_or("attributes construct error")?;
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or("AttValue: \" or ' expected")?;
        let (value, after) = value
            .get(1..)
            .and_then(|value| value.split_once(quote))
            .ok_or("AttValue: not terminated")?;
        node.put(key.trim(), &unescape(value));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let text = "<?xml version=\"1.0\"?><network a=\"x&lt;y\"><!-- c --><name>n</name>\n <ip address='1.2.3.4'><dhcp/></ip></network>";
        let node = parse(text).unwrap();
        assert_eq!(node.attr("a"), Some("x<y"));
        assert_eq!(node.at(&["name"]).unwrap().text, "n");
        let printed = node.render();
        assert_eq!(
            printed,
            "<network a='x&lt;y'>\n  <name>n</name>\n  <ip address='1.2.3.4'>\n    <dhcp/>\n  </ip>\n</network>\n"
        );
        assert_eq!(parse(&printed).unwrap(), node);
        for bad in ["", "<a>", "<a></b>", "<a b=c/>", "text"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
