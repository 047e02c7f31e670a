//! What a rollback would do: each undo, its captured data, and what cannot be undone.

use serde_json::{Value, json};
use wiab_engine::installation::{Fate, Run, UndoLine};
use wiab_engine::outcome::{Before, UndoClass};

use crate::screen::{count, cut, pad};
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::{Mark, Style, harmless};

/// Widest shown part of a before-image, in characters.
const IMAGE_MAX: usize = 100;

fn mark(fate: Fate) -> Mark {
    match fate {
        Fate::Undo => Mark::Undone,
        Fate::UndoLosesData => Mark::Failed,
        Fate::CannotUndo | Fate::Skipped => Mark::Skipped,
        Fate::Adopted => Mark::Ok,
        Fate::Nothing => Mark::Waiting,
    }
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Undo => "undo",
        Fate::UndoLosesData => "undo-loses-data",
        Fate::CannotUndo => "cannot-undo",
        Fate::Skipped => "skipped",
        Fate::Adopted => "adopted",
        Fate::Nothing => "nothing",
    }
}

/// Whether the line is something that rollback acts on.
fn is_undo(line: &UndoLine<'_>) -> bool {
    matches!(line.fate, Fate::Undo | Fate::UndoLosesData)
}

/// The screen for one run. `wipe_data` says whether undos that lose data are done, too; `images` shows what was captured.
pub(crate) fn lines(
    style: Style,
    run: &Run,
    undo: &[UndoLine<'_>],
    wipe_data: bool,
    images: bool,
) -> Vec<String> {
    let mut lines = vec![format!(
        "Rollback of run {} ({} on {}), latest step first:",
        style.bold(&run.id.short()),
        harmless(&run.state.plan().name),
        harmless(&run.state.host)
    )];
    let shown: Vec<_> = undo
        .iter()
        .filter(|line| line.fate != Fate::Nothing)
        .collect();
    let width = shown
        .iter()
        .map(|line| line.spec.id.as_str().len())
        .max()
        .unwrap_or(0);
    for line in &shown {
        lines.push(format!(
            "  {} {}  {}",
            style.glyph(mark(line.fate)),
            pad(line.spec.id.as_str(), width),
            harmless(&what(line, wipe_data))
        ));
        if let (true, true, Some(Before::Image(image))) =
            (images, is_undo(line), &line.record.before)
        {
            let image = harmless(&cut(image, IMAGE_MAX));
            lines.push(format!(
                "      {}",
                style.faint(&format!("captured: {image}"))
            ));
        }
    }
    lines.push(total(undo, wipe_data));
    lines
}

fn what(line: &UndoLine<'_>, wipe_data: bool) -> String {
    match (line.fate, &line.spec.undo) {
        (Fate::UndoLosesData, UndoClass::Destructive { what }) if wipe_data => {
            format!("{}; loses {what}", line.spec.undo_summary)
        }
        (Fate::UndoLosesData, UndoClass::Destructive { what }) => {
            format!("stays: undo would lose {what}; --wipe-data takes it back, too")
        }
        (Fate::Undo | Fate::UndoLosesData, _) => line.spec.undo_summary.clone(),
        (Fate::CannotUndo, UndoClass::Irreversible { why }) => {
            format!("stays: cannot be undone, {why}")
        }
        (Fate::CannotUndo, _) => "stays: cannot be undone".to_owned(),
        (Fate::Skipped, _) => "stays: it was skipped by decision".to_owned(),
        (Fate::Adopted, _) => "stays: it was so before this run".to_owned(),
        (Fate::Nothing, _) => "left nothing".to_owned(),
    }
}

fn total(undo: &[UndoLine<'_>], wipe_data: bool) -> String {
    let number = |fate: Fate| undo.iter().filter(|line| line.fate == fate).count();
    let losing = number(Fate::UndoLosesData);
    let taken = number(Fate::Undo) + if wipe_data { losing } else { 0 };
    let mut text = format!("{} to take back", count(taken, "step"));
    let rest = [
        (
            if wipe_data { 0 } else { losing },
            "kept because undo loses data",
        ),
        (number(Fate::CannotUndo), "cannot be undone"),
        (number(Fate::Adopted) + number(Fate::Skipped), "left alone"),
    ];
    for (number, words) in rest {
        if number > 0 {
            text.extend([", ", &number.to_string(), " ", words]);
        }
    }
    text.push('.');
    text
}

/// The same as JSON.
pub(crate) fn json(run: &Run, undo: &[UndoLine<'_>], wipe_data: bool) -> Value {
    let steps: Vec<Value> = undo
        .iter()
        .map(|line| {
            let captured = match &line.record.before {
                Some(Before::Image(image)) => {
                    serde_json::from_str(image).unwrap_or_else(|_| Value::String(image.clone()))
                }
                Some(Before::Nothing) | None => Value::Null,
            };
            json!({
                "id": line.spec.id.as_str(),
                "fate": word(line.fate),
                "undo": line.spec.undo,
                "undo_summary": line.spec.undo_summary,
                "captured": captured,
            })
        })
        .collect();
    json!({
        "type": "rollback",
        "schema": JSON_SCHEMA,
        "run": run.id.display(),
        "host": run.state.host,
        "wipe_data": wipe_data,
        "steps": steps,
    })
}
