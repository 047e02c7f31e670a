//! The kubelets' own servers: the API server asks them for the logs of pods.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;

use super::{Hub, http, tls};
use crate::error::Result;
use crate::kube::NODES;
use crate::sys::wall_s;

/// The first port; each node has one of its own, and the control plane has some of those from 10250 on.
const FIRST_PORT: u16 = 11_250;

/// The port of a node's kubelet.
pub(super) fn port(index: usize) -> u16 {
    FIRST_PORT + u16::try_from(index).unwrap_or_default()
}

/// Serves for every node.
pub(super) fn serve(hub: &Arc<Hub>, address: IpAddr) -> Result<()> {
    let read = |name: &str| fs_err::read(hub.order.pki.join(name));
    let pair = tls::pair(&read("kubelet.crt")?, &read("kubelet.key")?)?;
    for index in 0..NODES.len() {
        let listener = TcpListener::bind((address, port(index)))?;
        let (hub, pair) = (hub.clone(), pair.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (hub, pair) = (hub.clone(), pair.clone());
                // A client that breaks off is its own affair.
                std::thread::spawn(move || answer(&hub, stream, pair).is_ok());
            }
        });
    }
    Ok(())
}

fn answer(hub: &Hub, stream: TcpStream, other: tls::Pair) -> Result<()> {
    let names = BTreeMap::new();
    let mut stream = tls::accept(stream, tls::Choice { names, other })?;
    let Some(head) = http::head(&mut stream)? else {
        return Ok(());
    };
    let reply = log_of(hub, head.target());
    let (status, text) = match &reply {
        Some(text) => ("200 OK", text.as_str()),
        None => ("404 Not Found", "only logs are to be had here\n"),
    };
    Ok(http::answer(&mut stream, status, text.as_bytes())?)
}

/// `/containerLogs/NAMESPACE/POD/CONTAINER?tailLines=N&sinceSeconds=N`
fn log_of(hub: &Hub, target: &str) -> Option<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pod = path.strip_prefix("/containerLogs/")?.split('/').nth(1)?;
    let option = |name: &str| {
        let value = query
            .split('&')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse::<u64>().ok())
    };
    let since_s = option("sinceSeconds").map_or(0, |seconds| wall_s().saturating_sub(seconds));
    let lines = hub.lines(pod, since_s);
    let tail = option("tailLines").map_or(lines.len(), |count| usize::try_from(count).unwrap_or(0));
    let shown = lines
        .get(lines.len().saturating_sub(tail)..)
        .unwrap_or_default();
    let lines = shown.iter().flat_map(|line| [line.as_str(), "\n"]);
    Some(lines.collect())
}
