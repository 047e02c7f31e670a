//! A mistake in a configuration file: the place, one cause, one remedy.

use std::ops::Range;

use crate::exit::Code;
use crate::problem::Problem;

/// Most mistakes shown at once.
const SHOWN_MAX: usize = 20;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diag {
    /// Byte range in the file.
    pub(crate) span: Range<usize>,
    /// The cause.
    pub(crate) cause: String,
    /// The remedy.
    pub(crate) remedy: String,
}

impl Diag {
    /// A mistake at `span`.
    pub(crate) fn new(
        span: Range<usize>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            span,
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// A file's name and text, to show places in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// The name as the operator would write it.
    pub(crate) name: String,
    /// The text.
    pub(crate) text: String,
}

impl Source {
    /// Line and column (from 1, columns in characters) of a byte offset.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or("");
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(start..).unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// The place, the offending line and a marker below it.
    fn snippet(&self, span: &Range<usize>) -> Vec<String> {
        let (line, column) = self.place(span.start);
        let text = self.text.lines().nth(line - 1).unwrap_or("");
        let gutter = " ".repeat(line.to_string().len());
        let room = text.chars().count().saturating_sub(column - 1).max(1);
        let covered = self.text.get(span.clone()).unwrap_or("");
        let width = covered.lines().next().unwrap_or("").chars().count();
        let lead: String = text
            .chars()
            .take(column - 1)
            .map(|ch| if ch == '\t' { '\t' } else { ' ' })
            .collect();
        vec![
            format!("{gutter}--> {}:{line}:{column}", self.name),
            format!("{gutter} |"),
            format!("{line} | {text}"),
            format!("{gutter} | {lead}{}", "^".repeat(width.clamp(1, room))),
        ]
    }

    /// All mistakes of this file as one problem, in the order of the file.
    pub(crate) fn problem(&self, code: Code, mut diags: Vec<Diag>) -> Problem {
        diags.sort_by_key(|diag| diag.span.start);
        let mut diags = diags.into_iter();
        let Some(first) = diags.next() else {
            return Problem::new(code, format!("{} is wrong", self.name));
        };
        let mut detail = self.snippet(&first.span);
        let rest: Vec<Diag> = diags.collect();
        let mut remedy = vec![first.remedy];
        if !rest.is_empty() {
            detail.push(format!("   = {}", remedy.swap_remove(0)));
            remedy = vec![format!(
                "correct these {} places, then run the command again",
                rest.len() + 1
            )];
        }
        for diag in rest.iter().take(SHOWN_MAX) {
            detail.push(format!("error: {}", diag.cause));
            detail.extend(self.snippet(&diag.span));
            detail.push(format!("   = {}", diag.remedy));
        }
        if let Some(more) = rest.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            detail.push(format!("   … and {more} more"));
        }
        Problem {
            code,
            cause: first.cause,
            detail,
            remedy,
        }
    }
}
