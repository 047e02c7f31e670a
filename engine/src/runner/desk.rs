//! How a task gets an event into the journal while it works: it hands it to the loop and waits until it is durable.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::book::Keeper;
use crate::event::{Event, Evidence};
use crate::id::StepId;
use crate::ports::{BoxFuture, LogError, RunLog, Scrub};

/// An event that must be durable before its task goes on.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) step: StepId,
    pub(super) event: Event,
    pub(super) durable: oneshot::Sender<()>,
}

/// Hands an event over and waits. `false`: the journal did not keep it.
pub(super) async fn hand_over(
    to: &mpsc::Sender<Handover>,
    step: &StepId,
    event: impl Into<Event>,
) -> bool {
    let (durable, acknowledged) = oneshot::channel();
    let handover = Handover {
        step: step.clone(),
        event: event.into(),
        durable,
    };
    to.send(handover).await.is_ok() && acknowledged.await.is_ok()
}

/// One task's keeper of accounts.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) step: StepId,
    pub(super) log: Arc<dyn RunLog>,
    pub(super) scrub: Arc<dyn Scrub>,
    pub(super) handover: mpsc::Sender<Handover>,
}

impl Keeper for Desk {
    fn store(&self, text: String) -> BoxFuture<'_, Result<Evidence, LogError>> {
        self.log.store(text.into_bytes())
    }

    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            if hand_over(&self.handover, &self.step, event).await {
                return Ok(());
            }
            Err(LogError {
                why: "the step's account was not kept".to_owned(),
            })
        })
    }

    fn scrub(&self, text: &str) -> String {
        self.scrub.scrub(text).into_owned()
    }
}
