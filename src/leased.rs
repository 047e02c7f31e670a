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

/// How long a holder that was killed may take to be gone: this often, this many milliseconds apart.
const DYING_TRIES: u32 = 20;
const DYING_MS: u64 = 100;
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
        dirs: &Dirs,
        machine: &Machine,
        stops: mpsc::Sender<Stop>,
    ) -> Result<Self, Problem> {
        let node = rustix::system::uname();
        let who = Holder {
            owner: App::owner(),
            host: node.nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            born: born(std::process::id()).unwrap_or_default(),
            installation: dirs.name(),
        };
        let now_ms = machine.clock.wall_ms();
        let shared = LeaseFile::new(Arc::clone(&machine.host), LEASE_PATH, true);
        let (file, lease) = match acquire(&shared, &who, now_ms).await {
            Ok(lease) => (shared, lease),
            Err(LeaseError::Host(HostError::Denied { why })) => {
                // Without root only this user's own runs can be kept apart; steps that need root will say so.
                tracing::warn!(why, "no machine-wide lease");
                let path = dirs.home.join("lease.json").display().to_string();
                let own = LeaseFile::new(Arc::clone(&machine.host), path, false);
                let lease = acquire(&own, &who, now_ms).await.map_err(refused)?;
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

/// Takes the lease. Its holder may have been killed a moment ago and still be on its way out, so a process of this machine
/// that worked on this installation, whose journal is ours by now, is given a moment.
async fn acquire(file: &LeaseFile, who: &Holder, now_ms: u64) -> Result<Lease, LeaseError> {
    let mut ticks = tokio::time::interval(Duration::from_millis(DYING_MS));
    for _ in 0..DYING_TRIES {
        ticks.tick().await;
        match file.acquire(who, now_ms, &alive).await {
            Err(LeaseError::Held { lease })
                if lease.holder.host == who.host
                    && lease.holder.installation == who.installation => {}
            other => return other,
        }
    }
    file.acquire(who, now_ms, &alive).await
}

/// Whether a holder on this machine lives.
fn alive(holder: &Holder) -> bool {
    born(holder.pid).is_some_and(|born| holder.born.is_empty() || born == holder.born)
}

/// When a living process was born: its start time and the machine's boot; `None` if there is none, or it has ended and was
/// only not collected yet (proc(5), `/proc/pid/stat`, fields 3 and 22).
fn born(pid: u32) -> Option<String> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {}", fields.get(19)?, boot.trim()))
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
        LeaseError::Host(HostError::Barred { why, remedy, .. }) => {
            Problem::new(Code::Denied, format!("the lease cannot be taken: {why}")).hint(remedy)
        }
        LeaseError::Host(error) => {
            let code = match &error {
                HostError::Denied { .. } | HostError::Barred { .. } => Code::Denied,
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
