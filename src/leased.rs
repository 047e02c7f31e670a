//! The lease on the target machine for as long as a run is worked on: taken, renewed, given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use wiab_engine::runner::Stop;
use wiab_steps::host::HostError;
use wiab_steps::lease::{Holder, LEASE_PATH, Lease, LeaseError, LeaseFile};

use crate::app::App;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::machine::Machine;
use crate::problem::{Problem, chain};
use crate::ui::time;

/// Seconds between renewals.
const RENEW_S: u64 = 30;

/// A held lease.
#[derive(Debug)]
pub(crate) struct Leased {
    file: LeaseFile,
    lease: Arc<Mutex<Lease>>,
    renewal: JoinHandle<()>,
}

impl Leased {
    /// Takes the lease. When it is lost later, running steps are stopped through `stops`.
    pub(crate) async fn take(
        app: &App,
        dirs: &Dirs,
        machine: &Machine,
        stops: mpsc::Sender<Stop>,
    ) -> Result<Self, Problem> {
        let node = rustix::system::uname();
        let who = Holder {
            owner: app.owner(),
            host: node.nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            installation: dirs.name(),
        };
        let now_ms = machine.clock.wall_ms();
        let shared = LeaseFile::new(Arc::clone(&machine.host), LEASE_PATH, true);
        let (file, lease) = match shared.acquire(&who, now_ms, &alive).await {
            Ok(lease) => (shared, lease),
            Err(LeaseError::Host(HostError::Denied { why })) => {
                // Without root only this user's own runs can be kept apart; steps that need root will say so.
                tracing::warn!(why, "no machine-wide lease");
                let path = dirs.home.join("lease.json").display().to_string();
                let own = LeaseFile::new(Arc::clone(&machine.host), path, false);
                let lease = own.acquire(&who, now_ms, &alive).await.map_err(refused)?;
                (own, lease)
            }
            Err(error) => return Err(refused(error)),
        };
        let lease = Arc::new(Mutex::new(lease));
        let renewal = tokio::spawn(renew(
            file.clone(),
            Arc::clone(&lease),
            machine.clone(),
            stops,
        ));
        Ok(Self {
            file,
            lease,
            renewal,
        })
    }

    /// Gives it back.
    pub(crate) async fn release(self, app: &App) {
        self.renewal.abort();
        let lease = self.lease.lock().await.clone();
        if let Err(error) = self.file.release(&lease).await {
            app.printer
                .warn(&format!("the lease was not given back: {}", chain(&error)));
        }
    }
}

async fn renew(
    file: LeaseFile,
    lease: Arc<Mutex<Lease>>,
    machine: Machine,
    stops: mpsc::Sender<Stop>,
) {
    let mut ticks = tokio::time::interval(Duration::from_secs(RENEW_S));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let mut held = lease.lock().await;
        match file.renew(&held, machine.clock.wall_ms()).await {
            Ok(renewed) => *held = renewed,
            Err(LeaseError::Lost { .. }) => {
                tracing::error!("the lease was taken over");
                let by = "the lease was taken over".to_owned();
                // The run may have ended meanwhile.
                let _ended = stops.send(Stop::Kill { by }).await;
                return;
            }
            Err(error) => tracing::warn!(error = chain(&error), "the lease was not renewed"),
        }
    }
}

/// Whether a process of this machine lives.
fn alive(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

fn refused(error: LeaseError) -> Problem {
    match error {
        LeaseError::Held { lease } => Problem::new(
            Code::Locked,
            format!(
                "another wiab acts on this machine: {} (process {} on {}) for installation `{}` since {}",
                lease.holder.owner,
                lease.holder.pid,
                lease.holder.host,
                lease.holder.installation,
                time::date(lease.since_ms)
            ),
        )
        .hint(format!("wait for it; if it is gone for good, remove {LEASE_PATH}* on the machine")),
        error @ (LeaseError::Lost { .. } | LeaseError::Malformed { .. }) => {
            Problem::new(Code::Locked, chain(&error))
                .hint(format!("look at {LEASE_PATH} on the machine"))
        }
        LeaseError::Host(error) => {
            let code = match &error {
                HostError::Denied { .. } => Code::Denied,
                HostError::Unreachable { .. } | HostError::LostMidway { .. } => Code::Unreachable,
                HostError::NoProgram { .. }
                | HostError::TimedOut { .. }
                | HostError::Cancelled
                | HostError::File { .. } => Code::Failure,
            };
            Problem::new(code, format!("the lease cannot be taken: {error}"))
                .hint("wiab needs root on the machine: run it as root, or allow `sudo -n`")
        }
    }
}
