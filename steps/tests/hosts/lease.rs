//! The lease, on the simulated machine.

use std::sync::Arc;

use wiab_steps::host::sim::{Machine, Points, SimHost, SimOptions};
use wiab_steps::host::{Host, Meta};
use wiab_steps::lease::{Holder, LEASE_PATH, Lease, LeaseError, LeaseFile};

use super::{block, sim};

fn holder(host: &str, pid: u32, installation: &str) -> Holder {
    Holder {
        owner: format!("demo@{host}"),
        host: host.to_owned(),
        pid,
        installation: installation.to_owned(),
    }
}

fn file(host: &Arc<SimHost>) -> LeaseFile {
    LeaseFile::new(host.clone(), LEASE_PATH, true)
}

#[test]
fn one_holder_at_a_time() {
    block(async {
        let host = sim(Machine::fresh());
        let before = host.canonical_state();
        let lease = file(&host);
        let (alive, dead) = (|_| true, |_| false);
        let a = holder("ops1", 100, "i1");
        let first = lease.acquire(&a, 1_000, &alive).await.unwrap();
        assert_eq!(first.token, 1_000);
        for other in [
            holder("ops1", 101, "i1"),
            holder("ops2", 100, "i1"),
            holder("ops1", 101, "i2"),
        ] {
            let Err(LeaseError::Held { lease: held }) = lease.acquire(&other, 2_000, &alive).await
            else {
                panic!("two holders");
            };
            assert_eq!(held.holder, a);
        }
        // Only a dead process of the same installation on the same machine gives way by itself.
        for other in [holder("ops2", 101, "i1"), holder("ops1", 101, "i2")] {
            assert!(lease.acquire(&other, 2_000, &dead).await.is_err());
        }
        let renewed = lease.renew(&first, 1_500).await.unwrap();
        assert_eq!(lease.look().await.unwrap(), Some(renewed.clone()));
        let second = lease
            .acquire(&holder("ops1", 101, "i1"), 900, &dead)
            .await
            .unwrap();
        assert_eq!(second.token, 1_001);
        assert!(matches!(
            lease.renew(&renewed, 3_000).await,
            Err(LeaseError::Lost { token: 1_000, .. })
        ));
        assert!(lease.release(&renewed).await.is_err());
        let stolen = lease.steal(&holder("ops9", 5, "i9"), 4_000).await.unwrap();
        assert!(stolen.token > second.token);
        assert!(lease.renew(&second, 5_000).await.is_err());
        lease.release(&stolen).await.unwrap();
        assert_eq!(lease.look().await.unwrap(), None);
        assert_eq!(host.canonical_state(), before);
    });
}

#[test]
fn a_late_record_does_not_bring_an_old_lease_back() {
    block(async {
        let host = sim(Machine::fresh());
        let lease = file(&host);
        let first = lease
            .acquire(&holder("a", 1, "i"), 10, &|_| true)
            .await
            .unwrap();
        let second = lease.steal(&holder("b", 2, "i"), 20).await.unwrap();
        let stale = serde_json::to_vec(&first).unwrap();
        host.write(LEASE_PATH, &stale, &Meta::root(0o644))
            .await
            .unwrap();
        assert_eq!(lease.look().await.unwrap(), Some(second));
        host.write(LEASE_PATH, b"{", &Meta::root(0o644))
            .await
            .unwrap();
        assert!(matches!(
            lease.look().await,
            Err(LeaseError::Malformed { .. })
        ));
    });
}

async fn cycle(host: &Arc<SimHost>, pid: u32, now_ms: u64) -> Lease {
    let lease = file(host);
    let got = lease
        .acquire(&holder("a", pid, "i"), now_ms, &|_| false)
        .await
        .unwrap();
    let got = lease.renew(&got, now_ms + 1).await.unwrap();
    lease.release(&got).await.unwrap();
    got
}

#[test]
fn death_at_every_point_leaves_a_lease_that_the_next_process_takes() {
    block(async {
        let points = Points::record();
        let with = |tap: Points| SimOptions {
            tap: Some(Arc::new(tap)),
            ..SimOptions::default()
        };
        let host = SimHost::in_memory(Machine::fresh(), with(points.clone()));
        let clean = host.canonical_state();
        cycle(&host, 1, 100).await;
        assert_eq!(host.canonical_state(), clean);
        for point in points.seen() {
            let host = SimHost::in_memory(Machine::fresh(), with(Points::die_at(point.index)));
            tokio::select! {
                biased;
                () = host.died() => {}
                _ = cycle(&host, 1, 100) => panic!("survived {point}"),
            }
            let host = sim(host.machine());
            // Nobody else gets in while the dead one is recorded.
            let lease = file(&host);
            let held = lease.look().await.unwrap();
            let other = lease.acquire(&holder("b", 1, "j"), 150, &|_| false).await;
            assert_eq!(other.is_err(), held.is_some(), "{point}");
            if let Ok(other) = other {
                lease.release(&other).await.unwrap();
            }
            let next = cycle(&host, 2, 200).await;
            assert!(next.token >= 200, "{point}");
            assert_eq!(lease.look().await.unwrap(), None, "{point}");
            cycle(&host, 3, 300).await;
        }
    });
}
