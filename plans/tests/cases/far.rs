//! How often a look at the finished installation waits for a machine that is far away: counted in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wiab_engine::ports::{BoxFuture, Cancel, Clock as _, NoSecrets};
use wiab_engine::survey::Surveyor;
use wiab_plans::Settings;
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::sim::SimHost;
use wiab_steps::host::{Cmd, Host, HostError, JobId, JobState, LineSink, Meta, Output, Stat};
use wiab_steps::secrets::Entropy;

/// How long a question to the machine and its answer travel.
const TRIP_MS: u64 = 50;

/// Probes at once, as the `ssh` host has it.
const WIDTH: usize = 64;

/// Most round trips one after the other: at 50 ms one of the three seconds that are promised (docs/performance.md).
const WAITS_MAX: u64 = 20;

/// The simulated machine, and a long way to it: each thing that a host does is one round trip, as over SSH.
#[derive(Debug)]
struct Far {
    host: Arc<SimHost>,
    trip_ms: u64,
    asked: AtomicU64,
}

impl Far {
    async fn trip(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.trip_ms > 0 {
            self.host.clock().sleep(self.trip_ms).await;
        }
    }
}

impl Host for Far {
    fn name(&self) -> String {
        self.host.name()
    }

    fn entropy(&self, purpose: &str) -> Box<dyn Entropy> {
        self.host.entropy(purpose)
    }

    fn run<'a>(
        &'a self,
        cmd: &'a Cmd,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        Box::pin(async move {
            self.trip().await;
            self.host.run(cmd, cancel, line).await
        })
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        root: bool,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>> {
        Box::pin(async move {
            self.trip().await;
            self.host.read(path, root).await
        })
    }

    fn write<'a>(
        &'a self,
        path: &'a str,
        bytes: &'a [u8],
        meta: &'a Meta,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        self.host.write(path, bytes, meta)
    }

    fn stat<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        Box::pin(async move {
            self.trip().await;
            self.host.stat(path).await
        })
    }

    fn remove<'a>(&'a self, path: &'a str, root: bool) -> BoxFuture<'a, Result<bool, HostError>> {
        self.host.remove(path, root)
    }

    fn job_start<'a>(
        &'a self,
        id: &'a JobId,
        cmd: &'a Cmd,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        self.host.job_start(id, cmd)
    }

    fn job_state<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobState, HostError>> {
        Box::pin(async move {
            self.trip().await;
            self.host.job_state(id).await
        })
    }

    fn job_wait<'a>(
        &'a self,
        id: &'a JobId,
        from: u64,
        timeout_ms: u64,
        cancel: &'a Cancel,
        line: LineSink<'a>,
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        self.host.job_wait(id, from, timeout_ms, cancel, line)
    }

    fn job_forget<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), HostError>> {
        self.host.job_forget(id)
    }
}

#[tokio::test]
async fn a_look_at_the_finished_installation_waits_a_few_dozen_times() {
    let (plan, host) = super::rehearsal::built(&Settings::rehearsal()).await;
    let mut took_ms = Vec::new();
    for trip_ms in [0, TRIP_MS] {
        let far = Arc::new(Far {
            host: Arc::clone(&host),
            trip_ms,
            asked: AtomicU64::new(0),
        });
        let surveyor = Surveyor {
            steps: Arc::new(Catalogue::new(far.clone())),
            clock: Arc::new(host.clock()),
            scrub: Arc::new(NoSecrets),
            progress: None,
            width: WIDTH,
        };
        let begun_ms = host.clock().mono_ms();
        let survey = surveyor.survey(&plan).await;
        took_ms.push(host.clock().mono_ms() - begun_ms);
        let open: Vec<_> = survey
            .findings
            .iter()
            .filter(|(_, finding)| !finding.is_satisfied())
            .collect();
        assert!(open.is_empty(), "{open:?}");
        let asked = far.asked.load(Ordering::Relaxed);
        println!(
            "{} steps, {asked} questions, {took_ms:?} ms",
            plan.steps.len()
        );
    }
    let waits = (took_ms[1] - took_ms[0]) / TRIP_MS;
    println!("{waits} round trips, one after the other");
    assert!(
        waits <= WAITS_MAX,
        "{waits} round trips, one after the other"
    );
}
