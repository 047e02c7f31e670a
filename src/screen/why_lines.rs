//! The story of a failure as lines: one screen of what matters, or everything.

use wiab_engine::event::{CureTried, Diagnosed, Event, Recorded};
use wiab_engine::state::StepState;

use super::why::{Story, Tale, Texts, View, chosen};
use crate::screen::{count, cut, event, journal, mark_of, outcome_words, wrap};
use crate::ui::style::{Style, harmless};
use crate::ui::time;

/// Most lines of the short form: one screen.
pub(crate) const LINES_MAX: usize = 24;
/// Fewest lines that a step gets before further steps are only counted.
const STEP_LINES_MIN: usize = 4;
/// Most of the last lines of the failed commands in the short form.
const SAID_MAX: usize = 4;
/// From so many lines on, a step may tell long sentences in several.
const ROOMY: usize = 12;
/// Most pieces of evidence in a row that are told one by one in the short form.
const SEEN_MAX: usize = 4;
/// Where the text of a line begins, after time and label.
const TEXT_AT: usize = 20;
/// Most parts that a long sentence takes in the short form.
const PARTS_MAX: usize = 3;

/// A line, and how readily it is left out: 0 never, then the higher the sooner.
struct Ranked(u8, String);

/// One screen.
pub(super) fn brief(
    style: Style,
    story: &Story<'_>,
    texts: &Texts,
    view: &View<'_>,
) -> Vec<String> {
    let mut lines = head(style, story, view);
    if story.tales.is_empty() {
        lines.push("nothing failed".to_owned());
        lines.extend(open(style, story, view));
        return lines;
    }
    let mut tail = open(style, story, view);
    tail.extend(next(story, view));
    tail.truncate(LINES_MAX / 2);
    let room = LINES_MAX.saturating_sub(lines.len() + tail.len() + 1);
    let shown = (room / STEP_LINES_MIN).max(1).min(story.tales.len());
    let mut left = room;
    for (at, tale) in story.tales.iter().take(shown).enumerate() {
        let share = left / (shown - at).max(1);
        let most = if share < ROOMY { 1 } else { PARTS_MAX };
        let told = fitted(style, told(style, tale, texts, view, most), share);
        left = left.saturating_sub(told.len());
        lines.extend(told);
    }
    if shown < story.tales.len() {
        let more = count(story.tales.len() - shown, "more step");
        lines.push(style.faint(&format!("… and {more} had trouble (--full)")));
    }
    lines.extend(tail);
    lines
}

/// Leaves out what matters least until it fits; what was left out is counted.
fn fitted(style: Style, mut ranked: Vec<Ranked>, room: usize) -> Vec<String> {
    let mut dropped = 0;
    let mut first = usize::MAX;
    while ranked.len() + usize::from(dropped > 0) > room {
        let worst = ranked.iter().map(|Ranked(rank, _)| *rank).max();
        let Some(worst) = worst.filter(|rank| *rank > 0) else {
            break;
        };
        // Of equals the earliest goes: what was seen last is nearest to the end.
        if let Some(at) = ranked.iter().position(|Ranked(rank, _)| *rank == worst) {
            ranked.remove(at);
            dropped += 1;
            first = first.min(at);
        }
    }
    let mut lines: Vec<String> = ranked.into_iter().map(|Ranked(_, line)| line).collect();
    if dropped > 0 {
        let more = count(dropped, "more line");
        let at = first.min(lines.len());
        lines.insert(at, style.faint(&format!("            … {more} (--full)")));
    }
    lines
}

/// The run, in one or two lines.
fn head(style: Style, story: &Story<'_>, view: &View<'_>) -> Vec<String> {
    let (began_ms, last_ms) = story.span_ms;
    let line = format!(
        "run {} · {} on {} · {} · {} for {}",
        style.bold(&story.run.short()),
        harmless(&story.state.plan().name),
        harmless(&story.state.host),
        outcome_words(story.state.ended, false),
        time::date(began_ms),
        time::took(last_ms.saturating_sub(began_ms)),
    );
    let mut lines = vec![line];
    if let Some(origin) = &story.origin {
        let parts = origin.lines();
        lines.extend(parts.map(|part| style.faint(&cut(&harmless(part), view.width))));
    }
    lines
}

/// A step's part, each line with its rank.
fn told(style: Style, tale: &Tale<'_>, texts: &Texts, view: &View<'_>, most: usize) -> Vec<Ranked> {
    let mut lines: Vec<Ranked> = title(style, tale, view, most)
        .into_iter()
        .map(|line| Ranked(0, line))
        .collect();
    let final_failure = tale.failure().and(tale.last_failure()).map(|last| last.seq);
    let mut at = 0;
    while let Some(recorded) = tale.events.get(at) {
        let seen = in_a_row(tale, at);
        let beats = if seen > SEEN_MAX {
            vec![Ranked(6, seen_at_once(tale, at, seen))]
        } else if Some(recorded.seq) == final_failure {
            Vec::new()
        } else {
            beat(tale, at, recorded)
        };
        at += if seen > SEEN_MAX { seen } else { 1 };
        let beats = beats.iter();
        lines.extend(beats.flat_map(|Ranked(rank, line)| parts(line, *rank, view.width, most)));
    }
    // With a diagnosis the commands' own words are evidence; without one they are all there is.
    if tale.diagnosis().is_none()
        && let Some(said) = tale
            .failure()
            .and(tale.last_failure())
            .and_then(|last| journal::evidence(&last.event))
            .and_then(|evidence| texts.get(&evidence.hash))
    {
        let all: Vec<&str> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let from = all.len().saturating_sub(SAID_MAX);
        lines.extend(all.iter().skip(from).map(|line| {
            Ranked(
                3,
                cut(&format!("            | {}", harmless(line)), view.width),
            )
        }));
    }
    if let Some(cure) = tale.cure() {
        let parts = cure
            .lines()
            .flat_map(|line| wrap(&harmless(line), view.width - 14));
        for (at, part) in parts.take(most).enumerate() {
            let lead = if at == 0 {
                style.bold("cure")
            } else {
                "    ".to_owned()
            };
            let part = cut(part.trim_start(), view.width - 12);
            lines.push(Ranked(0, format!("  {lead}      {part}")));
        }
    }
    lines
}

/// How the step stands, and why.
fn title(style: Style, tale: &Tale<'_>, view: &View<'_>, most: usize) -> Vec<String> {
    let id = tale.spec.id.as_str();
    let failures = tale.failures();
    let words = match (&tale.record.state, tale.failure()) {
        (state, Some(failure)) => {
            let verb = match state {
                StepState::UndoFailed { .. } => "undo failed",
                _ => "failed",
            };
            let after = match failures {
                0 | 1 => String::new(),
                more => format!(" after {}", count(more, "attempt")),
            };
            let code = match failure.code.as_str() {
                "" => String::new(),
                code => format!(" ({code})"),
            };
            let why = failure.why.lines().next().unwrap_or_default();
            format!("{verb}{after}{code}: {}", harmless(why))
        }
        (state, None) if failures > 0 => {
            let failed = count(failures, "failed attempt");
            format!("is now {}, after {failed}", state.word())
        }
        (state, None) => format!("is {}", state.word()),
    };
    let mark = style.glyph(mark_of(&tale.record.state));
    let parts = wrap(&format!("{id} {words}"), view.width - 2);
    let parts = parts.into_iter().take(most);
    let mut lines: Vec<String> = parts.map(|part| cut(&part, view.width - 2)).collect();
    for (at, line) in lines.iter_mut().enumerate() {
        let lead = if at == 0 { mark.as_str() } else { " " };
        *line = format!("{lead} {line}");
    }
    lines
}

/// A line with its time and what sort of thing it tells.
fn row(recorded: &Recorded, label: &str, text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    format!(
        "  {}  {label:<8}{}",
        time::clock(recorded.time_ms),
        harmless(text)
    )
}

/// A further line below it.
fn below(label: &str, text: &str) -> String {
    format!("            {label:<8}{}", harmless(text))
}

/// A line in as many parts as matter, the later ones below its text.
fn parts(line: &str, rank: u8, width: usize, most: usize) -> Vec<Ranked> {
    // What was merely seen is told in one line each.
    let most = if rank < 3 { most } else { 1 };
    if most == 1 || line.chars().count() <= width {
        return vec![Ranked(rank, cut(line, width))];
    }
    let lead: String = line.chars().take(TEXT_AT).collect();
    let text: String = line.chars().skip(TEXT_AT).collect();
    let mut parts = wrap(&text, width.saturating_sub(TEXT_AT + 2));
    let more = parts.len() > most;
    parts.truncate(most);
    if let Some(last) = parts.last_mut().filter(|_| more) {
        last.push('…');
    }
    let indent = " ".repeat(TEXT_AT);
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let lead = if at == 0 { &lead } else { &indent };
            Ranked(rank, cut(&format!("{lead}{}", part.trim_start()), width))
        })
        .collect()
}

/// How many pieces of evidence follow each other from there on.
fn in_a_row(tale: &Tale<'_>, at: usize) -> usize {
    let events = tale.events.iter().skip(at);
    events
        .take_while(|recorded| matches!(recorded.event, Event::EvidenceTaken(_)))
        .count()
}

/// Many pieces of evidence in one line: their topics.
fn seen_at_once(tale: &Tale<'_>, at: usize, count: usize) -> String {
    let seen = tale.events.iter().skip(at).take(count);
    let topics: Vec<&str> = seen
        .filter_map(|recorded| match &recorded.event {
            Event::EvidenceTaken(e) => Some(e.topic.as_str()),
            _ => None,
        })
        .collect();
    let text = format!("{count} things: {}", topics.join(", "));
    tale.events
        .get(at)
        .map_or_else(String::new, |recorded| row(recorded, "saw", &text))
}

/// One event in the short form.
fn beat(tale: &Tale<'_>, at: usize, recorded: &Recorded) -> Vec<Ranked> {
    let one = |rank, label: &str, text: &str| vec![Ranked(rank, row(recorded, label, text))];
    match &recorded.event {
        Event::StepStarted(e) if e.attempt > 1 => {
            one(5, "again", &format!("attempt {}", e.attempt))
        }
        Event::EvidenceTaken(e) => one(6, "saw", &format!("{}: {}", e.topic, e.summary)),
        Event::Diagnosed(e) => {
            // What was concluded last is what counts.
            let last = tale.diagnosis().is_some_and(|last| last == e);
            diagnosed(recorded, e, if last { 0 } else { 2 })
        }
        Event::CureTried(e) => cure(tale, at, recorded, e),
        Event::ObligationOpened(e) => one(4, "owes", &e.what),
        Event::ObligationSettled(e) => one(4, "settled", &e.how),
        Event::StepFailed(e) => one(3, "failed", &e.failure.why),
        Event::UndoFailed(e) => one(3, "failed", &format!("undo: {}", e.failure.why)),
        Event::StepReconciled(e) => one(5, "looked", &event::found(&e.found)),
        Event::StepSucceeded(_) | Event::UndoSucceeded(_) | Event::UndoSkipped(_) => {
            one(2, "end", &event::line(&recorded.event).text)
        }
        Event::Parked(_) | Event::OperatorDecided(_) | Event::UndoStarted(_) => {
            one(4, "", &event::line(&recorded.event).text)
        }
        // The beginning, the before-image and the delays matter to the whole log only; a cure's end stands with its begin.
        _ => Vec::new(),
    }
}

fn diagnosed(recorded: &Recorded, told: &Diagnosed, rank: u8) -> Vec<Ranked> {
    let mut lines = Vec::new();
    if let Some(suspect) = chosen(told) {
        let text = format!("{} ({})", suspect.meaning, suspect.cause);
        lines.push(Ranked(rank, row(recorded, "cause", &text)));
        let facts = suspect.facts_for.iter().map(|fact| ("for", fact));
        let against = suspect.facts_against.iter().map(|fact| ("against", fact));
        for (at, (label, fact)) in facts.chain(against).enumerate() {
            let rank = rank + if at == 0 { 1 } else { 2 };
            lines.push(Ranked(rank, below(label, fact)));
        }
    } else {
        let text = event::line(&recorded.event).text;
        let text = text.strip_prefix("cause: ").unwrap_or(&text);
        lines.push(Ranked(rank, row(recorded, "cause", text)));
    }
    let chosen = told.chosen.as_deref();
    let others = told
        .ranking
        .iter()
        .filter(|suspect| Some(suspect.cause.as_str()) != chosen);
    for suspect in others {
        let against = match suspect.facts_against.first() {
            Some(fact) => format!("speaks against it: {fact}"),
            None => format!("speaks for it: {}", suspect.facts_for.join("; ")),
        };
        lines.push(Ranked(
            3,
            below("or", &format!("{}; {against}", suspect.cause)),
        ));
    }
    for unknown in &told.unknown {
        lines.push(Ranked(3, below("unknown", unknown)));
    }
    lines
}

/// A cure with what came of it.
fn cure(tale: &Tale<'_>, at: usize, recorded: &Recorded, tried: &CureTried) -> Vec<Ranked> {
    let by = match &tried.by {
        Some(step) => format!(" (as {step})"),
        None => String::new(),
    };
    let first = row(recorded, "did", &format!("{}{by}", tried.what));
    let later = tale.events.iter().skip(at + 1);
    let end = later
        .take_while(|recorded| !matches!(recorded.event, Event::CureTried(_)))
        .find_map(|recorded| match &recorded.event {
            Event::CureEnded(ended) => Some((*recorded, ended)),
            _ => None,
        });
    let second = match end {
        Some((recorded, ended)) => {
            let (_, word) = event::cure(ended.outcome);
            row(recorded, "result", &format!("{word}: {}", ended.seen))
        }
        None => below("result", "has no end in the journal"),
    };
    vec![Ranked(1, first), Ranked(1, second)]
}

/// What the run left open.
fn open(style: Style, story: &Story<'_>, view: &View<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for open in &story.open {
        let since = time::clock(open.since_ms);
        if open.settled_later {
            let text = format!("since {since}, settled by a later run: {}", open.owed.what);
            lines.push(format!(
                "  owed      {}",
                cut(&harmless(&text), view.width - 12)
            ));
            continue;
        }
        let text = format!("since {since}: {}", open.owed.what);
        let lead = style.bold("open");
        let (what, settle) = (harmless(&text), harmless(&open.owed.settle));
        lines.push(format!("  {lead}      {}", cut(&what, view.width - 12)));
        lines.push(format!("  settle    {}", cut(&settle, view.width - 12)));
    }
    lines
}

/// What to type for more, and to go on.
fn next(story: &Story<'_>, view: &View<'_>) -> Vec<String> {
    let run = story.run.short();
    let Some(suffix) = view.suffix else {
        return vec!["Next:  --full shows the evidence itself".to_owned()];
    };
    let mut lines = vec!["Next:  see the evidence    the same with --full".to_owned()];
    if story.state.is_resumable() {
        lines.push(format!(
            "       go on               wiab apply --resume {run}{suffix}"
        ));
    }
    lines
}

/// Everything: each event in its own words, whole diagnoses, and the captured texts.
pub(super) fn full(style: Style, story: &Story<'_>, texts: &Texts, view: &View<'_>) -> Vec<String> {
    let mut lines = head(style, story, view);
    if story.tales.is_empty() {
        lines.push("nothing failed".to_owned());
    }
    for tale in &story.tales {
        lines.push(String::new());
        lines.extend(title(style, tale, view, PARTS_MAX));
        lines.push(style.faint(&format!("  {}", harmless(&tale.spec.summary))));
        for recorded in &tale.events {
            let told = event::line(&recorded.event);
            let mark = style.glyph(told.mark);
            lines.push(format!(
                "  {}  {mark} {}",
                time::clock(recorded.time_ms),
                told.text
            ));
            if let Event::Diagnosed(diagnosis) = &recorded.event {
                lines.extend(ranking(diagnosis));
            }
            if let Event::StepFailed(failed) = &recorded.event {
                let hint = failed.failure.hint.iter().flat_map(|hint| hint.lines());
                lines.extend(hint.map(|line| below("remedy", line)));
            }
            if let Some(evidence) = journal::evidence(&recorded.event) {
                lines.extend(match texts.get(&evidence.hash) {
                    Some(text) => journal::output(text.as_bytes()),
                    None => vec!["  | (not in this journal)".to_owned()],
                });
            }
        }
        if let Some(cure) = tale.cure() {
            lines.extend(
                cure.lines()
                    .map(|line| format!("  cure      {}", harmless(line))),
            );
        }
    }
    if !story.open.is_empty() {
        lines.push(String::new());
    }
    let wide = View {
        width: usize::MAX,
        ..*view
    };
    lines.extend(open(style, story, &wide));
    lines
}

/// A line of a cause.
fn fact_line(label: &str, text: &str) -> String {
    format!("               {label:<8}{}", harmless(text))
}

/// All causes with all facts.
fn ranking(told: &Diagnosed) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, suspect) in told.ranking.iter().enumerate() {
        let text = format!("{}. {}: {}", at + 1, suspect.cause, suspect.meaning);
        lines.push(format!("            {}", harmless(&text)));
        lines.extend(suspect.facts_for.iter().map(|fact| fact_line("for", fact)));
        lines.extend(
            suspect
                .facts_against
                .iter()
                .map(|fact| fact_line("against", fact)),
        );
        if !suspect.cure.is_empty() {
            lines.push(fact_line("cure", &suspect.cure));
        }
    }
    lines.extend(told.unknown.iter().map(|text| below("unknown", text)));
    lines
}
