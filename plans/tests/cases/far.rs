//! How often a look at the finished installation waits for a machine that is far away: counted in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wiab_engine::ports::{BoxFuture, Clock as _, NoSecrets};
use wiab_engine::survey::Surveyor;
use wiab_plans::Settings;
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::sim::SimClock;

use crate::via::{Via, Way, What};

/// How long a question to the machine and its answer travel: not at all, as promised for, and so long that the chain with the
/// most of them is the longest one.
const TRIPS_MS: [u64; 3] = [0, 50, LONG_MS];
const LONG_MS: u64 = 10_000;

/// Probes at once, as the `ssh` host has it.
const WIDTH: usize = 64;

/// Most round trips one after the other: at 50 ms 1.5 s of the three that are promised (docs/performance.md).
const WAITS_MAX: u64 = 30;

/// A long way: each thing that a host does is one round trip, as over SSH.
#[derive(Debug)]
struct Far {
    clock: SimClock,
    trip_ms: u64,
    asked: AtomicU64,
}

impl Way for Far {
    fn passes<'a>(&'a self, _what: What<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.trip_ms > 0 {
                self.clock.sleep(self.trip_ms).await;
            }
        })
    }
}

#[tokio::test]
async fn a_look_at_the_finished_installation_waits_a_few_dozen_times() {
    let (plan, host) = super::rehearsal::built(&Settings::rehearsal()).await;
    let mut took_ms = Vec::new();
    for trip_ms in TRIPS_MS {
        let far = Arc::new(Via {
            host: Arc::clone(&host),
            way: Far {
                clock: host.clock(),
                trip_ms,
                asked: AtomicU64::new(0),
            },
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
        let asked = far.way.asked.load(Ordering::Relaxed);
        println!(
            "{} steps, {asked} questions, {took_ms:?} ms",
            plan.steps.len()
        );
    }
    let waits = (took_ms[2] - took_ms[0]) / LONG_MS;
    println!("{waits} round trips, one after the other");
    assert!(
        waits <= WAITS_MAX,
        "{waits} round trips, one after the other"
    );
}
