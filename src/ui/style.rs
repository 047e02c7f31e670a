//! Colour by meaning and a glyph with every word, so that nothing depends on colour alone.

use crate::config::env::Environment;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless the environment says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a step stands, for the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// As wanted already.
    Ok,
    /// This run made it so.
    Changed,
    /// Failed.
    Failed,
    /// Taken back.
    Undone,
    /// A human must decide.
    Parked,
    /// Not started.
    Waiting,
    /// Running.
    Running,
    /// Left out, or left in place.
    Skipped,
    /// Would be created.
    Create,
    /// Nobody can tell.
    Unsure,
}

impl Mark {
    /// The glyph and its ASCII form.
    fn glyphs(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("✔", "="),
            Self::Changed => ("~", "~"),
            Self::Failed => ("✘", "x"),
            Self::Undone => ("↩", "<"),
            Self::Parked => ("⏸", "!"),
            Self::Waiting => ("·", "."),
            Self::Running => ("●", "*"),
            Self::Skipped => ("↷", "-"),
            Self::Create => ("+", "+"),
            Self::Unsure => ("?", "?"),
        }
    }

    fn ansi(self) -> &'static str {
        match self {
            Self::Ok | Self::Create => "32",
            Self::Changed | Self::Unsure => "33",
            Self::Failed => "31",
            Self::Undone | Self::Skipped => "36",
            Self::Parked => "35",
            Self::Waiting => "2",
            Self::Running => "34",
        }
    }
}

/// Whether a stream takes colour and characters beyond ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Colour.
    pub(crate) color: bool,
    /// UTF-8 glyphs.
    pub(crate) unicode: bool,
}

impl Style {
    /// No colour, ASCII only.
    #[cfg(test)]
    pub(crate) const ASCII: Self = Self {
        color: false,
        unicode: false,
    };
    /// No colour, with glyphs.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self {
        color: false,
        unicode: true,
    };

    /// The style of a stream.
    pub(crate) fn of(choice: ColorChoice, env: &Environment, is_terminal: bool) -> Self {
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if env.get("NO_COLOR").is_some() => false,
            ColorChoice::Auto if env.get("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
            ColorChoice::Auto => is_terminal && env.get("TERM") != Some("dumb"),
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| env.get(name))
            .unwrap_or("C.UTF-8")
            .to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { color, unicode }
    }

    /// The glyph of a mark, coloured.
    pub(crate) fn glyph(self, mark: Mark) -> String {
        let (unicode, ascii) = mark.glyphs();
        self.paint(mark.ansi(), if self.unicode { unicode } else { ascii })
    }

    /// Text in the colour of a mark.
    pub(crate) fn marked(self, mark: Mark, text: &str) -> String {
        self.paint(mark.ansi(), text)
    }

    /// Bold text.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Faint text.
    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// `unicode` or its ASCII substitute.
    pub(crate) fn pick(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    fn paint(self, ansi: &str, text: &str) -> String {
        if self.color {
            return format!("\u{1b}[{ansi}m{text}\u{1b}[0m");
        }
        text.to_owned()
    }

    /// A finished line for this stream: without UTF-8, the typographic characters of our own texts become ASCII.
    pub(crate) fn fit(self, line: &str) -> String {
        let line = own_colours(line);
        if self.unicode || line.is_ascii() {
            return line;
        }
        let mut out = String::with_capacity(line.len());
        for ch in line.chars() {
            match ch {
                '→' => out.push_str("->"),
                '…' => out.push_str("..."),
                '·' | '−' | '—' | '–' | '─' => out.push('-'),
                '│' => out.push('|'),
                '✔' => out.push('='),
                '✘' => out.push('x'),
                '↩' => out.push('<'),
                '‹' | '›' => out.push('\''),
                ch if ch.is_ascii() => out.push(ch),
                _ => out.push('?'),
            }
        }
        out
    }
}

/// Foreign text (of a plan, the journal, a command) made safe for a terminal: control characters, line breaks and
/// characters that turn the direction of writing are shown, not obeyed.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '\t' => out.push(' '),
            ch if is_obeyed(ch) => out.extend(ch.escape_default()),
            ch => out.push(ch),
        }
    }
    out
}

/// Whether a terminal acts on the character instead of showing it.
fn is_obeyed(ch: char) -> bool {
    let turns = matches!(
        ch,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    ch.is_control() || turns
}

/// The last guard of every finished line: only our own line breaks and colours (`ESC [ digits m`) are obeyed.
fn own_colours(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(is_obeyed) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let colour = after.strip_prefix("\u{1b}[").and_then(|tail| {
            let end = tail.find(|ch: char| !ch.is_ascii_digit())?;
            tail.get(end..)?.strip_prefix('m')
        });
        rest = if let Some(tail) = colour {
            out.push_str(after.strip_suffix(tail).unwrap_or_default());
            tail
        } else if let Some(tail) = after.strip_prefix('\n') {
            out.push('\n');
            tail
        } else {
            let mut chars = after.chars();
            out.extend(chars.next().map(|ch| harmless(&ch.to_string())));
            chars.as_str()
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_about_colour() {
        let cases = [
            (ColorChoice::Auto, "", true, true),
            (ColorChoice::Auto, "", false, false),
            (ColorChoice::Auto, "NO_COLOR=1", true, false),
            (ColorChoice::Auto, "NO_COLOR=", true, true),
            (ColorChoice::Auto, "TERM=dumb", true, false),
            (ColorChoice::Auto, "CLICOLOR_FORCE=1", false, true),
            (ColorChoice::Always, "NO_COLOR=1", false, true),
            (ColorChoice::Never, "CLICOLOR_FORCE=1", true, false),
        ];
        for (choice, var, terminal, want) in cases {
            let env = Environment::from_pairs(var.split_once('='));
            assert_eq!(
                Style::of(choice, &env, terminal).color,
                want,
                "{choice:?} {var} {terminal}"
            );
        }
    }

    #[test]
    fn without_utf8_every_line_is_ascii() {
        let env = Environment::from_pairs([("LC_ALL", "C")]);
        let style = Style::of(ColorChoice::Never, &env, true);
        assert_eq!(style.glyph(Mark::Ok), "=");
        assert_eq!(style.fit("a → b …"), "a -> b ...");
    }

    #[test]
    fn control_characters_of_output_are_shown() {
        assert_eq!(harmless("a\u{1b}[2Jb\tc"), "a\\u{1b}[2Jb c");
        assert_eq!(
            harmless("a\nb\r\u{202e}c\u{2066}\u{9b}"),
            "a\\nb\\r\\u{202e}c\\u{2066}\\u{9b}"
        );
    }

    #[test]
    fn a_finished_line_keeps_only_our_own_colours() {
        let style = Style {
            color: true,
            unicode: true,
        };
        let own = format!("{}\nnext ü", style.bold("x"));
        assert_eq!(style.fit(&own), own);
        assert_eq!(
            style.fit("a\u{1b}[2J\u{1b}]0;t\u{7}\u{202e}b\r\u{1b}"),
            "a\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{202e}b\\r\\u{1b}"
        );
    }
}
