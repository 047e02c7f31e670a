//! `kubernetes.yml` in its two parts, `seed-offline-containerd.yml`, and kubespray's `reset.yml`.

use serde_json::{Value, json};

use super::super::super::entity::{File, KubeApi, KubeObject};
use super::super::super::files;
use super::super::super::inside::{self, Entry};
use super::super::super::state::Draft;
use super::super::guest_kube::{CONTAINERD, images, import, put_images};
use super::{Run, TaskFailure, failed, unit};

const CONTAINERD_VERSION: &str = "1.7.22";
const VERSION: &str = "v1.29.10";
const CONFIG: &str = "/wire-server-deploy/ansible/inventory/offline/artifacts";
const BLOCK: (&str, &str) = (
    "# Ansible inventory hosts BEGIN",
    "# Ansible inventory hosts END",
);

/// What the engine brings besides its unit.
const ENGINE: [&str; 5] = [
    "/etc/containerd/config.toml",
    "/usr/local/bin/crictl",
    "/usr/local/bin/ctr",
    "/usr/local/bin/nerdctl",
    "/usr/local/bin/runc",
];

/// What the cluster brings besides its units, directory by directory; the last file is its mark.
const CLUSTER: [&str; 10] = [
    "/etc/ssl/etcd/ssl/ca.pem",
    "/var/lib/etcd/member",
    "/usr/local/bin/etcd",
    "/usr/local/bin/etcdctl",
    "/usr/local/bin/kubeadm",
    "/usr/local/bin/kubelet",
    "/var/lib/kubelet/config.yaml",
    "/etc/cni/net.d/10-calico.conflist",
    "/opt/cni/bin/calico",
    "/etc/kubernetes/kubelet.conf",
];

pub(super) fn engine(draft: &mut Draft<'_>, run: &Run<'_>) {
    let lines: Vec<String> = run
        .hosts
        .iter()
        .map(|host| format!("{} {}.cluster.local {}", host.ip, host.name, host.name))
        .collect();
    let block = format!("{}\n{}\n{}\n", BLOCK.0, lines.join("\n"), BLOCK.1);
    for host in run.of("kubenode") {
        let vm = &host.name;
        let hosts = inside::text(draft, vm, "/etc/hosts").unwrap_or_default();
        if !hosts.contains(BLOCK.0) {
            inside::write(draft, vm, "/etc/hosts", &(hosts + &block));
        }
        let sysctl = inside::text(draft, vm, "/etc/sysctl.conf").unwrap_or_default();
        if !sysctl.contains("ip_forward") {
            inside::write(
                draft,
                vm,
                "/etc/sysctl.conf",
                &(sysctl + "net.ipv4.ip_forward=1\n"),
            );
        }
        for path in ENGINE {
            inside::write(draft, vm, path, "kubespray\n");
        }
        inside::write(draft, vm, CONTAINERD, &format!("{CONTAINERD_VERSION}\n"));
        inside::put_file(draft, vm, "/var/lib/containerd", &Entry::Dir);
        unit(draft, vm, "containerd");
        draft.mark_half();
    }
}

fn object(draft: &mut Draft<'_>, json: Value) {
    let text = |path: &str| {
        json.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let name = format!(
        "{}/{}/{}",
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name")
    );
    draft.put(
        &name,
        &KubeObject {
            json,
            ready_ms: Some(0),
        },
    );
}

pub(super) fn cluster(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    let nodes: Vec<_> = run.of("kubenode").collect();
    for host in &nodes {
        let has = images(draft, &host.name);
        if !has.iter().any(|image| image.contains("kube-apiserver")) {
            return Err(failed(
                "Kubeadm | Initialize first master",
                &host.name,
                "[ERROR ImagePull]: failed to pull image registry.k8s.io/kube-apiserver:v1.29.10: dial tcp: lookup registry.k8s.io: no such host",
            ));
        }
    }
    for host in &nodes {
        let vm = &host.name;
        for path in CLUSTER {
            inside::write(draft, vm, path, "kubespray\n");
        }
        unit(draft, vm, "etcd");
        unit(draft, vm, "kubelet");
        draft.mark_half();
    }
    let version = VERSION.to_owned();
    draft.put("", &KubeApi { version });
    for host in &nodes {
        let (name, ip) = (&host.name, &host.ip);
        let labels =
            json!({"kubernetes.io/hostname": name, "node-role.kubernetes.io/control-plane": ""});
        object(
            draft,
            json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "nodeInfo": {"kubeletVersion": VERSION},
                },
            }),
        );
    }
    system(draft, nodes.len());
    let dir = run.call.path(draft, CONFIG);
    // The container's root may make every directory of its mounts.
    let _ = files::make_dirs(draft, &dir, true, 0o755);
    let server = nodes.first().map_or("", |host| host.ip.as_str());
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster: {{server: \"https://{server}:6443\"}}\n"
    );
    draft.put(
        &format!("{dir}/admin.conf"),
        &File::new(text.as_bytes(), 0o600, "root:root"),
    );
    for host in &nodes {
        inside::count(draft, &host.name, "kubespray-runs");
    }
    Ok(())
}

/// What runs in `kube-system`.
fn system(draft: &mut Draft<'_>, nodes: usize) {
    let meta = |name: &str| json!({"name": name, "namespace": "kube-system"});
    object(
        draft,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("coredns"),
            "spec": {"replicas": 2}, "status": {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2},
        }),
    );
    object(
        draft,
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta("calico-node"),
            "status": {"desiredNumberScheduled": nodes, "numberReady": nodes, "numberAvailable": nodes},
        }),
    );
    for index in 1..=nodes {
        object(
            draft,
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": meta(&format!("calico-node-{index}")),
                "spec": {"nodeName": format!("kubenode{index}")},
                "status": {"phase": "Running", "containerStatuses": [{"name": "calico-node", "ready": true, "restartCount": 0}]},
            }),
        );
    }
}

/// Imports everything that the content server lists, whether it is there or not; what fails is not noticed.
pub(super) fn seed(draft: &mut Draft<'_>, run: &Run<'_>) {
    let served = inside::runs(draft, "assethost", "serve-assets");
    for host in run.of("kubenode") {
        for dir in ["containers-system", "containers-helm"] {
            let index = format!("/opt/assets/{dir}/index.txt");
            let index = inside::text(draft, "assethost", &index).filter(|_| served);
            for archive in index.unwrap_or_default().lines() {
                let path = format!("/opt/assets/{dir}/{archive}");
                if let Some(text) = inside::text(draft, "assethost", &path) {
                    // A failed import is not noticed, either.
                    let _ = import(draft, &host.name, &text);
                }
            }
        }
        draft.mark_half();
    }
}

/// Takes the cluster away; without `files` and `reset_containerd` among the skipped tags, everything.
pub(super) fn reset(draft: &mut Draft<'_>, run: &Run<'_>) {
    let whole = !run
        .call
        .args
        .iter()
        .any(|word| word.contains("reset_containerd"));
    draft.del::<KubeApi>("");
    for name in draft.names::<KubeObject>("") {
        draft.del::<KubeObject>(&name);
    }
    draft.mark_half();
    for host in run.of("kubenode") {
        let vm = &host.name;
        for name in ["kubelet", "etcd"] {
            inside::remove(draft, vm, &format!("/etc/systemd/system/{name}.service"));
        }
        if whole {
            inside::remove(draft, vm, "/etc/systemd/system/containerd.service");
            for path in [
                "/etc/containerd",
                "/var/lib/containerd",
                "/etc/kubernetes",
                "/var/lib/etcd",
                CONTAINERD,
            ] {
                inside::remove(draft, vm, path);
            }
            put_images(draft, vm, Vec::new());
        }
        draft.mark_half();
    }
}
