//! `wiab journal verify`: nothing was altered, and a fingerprint to keep.

use std::path::Path;

use serde_json::{Value, json};
use wiab_engine::id::RunId;
use wiab_engine::text::hex;
use wiab_journal::{Head, JournalError, bundle, verify};

use crate::app::App;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::problem::Problem;
use crate::screen::count;
use crate::store;
use crate::ui::printer::JSON_SCHEMA;
use crate::ui::style::harmless;

/// What became of a head that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// None was given.
    None,
    /// It is the hash of this event.
    At([u8; 32], u64),
    /// It is the hash of no event.
    Nowhere([u8; 32]),
}

impl Kept {
    fn of(hash: [u8; 32], seq: Option<u64>) -> Self {
        seq.map_or(Self::Nowhere(hash), |seq| Self::At(hash, seq))
    }

    fn is_lost(self) -> bool {
        matches!(self, Self::Nowhere(_))
    }

    fn json(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::At(hash, seq) => json!({"hash": hex(&hash), "seq": seq}),
            Self::Nowhere(hash) => json!({"hash": hex(&hash), "seq": null}),
        }
    }
}

/// Checks the journal, and holds it against a fingerprint that was kept.
pub(crate) fn journal(app: &App, dirs: &Dirs, kept: Option<&str>) -> Result<Code, Problem> {
    let hash = kept.map(parse).transpose()?;
    readable(app, dirs)?;
    let wrap = |error| store::problem(&error, &app.suffix());
    let report = verify::verify(&dirs.journal(), store::options(app)).map_err(wrap)?;
    let kept = match hash {
        None => Kept::None,
        Some(hash) => {
            let found = verify::place_of(&dirs.journal(), store::options(app), &hash);
            Kept::of(hash, found.map_err(wrap)?)
        }
    };
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| json!({"place": finding.place, "seq": finding.seq, "what": finding.what}))
        .collect();
    let ok = report.ok() && !kept.is_lost();
    app.printer.json(&json!({
        "type": "verify", "schema": JSON_SCHEMA, "ok": ok, "events": report.frames, "lines": report.lines,
        "outputs": report.blobs, "runs": report.runs, "imported": report.imported, "findings": findings,
        "head": head_json(report.head), "kept": kept.json(),
    }));
    app.printer.line(&format!(
        "{} events of {} runs, {} lines of copies, {} captured outputs, {} imported runs checked",
        report.frames, report.runs, report.lines, report.blobs, report.imported
    ));
    for finding in &report.findings {
        let seq = finding
            .seq
            .map_or_else(String::new, |seq| format!(", event {seq}"));
        app.printer.line(&format!(
            "  {}{seq}: {}",
            finding.place,
            harmless(&finding.what)
        ));
    }
    tell_head(app, report.head, kept);
    if ok {
        app.printer.line("nothing is wrong");
        return Ok(Code::Ok);
    }
    let next = if report.database_damaged() {
        format!(
            "\nNext:  wiab journal recover{}   rebuilds the database from its plain copies",
            app.suffix()
        )
    } else {
        // Each finding says what renews it; the record itself is whole.
        String::new()
    };
    let findings = report.findings.len() + usize::from(kept.is_lost());
    app.printer
        .important(&format!("{}.{next}", count(findings, "finding")));
    Ok(Code::Drift)
}

/// Checks an exported run.
pub(crate) fn file(app: &App, path: &Path, kept: Option<&str>) -> Result<Code, Problem> {
    let hash = kept.map(parse).transpose()?;
    let bundle = read(app, path)?;
    let (Some(last), run) = (bundle.frames.last(), RunId(bundle.run)) else {
        return Err(Problem::new(Code::Failure, "the file holds no events"));
    };
    let head = Head {
        seq: last.seq,
        hash: last.hash,
    };
    let kept = hash.map_or(Kept::None, |hash| {
        let found = bundle.frames.iter().find(|frame| frame.hash == hash);
        Kept::of(hash, found.map(|frame| frame.seq))
    });
    let ok = !kept.is_lost();
    app.printer.json(&json!({
        "type": "verify", "schema": JSON_SCHEMA, "ok": ok, "events": bundle.frames.len(), "run": run.display(),
        "outputs": bundle.blobs.len(), "findings": [], "head": head_json(head), "kept": kept.json(),
    }));
    app.printer.line(&format!(
        "run {} with {} and {} checked",
        run.short(),
        count(bundle.frames.len(), "event"),
        count(bundle.blobs.len(), "captured output")
    ));
    tell_head(app, head, kept);
    if ok {
        app.printer.line("nothing is wrong");
        return Ok(Code::Ok);
    }
    app.printer.important("1 finding.");
    Ok(Code::Drift)
}

/// An exported run, verified.
pub(crate) fn read(app: &App, path: &Path) -> Result<bundle::Bundle, Problem> {
    let mut input = fs_err::File::open(path)
        .map_err(|error| Problem::from_error(Code::Failure, "the file cannot be read", &error))?;
    bundle::inspect(&mut input).map_err(|error| store::problem(&error, &app.suffix()))
}

/// The fingerprint of today, and what became of the one that was kept.
fn tell_head(app: &App, head: Head, kept: Kept) {
    match kept {
        Kept::At(_, seq) => app.printer.line(&format!(
            "the kept head is event {seq}: nothing up to it was altered or left out"
        )),
        Kept::Nowhere(_) => app.printer.line(
            "  the kept head is the hash of no event here: what led to it was altered or left out",
        ),
        Kept::None => {}
    }
    app.printer
        .line(&format!("head {} (event {})", hex(&head.hash), head.seq));
    if kept == Kept::None {
        app.printer.note(
            "Keep the head elsewhere: `wiab journal verify --head HASH` proves later that nothing before it was altered or cut off.",
        );
    }
}

fn head_json(head: Head) -> Value {
    json!({"seq": head.seq, "hash": hex(&head.hash)})
}

/// A head as it was printed.
fn parse(text: &str) -> Result<[u8; 32], Problem> {
    let text = text.trim();
    let byte = |at: usize| {
        let pair = text.get(2 * at..2 * at + 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes
        .filter(|_| text.len() == 64)
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .ok_or_else(|| {
            Problem::new(Code::Usage, format!("`{}` is no head", harmless(text)))
                .hint("a head is 64 hexadecimal digits, as `wiab journal verify` prints them")
        })
}

/// Whether the state directory takes a lock at all. Where it does not, nothing is known about the journal, and rebuilding
/// it would be the wrong advice.
fn readable(app: &App, dirs: &Dirs) -> Result<(), Problem> {
    let path = dirs.journal();
    let Ok(room) = rustix::fs::statvfs(&path) else {
        return Ok(());
    };
    dirs.prepare()?;
    let free_bytes = room.f_bavail.saturating_mul(room.f_frsize);
    let need_bytes = store::options(app).space_min_bytes;
    if free_bytes >= need_bytes {
        return Ok(());
    }
    let error = JournalError::NoSpace {
        path,
        free_bytes,
        need_bytes,
    };
    Err(store::problem(&error, &app.suffix()))
}
