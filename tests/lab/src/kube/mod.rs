//! The cluster of the lab, outside the machine: a real API server with etcd, controller manager and scheduler, and helm for the
//! image of the tools.

mod acme;
mod build;
mod control;
pub(crate) mod helm;
pub(crate) mod pki;
mod tools;

pub(crate) use self::control::Control;

use crate::cache::Cache;
use crate::error::Result;

/// Where the cluster is, as the VMs see it.
pub(crate) const CLUSTER_IP: &str = "198.51.100.20";
/// Port of the API server, there and on the Kubernetes nodes.
pub(crate) const API_PORT: u16 = 6443;
/// The Kubernetes nodes and their addresses.
pub(crate) const NODES: [(&str, &str); 3] = [
    ("kubenode1", "192.168.122.21"),
    ("kubenode2", "192.168.122.22"),
    ("kubenode3", "192.168.122.23"),
];

/// Builds what the cluster is made of, unless the cache has it.
pub(crate) fn ensure(cache: &Cache) -> Result<()> {
    tools::ensure(cache)?;
    pki::ensure(cache)?;
    build::ensure(cache)?;
    Ok(())
}

/// Serves as the agent of a node in a network namespace: without a container engine, everything runs.
pub(crate) fn agent(node: &str) -> Result<()> {
    let hub = CLUSTER_IP
        .parse()
        .map_err(|_| crate::error::LabError::check("the cluster has no address"))?;
    crate::agent::run(node, hub, || None);
    Ok(())
}
