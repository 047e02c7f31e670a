//! The Kubernetes nodes: container engine, cluster, and how kubespray takes both back.

use serde_json::Value;
use wiab_engine::outcome::Failure;

use super::footprint::Footprint;
use super::look::{Found, ask, ask_all, question};
use super::{Role, Site};
use crate::host::shell::{InTime, Shell};
use crate::kinds::known;
use crate::kinds::tool::{INVENTORY, Toolbox};
use crate::yaml::{Document, Origin, YamlPath};

pub(super) const ENGINE_PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Kubenode],
    units: &["containerd"],
    paths: &[
        "/etc/containerd",
        "/usr/local/bin/containerd",
        "/usr/local/bin/ctr",
        "/usr/local/bin/crictl",
        "/usr/local/bin/nerdctl",
        "/usr/local/bin/runc",
        "/var/lib/containerd",
        "/etc/systemd/system/containerd.service",
    ],
    keeps: &["/etc/hosts", "/etc/sysctl.conf", "/etc/fstab"],
    ..Footprint::NONE
}];

pub(super) const CLUSTER_PRINTS: &[Footprint] = &[Footprint {
    roles: &[Role::Kubenode],
    units: &["kubelet", "etcd"],
    paths: &[
        "/etc/kubernetes",
        "/etc/ssl/etcd",
        "/etc/cni",
        "/etc/calico",
        "/opt/cni",
        "/var/lib/calico",
        "/var/lib/cni",
        "/var/lib/etcd",
        "/var/lib/kubelet",
        "/root/.kube",
        "/usr/local/bin/etcd",
        "/usr/local/bin/etcdctl",
        "/usr/local/bin/kubeadm",
        "/usr/local/bin/kubectl",
        "/usr/local/bin/kubelet",
        "/etc/systemd/system/etcd.service",
        "/etc/systemd/system/kubelet.service",
    ],
    ..Footprint::NONE
}];

/// The kubeconfig that the playbook fetches.
pub(crate) fn admin_conf(toolbox: &Toolbox) -> String {
    format!("{}/{INVENTORY}/artifacts/admin.conf", toolbox.deploy)
}

/// Looks at every node's container engine.
pub(super) async fn look_engine(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    let questions = [
        question("runs", &["systemctl", "is-active", "containerd"]),
        question("version", &["/usr/local/bin/containerd", "--version"]),
    ];
    for (host, told) in ask_all(sh, site, site.of(Role::Kubenode), &questions).await? {
        if found.silent(host, &told) {
            continue;
        }
        let good = told.yes("runs") && told.yes("version");
        let name = &host.name;
        found.part(
            good,
            format!("containerd on {name}"),
            format!("containerd does not run on {name}"),
        );
        let version = told.text("version");
        if let Some(version) = version.split_whitespace().nth(2) {
            found.notes.push(format!("containerd {version}"));
        }
    }
    found.notes.sort();
    found.notes.dedup();
    if found.notes.len() > 1 {
        found.missing.push(format!(
            "one version of containerd: there are {}",
            found.notes.join(", ")
        ));
    }
    Ok(found)
}

/// The version of Kubernetes that the release installs, if its variables tell.
pub(crate) async fn wanted_version(
    sh: Shell<'_>,
    toolbox: &Toolbox,
) -> Result<Option<String>, Failure> {
    let tree = known(&toolbox.tree, "tree")?;
    let path = format!("{tree}/{INVENTORY}/group_vars/all/offline.yml");
    let Some(bytes) = sh.read(&path, false).await? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let document = Document::parse(&text, Origin::file(path))
        .map_err(|error| Failure::clean(error.to_string()))?;
    let version = document.get(&YamlPath::root().key("kube_version"));
    Ok(version.and_then(|version| version.as_str().map(str::to_owned)))
}

/// The list that `kubectl get -o json` shows; `None` while the API server does not answer.
pub(crate) async fn list(
    sh: Shell<'_>,
    toolbox: &Toolbox,
    args: &[&str],
) -> Result<Option<Value>, Failure> {
    if sh.stat(&admin_conf(toolbox)).await?.is_none() {
        return Ok(None);
    }
    let get = [&["--request-timeout=20s", "get"], args, &["-o", "json"]].concat();
    let InTime::Ended(output) = sh.in_time(&toolbox.kubectl(&get)?).await? else {
        return Ok(None);
    };
    Ok(output
        .ok()
        .then(|| serde_json::from_slice(&output.stdout).unwrap_or_default()))
}

fn is_ready(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let text = |name: &str| condition.get(name).and_then(Value::as_str);
        text("type") == Some("Ready") && text("status") == Some("True")
    })
}

/// Judges the nodes of the cluster against the machines and the wanted version.
pub(crate) fn judge_nodes(list: &Value, names: &[&str], wanted: Option<&str>, found: &mut Found) {
    let items: Vec<&Value> = list
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    for name in names {
        let node = items
            .iter()
            .find(|node| node.pointer("/metadata/name").and_then(Value::as_str) == Some(name));
        let Some(node) = node else {
            found.missing.push(format!("node {name}"));
            continue;
        };
        let version = node
            .pointer("/status/nodeInfo/kubeletVersion")
            .and_then(Value::as_str)
            .unwrap_or("of no version");
        found.part(
            is_ready(node),
            format!("node {name}"),
            format!("node {name} is not ready"),
        );
        if wanted.is_some_and(|wanted| wanted != version) {
            found.missing.push(format!("node {name} has {version}"));
        }
        found.notes.push(version.to_owned());
    }
    found.notes.sort();
    found.notes.dedup();
}

/// Looks at the nodes as the API server knows them.
pub(super) async fn look_cluster(sh: Shell<'_>, site: &Site) -> Result<Found, Failure> {
    let mut found = Found::default();
    if let Some(nodes) = list(sh, &site.toolbox, &["nodes"]).await? {
        found.there.push("the API server answers".to_owned());
        let wanted = wanted_version(sh, &site.toolbox).await?;
        let names: Vec<&str> = site
            .of(Role::Kubenode)
            .map(|host| host.name.as_str())
            .collect();
        judge_nodes(&nodes, &names, wanted.as_deref(), &mut found);
        return Ok(found);
    }
    found
        .missing
        .push("the API server does not answer".to_owned());
    for host in site.of(Role::Kubenode) {
        let told = ask(
            sh,
            site,
            host,
            &[question("etc", &["test", "-e", "/etc/kubernetes"])],
        )
        .await?;
        if told.yes("etc") {
            found
                .there
                .push(format!("Kubernetes' files on {}", host.name));
        }
    }
    Ok(found)
}

/// What is left of the cluster, or of the whole engine, on any node.
async fn anything(sh: Shell<'_>, site: &Site, path: &str) -> Result<bool, Failure> {
    for host in site.of(Role::Kubenode) {
        let told =
            super::look::must_ask(sh, site, host, &[question("path", &["test", "-e", path])])
                .await?;
        if told.yes("path") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The release's playbook that resets Kubernetes, below the release's directory `ansible`, if any node has the path.
pub(super) async fn reset(
    sh: Shell<'_>,
    site: &Site,
    path: &str,
) -> Result<Option<&'static str>, Failure> {
    if !anything(sh, site, path).await? {
        return Ok(None);
    }
    let tree = known(&site.toolbox.tree, "tree")?;
    for path in RESETS {
        if sh.stat(&format!("{tree}/ansible/{path}")).await?.is_some() {
            return Ok(Some(path));
        }
    }
    Err(
        Failure::clean("the release has no playbook that resets Kubernetes")
            .ask()
            .hint("delete the Kubernetes nodes' VMs, which takes the cluster with them, then decide `accept`"),
    )
}

/// Where releases keep kubespray's reset.
const RESETS: [&str; 2] = [
    "roles-external/kubespray/reset.yml",
    "roles-external/kubespray/playbooks/reset.yml",
];
/// What it is called with.
pub(super) const RESET_ALL: &[&str] = &["-e", "reset_confirmation=yes"];
/// The same without the container engine and the images in it.
pub(super) const RESET_CLUSTER: &[&str] = &[
    "-e",
    "reset_confirmation=yes",
    "--skip-tags",
    "files,reset_containerd",
];

/// The secrets that the playbook of `PostgreSQL` makes where they are missing.
const SECRETS: [&str; 2] = ["repmgr-postgresql-secret", crate::release::POSTGRES_SECRET];

/// Those of [`SECRETS`] that the cluster has.
pub(super) async fn secrets(sh: Shell<'_>, toolbox: &Toolbox) -> Result<Vec<String>, Failure> {
    let mut there = Vec::new();
    if sh.stat(&admin_conf(toolbox)).await?.is_none() {
        return Ok(there);
    }
    for name in SECRETS {
        let argv = ["--request-timeout=20s", "get", "secret", name, "-o", "name"];
        if sh.run(&toolbox.kubectl(&argv)?).await?.ok() {
            there.push(name.to_owned());
        }
    }
    Ok(there)
}

/// Deletes the secrets that were not there before. Without a cluster there are none.
pub(super) async fn forget_secrets(
    sh: Shell<'_>,
    toolbox: &Toolbox,
    had: &[String],
) -> Result<(), Failure> {
    for name in secrets(sh, toolbox).await? {
        if !had.contains(&name) {
            sh.ok(&toolbox.kubectl(&["delete", "secret", &name])?)
                .await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_are_judged_by_name_readiness_and_version() {
        let node = |name: &str, status: &str, version: &str| {
            json!({
                "metadata": {"name": name},
                "status": {"conditions": [{"type": "Ready", "status": status}], "nodeInfo": {"kubeletVersion": version}},
            })
        };
        let judged = |nodes: Vec<Value>| {
            let mut found = Found::default();
            judge_nodes(
                &json!({"items": nodes}),
                &["a", "b"],
                Some("v1.29.10"),
                &mut found,
            );
            found.missing
        };
        let good = node("a", "True", "v1.29.10");
        assert!(judged(vec![good.clone(), node("b", "True", "v1.29.10")]).is_empty());
        assert_eq!(judged(vec![good.clone()]), ["node b"]);
        assert_eq!(
            judged(vec![good.clone(), node("b", "False", "v1.29.10")]),
            ["node b is not ready"]
        );
        assert_eq!(
            judged(vec![good, node("b", "True", "v1.28.2")]),
            ["node b has v1.28.2"]
        );
    }
}
