//! The lease on the target machine: at most one wiab acts on it.
//!
//! `PATH` (JSON) names the holder. A claim to the lease with token `T` is the file `PATH.T`, made by a hard link, which only one
//! can win; a claim counts while it names the very lease that it replaces. Whoever dies between claim and record is
//! therefore seen by the next reader, and a late writer cannot bring an old lease back. Tokens only rise: they are at least the
//! time of the acquisition in milliseconds, so that they rise across releases, too, which leave nothing behind.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::ports::Cancel;

use crate::host::{Cmd, Host, HostError, Meta};

/// Where the lease lies unless configured otherwise.
pub const LEASE_PATH: &str = "/var/lib/wiab/lease.json";

/// Most claims that are followed, and most attempts of one acquisition.
const CHAIN_MAX: u32 = 8;

/// Who wants to act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `user@machine`, for people.
    pub owner: String,
    /// Name of the machine that wiab runs on.
    pub host: String,
    /// Process there.
    pub pid: u32,
    /// The installation that it works on.
    pub installation: String,
}

/// A lease as it is written on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    #[serde(flatten)]
    pub holder: Holder,
    /// Fencing token: higher than that of every earlier lease.
    pub token: u64,
    /// Unix time of the acquisition, in milliseconds.
    pub since_ms: u64,
    /// Unix time of the last renewal, in milliseconds.
    pub renewed_ms: u64,
    /// Token of the lease that this one took over; 0 if there was none.
    pub after: u64,
    /// That lease's identity.
    pub replaces: Option<String>,
}

impl Lease {
    /// What tells this lease from every other one.
    fn id(&self) -> String {
        let Holder {
            host,
            pid,
            installation,
            ..
        } = &self.holder;
        format!(
            "{installation}/{host}/{pid}/{}/{}",
            self.since_ms, self.token
        )
    }
}

/// Why a lease could not be had or kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else acts on the machine.
    #[error(
        "{} (process {} on {}) holds the lease on this machine for installation `{}`",
        .lease.holder.owner, .lease.holder.pid, .lease.holder.host, .lease.holder.installation
    )]
    Held {
        /// The lease in force.
        lease: Box<Lease>,
    },
    /// The lease that was held is not in force any more.
    #[error("the lease with token {token} was taken over")]
    Lost {
        /// Its token.
        token: u64,
        /// The lease in force, if any.
        by: Option<Box<Lease>>,
    },
    /// The lease file is not one.
    #[error(
        "{path} is not a lease file; look at it, and remove it if nothing acts on this machine"
    )]
    Malformed {
        /// The file.
        path: String,
    },
    /// The machine could not do it.
    #[error("the lease file cannot be used")]
    Host(#[from] HostError),
}

/// The lease of one machine.
#[derive(Debug, Clone)]
pub struct LeaseFile {
    host: Arc<dyn Host>,
    path: String,
    root: bool,
}

impl LeaseFile {
    /// The lease at `path` on `host`; `root` if only root may write there.
    pub fn new(host: Arc<dyn Host>, path: impl Into<String>, root: bool) -> Self {
        Self {
            host,
            path: path.into(),
            root,
        }
    }

    /// The lease in force.
    pub async fn look(&self) -> Result<Option<Lease>, LeaseError> {
        let mut current = self.read(&self.path).await?;
        // A claim without a record: its winner died, or is about to write the record.
        for _ in 0..CHAIN_MAX {
            let base = current.as_ref().map(Lease::id);
            let token = current.as_ref().map_or(0, |lease| lease.token);
            let next = self.read(&self.claim(token)).await?;
            match next.filter(|next| next.replaces == base) {
                Some(next) => current = Some(next),
                None => break,
            }
        }
        Ok(current)
    }

    /// Takes the lease if nobody holds it, or if its holder was this installation's process on this machine and is dead.
    /// `alive` tells whether a process of this machine lives; a lease of our own process number is never ours, and dead.
    pub async fn acquire(
        &self,
        who: &Holder,
        now_ms: u64,
        alive: &(dyn Fn(u32) -> bool + Send + Sync),
    ) -> Result<Lease, LeaseError> {
        for _ in 0..CHAIN_MAX {
            let current = self.look().await?;
            if let Some(lease) = &current {
                let holder = &lease.holder;
                let ours = holder.installation == who.installation && holder.host == who.host;
                let dead = holder.pid == who.pid || !alive(holder.pid);
                if !(ours && dead) {
                    return Err(LeaseError::Held {
                        lease: Box::new(lease.clone()),
                    });
                }
            }
            if let Some(lease) = self.replace(who, now_ms, current).await? {
                return Ok(lease);
            }
        }
        self.refuse().await
    }

    /// Takes the lease whoever holds it, because an operator says that the holder is gone.
    pub async fn steal(&self, who: &Holder, now_ms: u64) -> Result<Lease, LeaseError> {
        for _ in 0..CHAIN_MAX {
            let current = self.look().await?;
            if let Some(lease) = self.replace(who, now_ms, current).await? {
                return Ok(lease);
            }
        }
        self.refuse().await
    }

    /// Says that the holder still lives. Fails if the lease is not in force any more; then nothing further may be done.
    pub async fn renew(&self, lease: &Lease, now_ms: u64) -> Result<Lease, LeaseError> {
        self.in_force(lease).await?;
        let renewed = Lease {
            renewed_ms: now_ms,
            ..lease.clone()
        };
        self.write(&self.path, &renewed).await?;
        Ok(renewed)
    }

    /// Gives the lease back; leaves nothing on the machine. A lease that was taken over is left alone.
    pub async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.in_force(lease).await?;
        // A first claim counts without a record: only our own may outlive the record, and goes last.
        if lease.after != 0 {
            self.host.remove(&self.claim(0), self.root).await?;
        }
        self.host.remove(&self.path, self.root).await?;
        self.host
            .remove(&self.claim(lease.after), self.root)
            .await?;
        if let Some((parent, _)) = self.path.rsplit_once('/') {
            // Refused while others keep something there.
            let _ = self.host.remove(parent, self.root).await;
        }
        Ok(())
    }

    async fn in_force(&self, lease: &Lease) -> Result<(), LeaseError> {
        match self.look().await? {
            Some(current) if current.id() == lease.id() => Ok(()),
            by => Err(LeaseError::Lost {
                token: lease.token,
                by: by.map(Box::new),
            }),
        }
    }

    async fn refuse(&self) -> Result<Lease, LeaseError> {
        match self.look().await? {
            Some(lease) => Err(LeaseError::Held {
                lease: Box::new(lease),
            }),
            None => Err(LeaseError::Lost { token: 0, by: None }),
        }
    }

    /// Replaces `current`; `None` if somebody was faster.
    async fn replace(
        &self,
        who: &Holder,
        now_ms: u64,
        current: Option<Lease>,
    ) -> Result<Option<Lease>, LeaseError> {
        let lease = Lease {
            holder: who.clone(),
            token: current
                .as_ref()
                .map_or(0, |lease| lease.token + 1)
                .max(now_ms)
                .max(1),
            since_ms: now_ms,
            renewed_ms: now_ms,
            after: current.as_ref().map_or(0, |lease| lease.token),
            replaces: current.as_ref().map(Lease::id),
        };
        let claim = self.claim(lease.after);
        let candidate = format!("{}.{}.{}", self.path, who.host, who.pid);
        self.write(&candidate, &lease).await?;
        let won = self.link(&candidate, &claim).await;
        self.host.remove(&candidate, self.root).await?;
        if !won? {
            // A claim that replaces nothing in force is a leftover of a race or of a death during release.
            let other = self.read(&claim).await?;
            if other.is_some_and(|other| other.replaces != lease.replaces) {
                self.host.remove(&claim, self.root).await?;
            }
            return Ok(None);
        }
        // Between look and claim the lease may have been released and taken anew: then our claim replaces nothing.
        let now = self.look().await?;
        if now.as_ref().map(Lease::id) != Some(lease.id()) {
            self.host.remove(&claim, self.root).await?;
            return Ok(None);
        }
        self.write(&self.path, &lease).await?;
        // Our claim stays: it outweighs a record that the former holder may still be about to write.
        if let Some(old) = &current {
            self.host.remove(&self.claim(old.after), self.root).await?;
        }
        Ok(Some(lease))
    }

    /// The file that claims the successor of the lease with that token.
    fn claim(&self, token: u64) -> String {
        format!("{}.{token}", self.path)
    }

    async fn read(&self, path: &str) -> Result<Option<Lease>, LeaseError> {
        let Some(bytes) = self.host.read(path, self.root).await? else {
            return Ok(None);
        };
        let lease = serde_json::from_slice(&bytes);
        lease.map(Some).map_err(|_| LeaseError::Malformed {
            path: path.to_owned(),
        })
    }

    async fn write(&self, path: &str, lease: &Lease) -> Result<(), LeaseError> {
        let mut bytes = serde_json::to_vec_pretty(lease).unwrap_or_default();
        bytes.push(b'\n');
        let meta = Meta {
            mode: 0o644,
            owner: None,
            root: self.root,
        };
        Ok(self.host.write(path, &bytes, &meta).await?)
    }

    /// Makes `to` another name of `from`; `false` if it exists.
    async fn link(&self, from: &str, to: &str) -> Result<bool, LeaseError> {
        let mut cmd = Cmd::new(["ln", "-T", "--", from, to]);
        cmd.root = self.root;
        let output = self.host.run(&cmd, &Cancel::default(), &|_| {}).await?;
        match (output.ok(), output.error_text()) {
            (true, _) => Ok(true),
            (false, text) if text.ends_with("File exists") => Ok(false),
            (false, why) => Err(LeaseError::Host(HostError::File {
                path: to.to_owned(),
                why,
            })),
        }
    }
}
