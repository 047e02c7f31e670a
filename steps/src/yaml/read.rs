//! From text to tree.

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle, options};

use super::error::Why;
use super::node::{Data, Entry, Node};
use super::path::{Seg, YamlPath};
use super::scalar::Style;

/// Largest file, in bytes; the largest of a release has 20 KiB.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most nested collections.
const DEPTH_MAX: usize = 48;

/// Why a text has no tree, and where.
pub(super) struct Refused {
    pub(super) line: usize,
    pub(super) path: Option<YamlPath>,
    pub(super) why: Why,
}

/// Reads a document; `None` if it holds only comments.
pub(super) fn read(text: &str) -> Result<Option<Node>, Refused> {
    if text.len() > TEXT_BYTES_MAX {
        let limit = TEXT_BYTES_MAX;
        let why = Why::TooLarge {
            limit,
            what: "bytes",
        };
        return Err(Refused {
            line: 1,
            path: None,
            why,
        });
    }
    let options = options! { emit_comments: false, disallow_directives: true };
    let mut reader = Reader {
        text,
        events: Parser::new_from_str_with_options(text, options),
        path: YamlPath::root(),
        line: 1,
    };
    reader.document()
}

struct Reader<'a, I> {
    text: &'a str,
    events: I,
    path: YamlPath,
    line: usize,
}

impl<'a, I> Reader<'a, I>
where
    I: Iterator<Item = Result<(Event<'a>, Span), granit_parser::ScanError>>,
{
    fn refuse(&self, why: Why) -> Refused {
        let path = (!self.path.0.is_empty()).then(|| self.path.clone());
        Refused {
            line: self.line,
            path,
            why,
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Refused> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok((event, span))
            }
            Some(Err(error)) => {
                self.line = error.marker().line();
                Err(self.refuse(Why::Syntax(error.to_string())))
            }
            None => Err(self.refuse(Why::Syntax("ends too early".to_owned()))),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Refused> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), _) if root.is_some() => {
                    return Err(self.refuse(Why::Unsupported("several documents in one file")));
                }
                (Event::DocumentStart(..), _) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0, 0)?);
                }
                (_, _) => return Err(self.refuse(Why::Syntax("content outside".to_owned()))),
            }
        }
    }

    /// `from` is where an absent value would stand.
    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        from: usize,
        depth: usize,
    ) -> Result<Node, Refused> {
        if depth > DEPTH_MAX {
            let limit = DEPTH_MAX;
            return Err(self.refuse(Why::TooLarge {
                limit,
                what: "levels",
            }));
        }
        let line = span.start.line();
        let range = span.byte_range().unwrap_or_default();
        match event {
            Event::Scalar(text, style, 0, None) => Ok(self.scalar(
                &text,
                style,
                range.start.max(from),
                range.end.max(from),
                line,
            )),
            Event::SequenceStart(style, 0, None) => self.list(style, range.start, line, depth),
            Event::MappingStart(style, 0, None) => self.map(style, range.start, line, depth),
            Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..)
            | Event::Alias(_) => Err(self.refuse(Why::Unsupported("anchors, aliases and tags"))),
            _ => Err(self.refuse(Why::Syntax("a value is missing".to_owned()))),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        start: usize,
        end: usize,
        line: usize,
    ) -> Node {
        let raw = self.text.get(start..end).unwrap_or_default();
        let (style, end) = match style {
            ScalarStyle::Plain if raw.is_empty() => (Style::Empty, end),
            ScalarStyle::Plain => (Style::Plain, end),
            ScalarStyle::SingleQuoted => (Style::Single, end),
            ScalarStyle::DoubleQuoted => (Style::Double, end),
            ScalarStyle::Literal | ScalarStyle::Folded => (
                Style::Block,
                start + raw.trim_end_matches(['\n', '\r', ' ']).len(),
            ),
        };
        let text = if style == Style::Empty {
            String::new()
        } else {
            text.to_owned()
        };
        Node {
            data: Data::Scalar { text, style },
            start,
            end,
            line,
        }
    }

    fn list(
        &mut self,
        style: StructureStyle,
        start: usize,
        line: usize,
        depth: usize,
    ) -> Result<Node, Refused> {
        let flow = style == StructureStyle::Flow;
        let mut items = Vec::new();
        let mut end = start;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                let closing = span.byte_range().unwrap_or_default().end;
                let end = if flow { closing } else { end };
                return Ok(Node {
                    data: Data::List { items, flow },
                    start,
                    end,
                    line,
                });
            }
            self.path.0.push(Seg::Index(items.len()));
            let item = self.node(event, span, 0, depth + 1)?;
            self.path.0.pop();
            end = item.end;
            items.push(item);
        }
    }

    fn map(
        &mut self,
        style: StructureStyle,
        start: usize,
        line: usize,
        depth: usize,
    ) -> Result<Node, Refused> {
        let flow = style == StructureStyle::Flow;
        let mut entries: Vec<Entry> = Vec::new();
        let mut end = start;
        loop {
            let (event, span) = self.next()?;
            let (text, span) = match event {
                Event::MappingEnd => {
                    let closing = span.byte_range().unwrap_or_default().end;
                    let end = if flow { closing } else { end };
                    return Ok(Node {
                        data: Data::Map { entries, flow },
                        start,
                        end,
                        line,
                    });
                }
                Event::Scalar(text, _, 0, None) => (text.into_owned(), span),
                _ => {
                    return Err(
                        self.refuse(Why::Unsupported("anchors and keys that are no scalars"))
                    );
                }
            };
            if entries.iter().any(|entry| entry.key == text) {
                return Err(self.refuse(Why::Duplicate(text)));
            }
            let entry = self.entry(text, span, depth)?;
            end = entry.value.end;
            entries.push(entry);
        }
    }

    fn entry(&mut self, key: String, span: Span, depth: usize) -> Result<Entry, Refused> {
        let range = span.byte_range().unwrap_or_default();
        let after = self.text.get(range.end..).unwrap_or_default();
        let blanks = after.len() - after.trim_start_matches(' ').len();
        if !after.trim_start_matches(' ').starts_with(':') {
            return Err(self.refuse(Why::Unsupported("keys without a colon on their line")));
        }
        let colon_end = range.end + blanks + 1;
        self.path.0.push(Seg::Key(key.clone()));
        let (event, value) = self.next()?;
        let value = self.node(event, value, colon_end, depth + 1)?;
        self.path.0.pop();
        Ok(Entry {
            key,
            start: range.start,
            column: span.start.col(),
            colon_end,
            value,
        })
    }
}
