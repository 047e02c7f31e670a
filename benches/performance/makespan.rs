//! How long the whole installation takes on the simulated machine, with the reference durations, against its longest chain
//! and against one step at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wiab_engine::event::{Event, Evidence};
use wiab_engine::graph;
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::Outcome as Ended;
use wiab_engine::plan::Plan;
use wiab_engine::ports::{BoxFuture, Clock, LogError, NoSecrets, RunLog};
use wiab_engine::runner::{Runner, World};
use wiab_plans::{Settings, wiab_staging};
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::sim::{Machine, SimHost, SimOptions};

use crate::report::Report;
use crate::{Outcome, engine, stats};

/// Steps at once unless the configuration says otherwise.
const WIDTH: u32 = 8;

/// Keeps how long each step took, in virtual milliseconds.
#[derive(Debug, Default)]
struct Durations(Mutex<BTreeMap<StepId, u64>>);

impl RunLog for Durations {
    fn append(&self, events: Vec<Event>) -> BoxFuture<'_, Result<(), LogError>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if let Event::StepSucceeded(done) = event {
                *kept.entry(done.step).or_default() += done.took_ms;
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn store(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Evidence, LogError>> {
        let evidence = Evidence {
            hash: *blake3::hash(&bytes).as_bytes(),
            bytes: bytes.len() as u64,
        };
        Box::pin(std::future::ready(Ok(evidence)))
    }
}

/// One run; answers its virtual duration in milliseconds.
fn run(plan: &Plan, width: u32, durations: &Arc<Durations>) -> Outcome<u64> {
    let host = SimHost::in_memory(Machine::fresh(), SimOptions::default());
    let clock = Arc::new(host.clock());
    let world = World {
        steps: Arc::new(Catalogue::new(host)),
        clock: clock.clone(),
        log: durations.clone(),
        scrub: Arc::new(NoSecrets),
        progress: None,
        observer: None,
    };
    let begun_ms = clock.mono_ms();
    let runner = Runner::fresh(RunId([6; 16]), engine::opened(plan.clone(), width), world);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let state = runtime.block_on(async {
        let (_stop, stops) = tokio::sync::mpsc::channel(1);
        runner.drive(stops).await
    })?;
    if state.ended != Some(Ended::Completed) {
        return Err(format!("the installation ended as {:?}", state.ended).into());
    }
    Ok(clock.mono_ms() - begun_ms)
}

/// Measures and reports.
pub(crate) fn all(report: &mut Report) -> Outcome<()> {
    let plan = wiab_staging(&Settings::rehearsal())?;
    let durations = Arc::new(Durations::default());
    let makespan_ms = run(&plan, WIDTH, &durations)?;
    let took = durations.0.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |id: &StepId| took.get(id).copied().unwrap_or(0);
    let (chain, chain_ms) = graph::critical_path(&plan, &|step| of(&step.id));
    let sum_ms: u64 = took.values().sum();
    report.line("steps", plan.steps.len().to_string());
    report.line("one after the other", minutes(sum_ms));
    report.line("longest chain", minutes(chain_ms));
    let mut long: Vec<&StepId> = chain.iter().filter(|id| of(id) >= 60_000).collect();
    long.truncate(12);
    let named: Vec<String> = long
        .into_iter()
        .map(|id| format!("{id} ({})", minutes(of(id))))
        .collect();
    report.line("of which a minute and more", named.join(", "));
    report.at_most(
        &format!("whole installation, {WIDTH} steps at once"),
        minutes(makespan_ms),
        stats::real(makespan_ms) / stats::real(chain_ms.max(1)),
        1.05,
        "x the longest chain",
    );
    Ok(())
}

fn minutes(ms: u64) -> String {
    format!("{:.1} min", stats::real(ms) / 60_000.0)
}
