//! Looking again and again, up to a deadline.

use wiab_engine::ports::Tick;

use crate::host::shell::Shell;

/// How long something is waited for, and how often it is looked at.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    sh: Shell<'a>,
    ends_ms: u64,
    poll_ms: u64,
    stage: String,
}

impl<'a> Patience<'a> {
    /// Begins now and lasts `deadline_ms`.
    pub(super) fn new(sh: Shell<'a>, deadline_ms: u64, poll_ms: u64) -> Self {
        Self {
            sh,
            ends_ms: sh.cx.clock.mono_ms().saturating_add(deadline_ms),
            poll_ms,
            stage: String::new(),
        }
    }

    /// Shows what is still missing, if that is new.
    pub(super) fn show(&mut self, missing: &str) {
        if missing != self.stage {
            missing.clone_into(&mut self.stage);
            self.sh.cx.progress.tick(Tick::Stage(self.stage.clone()));
        }
    }

    /// Rests until the next look; `false`, at once, when the time is over.
    pub(super) async fn rest(&self) -> bool {
        let clock = &self.sh.cx.clock;
        if clock.mono_ms() >= self.ends_ms {
            return false;
        }
        clock.sleep(self.poll_ms).await;
        true
    }
}
