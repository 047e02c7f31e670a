//! The live block at the bottom of a terminal: running steps with elapsed time and their last line, and a bar.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wiab_engine::id::StepId;
use wiab_engine::ports::Tick;

use crate::screen::cut;
use crate::ui::style::{Mark, Style, harmless};
use crate::ui::time;

/// Most running steps shown.
const STEPS_MAX: usize = 8;
/// Width of the bar, in characters.
const BAR: usize = 23;
/// Longest kept line of output, in characters.
const LINE_MAX: usize = 400;

/// A running step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Running {
    began_ms: u64,
    attempt: u32,
    undo: bool,
    usual_ms: Option<u64>,
    stage: Option<String>,
    line: Option<String>,
    amount: Option<String>,
    /// Seconds without any output.
    pub(crate) silent_s: u32,
}

impl Running {
    /// A step that has just begun.
    pub(crate) fn new(began_ms: u64, attempt: u32, undo: bool, usual_ms: Option<u64>) -> Self {
        Self {
            began_ms,
            attempt,
            undo,
            usual_ms,
            ..Self::default()
        }
    }

    /// Takes progress.
    pub(crate) fn tick(&mut self, tick: Tick) {
        self.silent_s = 0;
        match tick {
            Tick::Line(text) => {
                let text: String = text.chars().take(LINE_MAX).collect();
                self.line = Some(harmless(text.trim_end()));
            }
            Tick::Stage(text) => self.stage = Some(harmless(&text)),
            Tick::Amount { done, total, unit } => {
                self.amount = Some(match total {
                    Some(total) => format!("{done}/{total} {unit}"),
                    None => format!("{done} {unit}"),
                });
            }
        }
    }

    /// `undo, 12:04, usually 38 m, attempt 2, stage, amount`, and the last line.
    pub(crate) fn describe(&self, now_ms: u64) -> String {
        let elapsed_ms = now_ms.saturating_sub(self.began_ms);
        let mut parts = vec![time::took(elapsed_ms)];
        if self.undo {
            parts.insert(0, "undoing".to_owned());
        }
        if let Some(usual_ms) = self.usual_ms {
            if elapsed_ms > usual_ms.saturating_mul(3) / 2 {
                parts.push(format!("longer than usual ({})", time::about(usual_ms)));
            } else {
                parts.push(format!("usually {}", time::about(usual_ms)));
            }
        }
        if self.attempt > 1 {
            parts.push(format!("attempt {}", self.attempt));
        }
        parts.extend(self.stage.clone());
        parts.extend(self.amount.clone());
        let mut text = parts.join(", ");
        if let Some(line) = &self.line {
            text.push_str(" | ");
            text.push_str(line);
        }
        text
    }
}

/// What stands on the terminal now.
#[derive(Debug, Default)]
pub(crate) struct Block {
    width: usize,
    drawn: usize,
}

impl Block {
    /// A block for a terminal of `width` characters.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, drawn: 0 }
    }

    /// The text that removes it.
    pub(crate) fn erase(&mut self) -> String {
        let up = std::mem::take(&mut self.drawn);
        if up == 0 {
            return String::new();
        }
        format!("\r\u{1b}[{up}A\u{1b}[J")
    }

    /// The text that replaces it.
    pub(crate) fn draw(
        &mut self,
        style: Style,
        running: &BTreeMap<StepId, Running>,
        now_ms: u64,
        (done, total): (usize, usize),
        bar: &str,
    ) -> String {
        let mut lines: Vec<String> = running
            .iter()
            .take(STEPS_MAX)
            .map(|(step, running)| {
                let text = cut(
                    &format!("{step}  {}", running.describe(now_ms)),
                    self.room(2),
                );
                format!("{} {}", style.glyph(Mark::Running), style.fit(&text))
            })
            .collect();
        if let Some(more) = running
            .len()
            .checked_sub(STEPS_MAX)
            .filter(|more| *more > 0)
        {
            lines.push(format!("  and {more} more running"));
        }
        let filled = (BAR * done).checked_div(total).unwrap_or(0).min(BAR);
        let full = style.pick("█", "#").repeat(filled);
        let rest = style.pick("░", ".").repeat(BAR - filled);
        lines.push(format!(
            "[{full}{rest}] {}",
            style.fit(&cut(bar, self.room(BAR + 3)))
        ));
        let mut text = self.erase();
        for line in &lines {
            // Writing into a String cannot fail.
            let _always = writeln!(text, "{line}");
        }
        self.drawn = lines.len();
        text
    }

    fn room(&self, used: usize) -> usize {
        self.width.saturating_sub(used + 1).max(10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_replaces_itself_and_fits_the_terminal() {
        let step = StepId::new("vm.start").unwrap();
        let mut one = Running::new(1_000, 2, false, Some(60_000));
        one.tick(Tick::Line(
            "pulling a very long layer name that does not fit".into(),
        ));
        let running: BTreeMap<_, _> = [(step, one)].into();
        let mut block = Block::new(60);
        let first = block.draw(Style::ASCII, &running, 13_000, (1, 2), "1/2");
        assert_eq!(
            first,
            "* vm.start  12 s, usually 1 m, attempt 2 | pulling a very ...\n[###########............] 1/2\n"
        );
        let second = block.draw(Style::ASCII, &BTreeMap::new(), 13_000, (2, 2), "2/2");
        assert!(second.starts_with("\r\u{1b}[2A\u{1b}[J["), "{second:?}");
        assert_eq!(block.erase(), "\r\u{1b}[1A\u{1b}[J");
    }
}
