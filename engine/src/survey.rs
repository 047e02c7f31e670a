//! A read-only pass over a plan: what would be created, changed, left alone. What `wiab plan` shows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::graph;
use crate::id::{RunId, StepId};
use crate::inputs;
use crate::outcome::{Failure, Probe};
use crate::plan::Plan;
use crate::ports::{Busy, Cancel, Clock, Progress, ProgressSink, Scrub, StepCx, Steps, Transcript};

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
    /// Probes every step, dependencies first where their outputs are needed, as many at once as `width` allows.
    pub async fn survey(&self, plan: &Plan) -> Survey {
        let token = self.clock.busy();
        let mut survey = Survey::default();
        let mut queue: VecDeque<usize> = graph::order(plan).into();
        let mut tasks: JoinSet<(usize, Finding, Busy)> = JoinSet::new();
        let mut under_way: BTreeMap<tokio::task::Id, usize> = BTreeMap::new();
        let mut waiting = VecDeque::new();
        let mut tokens = vec![token];
        loop {
            // Steps whose referenced outputs are still being probed wait; everything else goes out.
            waiting.append(&mut queue);
            while let Some(at) = waiting.pop_front() {
                let pending = needs_pending(plan, at, &survey);
                if pending || tasks.len() >= self.width.max(1) {
                    queue.push_back(at);
                    continue;
                }
                match self.probe(plan, at, &survey) {
                    Ok(task) => {
                        let busy = self.clock.busy();
                        let handle = tasks.spawn(async move { (at, task.await, busy) });
                        under_way.insert(handle.id(), at);
                    }
                    Err(finding) => insert(plan, &mut survey, at, finding),
                }
            }
            tokens.clear();
            let Some(joined) = tasks.join_next_with_id().await else {
                if queue.is_empty() {
                    return survey;
                }
                continue;
            };
            match joined {
                Ok((id, (at, finding, busy))) => {
                    under_way.remove(&id);
                    tokens.push(busy);
                    insert(plan, &mut survey, at, finding);
                }
                Err(error) => {
                    if let Some(at) = under_way.remove(&error.id()) {
                        insert(
                            plan,
                            &mut survey,
                            at,
                            Finding::Blind(Failure::clean("the probe panicked")),
                        );
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
        let cx = StepCx {
            run: RunId([0; 16]),
            step: spec.id.clone(),
            attempt: 1,
            forward_attempt: 1,
            resumed: false,
            cancel: Cancel::default(),
            progress: Progress {
                step: spec.id.clone(),
                sink: self.progress.clone(),
            },
            clock: Arc::clone(&self.clock),
            evidence: Transcript::default(),
        };
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

fn insert(plan: &Plan, survey: &mut Survey, at: usize, finding: Finding) {
    if let Some(step) = plan.steps.get(at) {
        survey.findings.insert(step.id.clone(), finding);
    }
}

/// Whether an output that the step uses is still being looked for.
fn needs_pending(plan: &Plan, at: usize, survey: &Survey) -> bool {
    let Some(step) = plan.steps.get(at) else {
        return false;
    };
    let Ok(value) = serde_json::from_str(&step.inputs) else {
        return false;
    };
    let mut pending = false;
    inputs::references(&value, &mut |from, _| {
        pending |= !survey.findings.contains_key(from);
    });
    pending
}
