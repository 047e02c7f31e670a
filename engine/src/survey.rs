//! A read-only pass over a plan: what would be created, changed, left alone. What `wiab plan` shows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::graph;
use crate::id::{RunId, StepId};
use crate::inputs;
use crate::look::Look;
use crate::outcome::{Failure, Probe};
use crate::plan::Plan;
use crate::ports::{Busy, Clock, ProgressSink, Scrub, StepCx, Steps};

/// What a look at one step found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// The probe's answer.
    Seen(Probe),
    /// The step's inputs are outputs of steps that have not run; known after those.
    AfterApply {
        /// What is missing, in one sentence.
        needs: String,
    },
    /// The probe could not look.
    Blind(Failure),
}

impl Finding {
    /// Whether `apply` would leave the step alone.
    pub fn is_satisfied(&self) -> bool {
        matches!(self, Self::Seen(Probe::Satisfied(_)))
    }
}

/// The findings of a whole plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// By step.
    pub findings: BTreeMap<StepId, Finding>,
}

impl Survey {
    /// Digest over every finding's kind and difference (not its notes): equal digests plan the same work.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (step, finding) in &self.findings {
            let (word, detail) = match finding {
                Finding::Seen(Probe::Satisfied(_)) => ("satisfied", ""),
                Finding::Seen(Probe::Absent) => ("absent", ""),
                Finding::Seen(Probe::Drifted { diff }) => ("drifted", diff.as_str()),
                Finding::Seen(Probe::Partial { what }) => ("partial", what.as_str()),
                Finding::Seen(Probe::Unknown { .. } | Probe::Running) => ("unknown", ""),
                Finding::AfterApply { .. } => ("later", ""),
                Finding::Blind(_) => ("blind", ""),
            };
            for part in [step.as_str(), word, detail] {
                hasher
                    .update(&(part.len() as u64).to_le_bytes())
                    .update(part.as_bytes());
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// Steps whose findings differ between two surveys.
    pub fn differences<'a>(
        &'a self,
        later: &'a Self,
    ) -> Vec<(&'a StepId, Option<&'a Finding>, Option<&'a Finding>)> {
        let ids: std::collections::BTreeSet<&StepId> =
            self.findings.keys().chain(later.findings.keys()).collect();
        ids.into_iter()
            .map(|id| (id, self.findings.get(id), later.findings.get(id)))
            .filter(|(id, old, new)| {
                let one = |finding: Option<&Finding>| {
                    let findings = finding
                        .map(|f| ((*id).clone(), f.clone()))
                        .into_iter()
                        .collect();
                    Survey { findings }.digest()
                };
                one(*old) != one(*new)
            })
            .collect()
    }
}

/// What a survey needs.
#[derive(Debug, Clone)]
pub struct Surveyor {
    /// Builds steps.
    pub steps: Arc<dyn Steps>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Removes secrets.
    pub scrub: Arc<dyn Scrub>,
    /// Live progress; lossy.
    pub progress: Option<Arc<dyn ProgressSink>>,
    /// Most probes at once.
    pub width: usize,
}

impl Surveyor {
    /// Probes every step, those whose outputs it needs first, as many at once as `width` allows.
    pub async fn survey(&self, plan: &Plan) -> Survey {
        let mut tokens = vec![self.clock.busy()];
        let mut survey = Survey::default();
        let look = Arc::new(Look::default());
        let mut queue = Queue::of(plan);
        let mut tasks: JoinSet<(usize, Finding, Busy)> = JoinSet::new();
        let mut under_way: BTreeMap<tokio::task::Id, usize> = BTreeMap::new();
        loop {
            while tasks.len() < self.width.max(1) {
                let Some(at) = queue.ready.pop_front() else {
                    break;
                };
                match self.probe(plan, at, &survey, &look) {
                    Ok(task) => {
                        let busy = self.clock.busy();
                        let handle = tasks.spawn(async move { (at, task.await, busy) });
                        under_way.insert(handle.id(), at);
                    }
                    Err(finding) => queue.found(plan, &mut survey, at, finding),
                }
            }
            tokens.clear();
            match tasks.join_next_with_id().await {
                None => return survey,
                Some(Ok((id, (at, finding, busy)))) => {
                    under_way.remove(&id);
                    tokens.push(busy);
                    queue.found(plan, &mut survey, at, finding);
                }
                Some(Err(error)) => {
                    if let Some(at) = under_way.remove(&error.id()) {
                        let blind = Finding::Blind(Failure::clean("the probe panicked"));
                        queue.found(plan, &mut survey, at, blind);
                    }
                }
            }
        }
    }

    fn probe(
        &self,
        plan: &Plan,
        at: usize,
        survey: &Survey,
        look: &Arc<Look>,
    ) -> Result<impl Future<Output = Finding> + Send + use<>, Finding> {
        let Some(spec) = plan.steps.get(at) else {
            return Err(Finding::Blind(Failure::clean("no such step")));
        };
        let outputs = |from: &StepId, name: &str| match survey.findings.get(from) {
            Some(Finding::Seen(Probe::Satisfied(receipt))) => receipt.outputs.get(name).cloned(),
            _ => None,
        };
        let inputs = inputs::resolve(spec, &outputs).map_err(|error| Finding::AfterApply {
            needs: error.to_string(),
        })?;
        let step = self
            .steps
            .build(spec, inputs)
            .map_err(|why| Finding::Blind(Failure::clean(why)))?;
        let mut cx = StepCx::new(RunId([0; 16]), spec.id.clone(), Arc::clone(&self.clock));
        cx.progress.sink.clone_from(&self.progress);
        cx.look = Some(Arc::clone(look));
        let scrub = Arc::clone(&self.scrub);
        Ok(async move {
            match step.probe(&cx).await {
                Ok(Probe::Drifted { diff }) => Finding::Seen(Probe::Drifted {
                    diff: scrub.scrub(&diff).into_owned(),
                }),
                Ok(probe) => Finding::Seen(probe),
                Err(failure) => Finding::Blind(failure),
            }
        })
    }
}

/// Steps in the order in which they may be probed.
struct Queue {
    ready: VecDeque<usize>,
    /// How many steps each one still waits for.
    waits_for: Vec<usize>,
    /// Steps that use outputs of each one.
    users: Vec<Vec<usize>>,
}

impl Queue {
    fn of(plan: &Plan) -> Self {
        let index: BTreeMap<&StepId, usize> = plan
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| (&step.id, at))
            .collect();
        let mut users = vec![Vec::new(); plan.steps.len()];
        let mut waits_for = Vec::with_capacity(plan.steps.len());
        for (at, step) in plan.steps.iter().enumerate() {
            let mut used = BTreeSet::new();
            if let Ok(value) = serde_json::from_str(&step.inputs) {
                inputs::references(&value, &mut |from, _| {
                    used.extend(index.get(from).copied().filter(|from| *from != at));
                });
            }
            for from in &used {
                if let Some(list) = users.get_mut(*from) {
                    list.push(at);
                }
            }
            waits_for.push(used.len());
        }
        let free = |at: &usize| waits_for.get(*at) == Some(&0);
        let ready = graph::order(plan).into_iter().filter(free).collect();
        Self {
            ready,
            waits_for,
            users,
        }
    }

    /// Notes a finding and lets those go that waited for it.
    fn found(&mut self, plan: &Plan, survey: &mut Survey, at: usize, finding: Finding) {
        if let Some(step) = plan.steps.get(at) {
            survey.findings.insert(step.id.clone(), finding);
        }
        for user in self.users.get(at).into_iter().flatten() {
            if let Some(open) = self.waits_for.get_mut(*user) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.ready.push_back(*user);
                }
            }
        }
    }
}
