//! The hub: what a cluster has besides its control plane, outside the machine — kubelets, ingress controller and cert-manager
//! — while the Kubernetes nodes lend their ports and their packets through their agents.

pub(crate) mod agents;
pub(crate) mod api;
pub(crate) mod http;
mod ingress;
mod kubelet;
mod logs;
mod manager;
mod names;
mod pods;
mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use self::agents::Agents;
use crate::error::{LabError, Result};
use crate::kube::CLUSTER_IP;
use crate::say::say;
use crate::sys::sleep_ms;

/// How often everything is looked at, in milliseconds.
const TICK_MS: u64 = 500;
/// Most lines of a log that are kept.
const LOG_LINES_MAX: usize = 5_000;
/// How often the same error may come before it is said again.
const SAID_AGAIN: usize = 60;

/// What the hub is told by whoever starts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The keys of the cluster.
    pub(crate) pki: PathBuf,
    /// A directory for its own files.
    pub(crate) work: PathBuf,
    /// The ACME client.
    pub(crate) lego: PathBuf,
    /// Directory of the authority.
    pub(crate) acme: String,
    /// The authority's own certificate is signed by this.
    pub(crate) acme_ca: PathBuf,
    /// The name server that knows the installation's names.
    pub(crate) dns: std::net::SocketAddr,
    /// Pause after the first failed issuance, in seconds; doubles with each. An hour in the real cert-manager.
    pub(crate) backoff_s: u64,
}

/// Lines of a log, each with its time in Unix seconds.
type Lines = Vec<(u64, String)>;

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) order: Order,
    pub(crate) agents: Agents,
    /// Logs by pod.
    logs: Mutex<BTreeMap<String, Lines>>,
}

impl Hub {
    /// Adds a line to a pod's log.
    pub(crate) fn log(&self, pod: &str, line: String) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = logs.entry(pod.to_owned()).or_default();
        lines.push((crate::sys::wall_s(), line));
        let old = lines.len().saturating_sub(LOG_LINES_MAX);
        lines.drain(..old);
    }

    /// The lines of a pod's log since a time.
    fn lines(&self, pod: &str, since_s: u64) -> Vec<String> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = logs.get(pod).into_iter().flatten();
        lines
            .filter(|(at, _)| *at >= since_s)
            .map(|(_, line)| line.clone())
            .collect()
    }
}

/// Serves until it is killed.
pub(crate) fn run(order: &Path) -> Result<()> {
    let text = fs_err::read_to_string(order)?;
    let order: Order = serde_json::from_str(&text).map_err(|source| LabError::Json {
        what: "the hub's order".to_owned(),
        source,
    })?;
    let hub = Arc::new(Hub {
        order,
        agents: Agents::default(),
        logs: Mutex::default(),
    });
    let address: IpAddr = CLUSTER_IP
        .parse()
        .map_err(|_| LabError::check("the cluster has no address"))?;
    hub.agents.listen(address)?;
    logs::serve(&hub, address)?;
    ingress::serve(&hub, address)?;
    let (own, manager) = (hub.clone(), hub.clone());
    let kubelet = std::thread::spawn(move || {
        let mut kubelets = kubelet::Kubelets::default();
        forever("kubelet", || kubelets.tick(&own));
    });
    std::thread::spawn(move || {
        let mut manager_state = manager::Manager::default();
        forever("cert-manager", || manager_state.tick(&manager));
    });
    kubelet
        .join()
        .map_err(|_| LabError::check("a part of the hub broke"))
}

/// Does something again and again; what fails is tried again, and said, but not each time.
fn forever(what: &str, mut tick: impl FnMut() -> Result<()>) {
    let (mut last, mut times) = (String::new(), 0);
    loop {
        if let Err(error) = tick() {
            let text = error.to_string();
            times = if text == last { times + 1 } else { 0 };
            if times % SAID_AGAIN == 0 {
                say(&format!("hub: {what}: {text}"));
            }
            last = text;
        }
        sleep_ms(TICK_MS);
    }
}
