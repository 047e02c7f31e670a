//! wiab is killed as soon as its journal has an event of a sort that it was not killed at before, and taken up again, until it comes
//! to its end.

use std::collections::BTreeSet;

use super::journal::{self, Event};
use super::scene::Scene;
use super::{APPLY, LIMIT_S};
use crate::cmd;
use crate::error::{LabError, Result, ensure};
use crate::say::{say, took};
use crate::sys::{self, Watch};

/// Most kills: there are fewer sorts of events.
const KILLS_MAX: usize = 80;
/// What the journal has when a run is over.
const ENDED: &str = "RunEnded";
/// How often the journal is looked at, in milliseconds.
const LOOK_MS: u64 = 5;

/// The sorts of events that wiab was killed at, and the first event that counts.
struct Story {
    base: u64,
    known: BTreeSet<String>,
}

/// One story with as many deaths as there are sorts of events.
pub(super) fn killed(scene: &Scene<'_>) -> Result<()> {
    let watch = Watch::start();
    let mut story = Story {
        base: journal::last(&scene.bench.state())?,
        known: BTreeSet::new(),
    };
    let mut args = APPLY.to_owned();
    let (mut kills, mut with_rule) = (0, 0);
    while let Some(event) = story.round(scene, &args)? {
        kills += 1;
        ensure(kills <= KILLS_MAX, || format!("{kills} kills, and no end"))?;
        let rule = scene.rule_is_there()?;
        with_rule += usize::from(rule);
        let events = journal::since(&scene.bench.state(), story.base)?;
        let known = !journal::open(&events).is_empty();
        ensure(known || !rule, || {
            format!(
                "killed at {}: the rule is there, and no obligation is open",
                event.name
            )
        })?;
        let begun = events.iter().any(|event| event.name.starts_with("Run"));
        if begun {
            "apply --yes --resume".clone_into(&mut args);
        }
        say(&format!("certs: killed at {} (rule: {rule})", event.name));
    }
    let events = journal::since(&scene.bench.state(), story.base)?;
    let open = journal::open(&events);
    ensure(open.is_empty(), || {
        format!("still open: {}", open.join(", "))
    })?;
    took(
        &format!(
            "certs: killed {kills} times, {with_rule} of them beside the rule, and came to its end"
        ),
        watch,
    );
    Ok(())
}

impl Story {
    /// Runs wiab until the journal has news, and kills it; the last event then, or nothing when it came to its end before.
    fn round(&mut self, scene: &Scene<'_>, args: &str) -> Result<Option<Event>> {
        let (bench, watch) = (&scene.bench, Watch::start());
        let log = bench.machine.dir().join("wiab-log");
        let mut child = bench.wiab(args).spawn_logged(&log)?;
        let ended = loop {
            let events = journal::since(&bench.state(), self.base)?;
            if events.iter().any(|event| !self.known.contains(&event.name)) {
                break None;
            }
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if watch.over(LIMIT_S) || sys::check_interrupt().is_err() {
                cmd::kill_group_to_its_end(&mut child)?;
                return Err(LabError::check(format!("`wiab {args}` came to no end")));
            }
            sys::sleep_ms(LOOK_MS);
        };
        cmd::kill_group_to_its_end(&mut child)?;
        let text = fs_err::read_to_string(&log)?;
        fs_err::remove_file(&log)?;
        let events = journal::since(&bench.state(), self.base)?;
        self.known
            .extend(events.iter().map(|event| event.name.clone()));
        match ended {
            // It had come to its end: nothing is left to be taken up.
            None if events.iter().any(|event| event.name.starts_with(ENDED)) => Ok(None),
            None => Ok(events.last().cloned()),
            Some(status) if status.success() => Ok(None),
            Some(status) => Err(LabError::check(format!(
                "`wiab {args}` failed: {status}\n{text}"
            ))),
        }
    }
}
