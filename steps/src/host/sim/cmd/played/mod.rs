//! What the release's playbooks do to the virtual machines, one file per playbook.

mod data;
mod kube;
mod offline;
mod postgresql;

use std::collections::BTreeMap;

use super::super::inside::{self, GuestUnit};
use super::super::state::Draft;
use super::Call;
use super::ansible::Inventoried;

/// A playbook that runs.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// Below the release's directory `ansible`.
    pub(super) playbook: &'a str,
    /// The tags that it is limited to.
    pub(super) tags: Option<&'a str>,
    /// The machines of the inventory that answer.
    pub(super) hosts: &'a [Inventoried],
    /// Variables of the command line, by name.
    pub(super) vars: &'a BTreeMap<String, String>,
    /// The command line.
    pub(super) call: &'a Call<'a>,
}

/// A task that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskFailure {
    /// A part of the task's name.
    pub(super) task: String,
    /// Where.
    pub(super) host: String,
    /// What the module says.
    pub(super) msg: String,
}

/// The effect of a playbook. What is there when a part of it is done is marked with [`Draft::mark_half`].
///
/// Changes made before a failure stay.
pub(super) fn played(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    match run.playbook {
        "setup-offline-sources.yml" => offline::play(draft, run),
        "kubernetes.yml" if run.tags.is_some() => {
            kube::engine(draft, run);
            Ok(())
        }
        "kubernetes.yml" => kube::cluster(draft, run),
        "roles-external/kubespray/reset.yml" => {
            kube::reset(draft, run);
            Ok(())
        }
        "seed-offline-containerd.yml" => {
            kube::seed(draft, run);
            Ok(())
        }
        "sync_time.yml" => data::sync_time(draft, run),
        "cassandra.yml" => data::cassandra(draft, run),
        "elasticsearch.yml" => data::elasticsearch(draft, run),
        "minio.yml" => data::minio(draft, run),
        "postgresql-deploy.yml" => postgresql::play(draft, run),
        "roles/rabbitmq-cluster/tasks/configure_dns.yml" => {
            data::names(draft, run);
            Ok(())
        }
        "rabbitmq.yml" => data::rabbitmq(draft, run),
        _ => Ok(()),
    }
}

impl Run<'_> {
    /// The machines whose name begins so.
    fn of(&self, start: &'static str) -> impl Iterator<Item = &Inventoried> {
        self.hosts
            .iter()
            .filter(move |host| host.name.starts_with(start))
    }
}

fn failed(task: &str, host: &str, msg: &str) -> TaskFailure {
    TaskFailure {
        task: task.to_owned(),
        host: host.to_owned(),
        msg: msg.to_owned(),
    }
}

/// The unpacked release, as the machine has it.
fn tree(draft: &Draft<'_>, run: &Run<'_>) -> String {
    run.call.path(draft, "/wire-server-deploy")
}

/// A service with a unit file of its own, running and enabled.
fn unit(draft: &mut Draft<'_>, vm: &str, name: &str) {
    inside::write(
        draft,
        vm,
        &format!("/etc/systemd/system/{name}.service"),
        "[Service]\n",
    );
    inside::put_unit(draft, vm, name, Some(GuestUnit::ON));
}

/// Packages come from the asset host, if its server runs.
fn apt(draft: &Draft<'_>, run: &Run<'_>, task: &str) -> Result<(), TaskFailure> {
    let Some(first) = run.of("datanode").next() else {
        return Ok(());
    };
    if inside::runs(draft, "assethost", "serve-assets") {
        return offline::updated(draft, &first.name, task);
    }
    let msg =
        "Failed to update apt cache: E:Could not connect to assethost:8080, connection refused";
    Err(failed(task, &first.name, msg))
}
