//! Clusters to begin with.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::cmd::base64;
use super::super::entity::{DockerImage, Inside, KubeApi};
use super::super::files;
use super::super::state::Machine;
use super::charts;

/// What a cluster for trying charts is made of.
#[derive(Debug, Clone)]
pub struct ClusterPreset {
    /// Name of the tool image.
    pub image: String,
    /// The deploy directory.
    pub deploy: String,
    /// The unpacked release.
    pub tree: String,
    /// Version of every chart in it.
    pub version: String,
    /// Password of `PostgreSQL`'s user.
    pub password: String,
}

const CONFIG: &str = "apiVersion: v1\nkind: Config\n";

impl Machine {
    /// The same with docker, the tool image, a release tree with its charts, a cluster of three nodes with the charts'
    /// images on them, Cassandra on three data nodes, and the secret of `PostgreSQL`.
    #[must_use]
    pub fn with_cluster(self, preset: &ClusterPreset) -> Self {
        let ClusterPreset {
            deploy,
            tree,
            version,
            ..
        } = preset;
        let config = format!("{deploy}/ansible/inventory/offline/artifacts/admin.conf");
        let mut machine =
            self.with_packages(&["docker.io"])
                .with_file(&config, CONFIG, 0o600, "root:root");
        let mut images = BTreeSet::new();
        for chart in crate::release::Chart::ALL {
            let text = format!("apiVersion: v2\nname: {chart}\nversion: {version}\n");
            machine = machine.with_file(
                &format!("{tree}/{}", chart.description()),
                &text,
                0o644,
                "root:root",
            );
            for part in charts::parts(chart.name()) {
                images.insert(format!("{}:{version}", part.image));
            }
        }
        machine.edit(|draft| {
            // Root may make every directory.
            let _ = files::make_dirs(draft, deploy, true, 0o755);
            let id = "sha256:0".to_owned();
            draft.put(&preset.image, &DockerImage { id });
            draft.put(
                "",
                &KubeApi {
                    version: "v1.29.10".to_owned(),
                },
            );
            for index in 1..=3 {
                let name = format!("kubenode{index}");
                super::put(draft, node(&name, &format!("192.168.122.2{index}")));
                draft.put(
                    &format!("{name}/images"),
                    &Inside {
                        value: json!(images),
                    },
                );
                let unit = json!({"active": true, "enabled": true});
                draft.put(
                    &format!("datanode{index}/unit/cassandra"),
                    &Inside { value: unit },
                );
            }
            super::put(
                draft,
                json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                    "metadata": {"name": "wire-postgresql-external-secret", "namespace": "default"},
                    "data": {"password": base64(preset.password.as_bytes())},
                }),
            );
        });
        machine
    }
}

/// A node that is ready.
pub(crate) fn node(name: &str, ip: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.29.10"},
        },
    })
}
