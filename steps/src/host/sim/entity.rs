//! What a machine consists of.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Action;
use super::state::Entity;
use crate::host::{Cmd, Output};

macro_rules! entity {
    ($type:ty, $kind:literal) => {
        impl Entity for $type {
            const KIND: &'static str = $kind;
        }
    };
}

/// Content of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Data {
    Text(String),
    Base64(String),
    /// Bytes that nobody needs to see: made from a seed, the first `len` of `whole`.
    Blob {
        seed: String,
        len: u64,
        whole: u64,
    },
}

impl Data {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(base64::engine::general_purpose::STANDARD.encode(bytes)),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Base64(_) => self.bytes(u64::MAX).map_or(0, |bytes| bytes.len() as u64),
            Self::Blob { len, .. } => *len,
        }
    }

    /// The bytes; `None` if there are more than `max`.
    pub(crate) fn bytes(&self, max: u64) -> Option<Vec<u8>> {
        let bytes = match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Base64(text) => base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap_or_default(),
            Self::Blob { seed, len, .. } => {
                let len = usize::try_from(*len)
                    .ok()
                    .filter(|len| *len as u64 <= max)?;
                let mut bytes = vec![0; len.min(64 << 20)];
                blake3::Hasher::new_derive_key(seed)
                    .finalize_xof()
                    .fill(&mut bytes);
                bytes
            }
        };
        (bytes.len() as u64 <= max).then_some(bytes)
    }
}

/// A disk image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) format: String,
    pub(crate) virtual_bytes: u64,
    pub(crate) backing: Option<String>,
    pub(crate) backing_format: Option<String>,
    /// False for an image whose making was interrupted.
    pub(crate) whole: bool,
}

/// A cloud-init seed inside an ISO file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seed {
    pub(crate) user: String,
    pub(crate) meta: String,
    pub(crate) network: Option<String>,
}

/// A file or directory; its name is the absolute path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) dir: bool,
    pub(crate) mode: u32,
    pub(crate) owner: String,
    pub(crate) data: Data,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<Image>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<Seed>,
    /// Its access control list beyond the permission bits: `user:NAME`, `group:` and `mask:` with their rights. Where there
    /// is one, the group's permission bits are the mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acl: Option<BTreeMap<String, String>>,
}
entity!(File, "file");

impl File {
    pub(crate) fn new(bytes: &[u8], mode: u32, owner: &str) -> Self {
        Self {
            dir: false,
            mode,
            owner: owner.to_owned(),
            data: Data::of(bytes),
            image: None,
            seed: None,
            acl: None,
        }
    }

    pub(crate) fn dir(mode: u32, owner: &str) -> Self {
        Self {
            dir: true,
            ..Self::new(b"", mode, owner)
        }
    }

    pub(crate) fn text(&self) -> String {
        let bytes = self.data.bytes(1 << 20).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A package in dpkg's database: `installed` or `unpacked`; its name is the package's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) status: String,
    pub(crate) auto: bool,
}
entity!(Package, "package");

/// A systemd unit, without `.service`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unit {
    pub(crate) active: bool,
    pub(crate) enabled: bool,
}
entity!(Unit, "unit");

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) group: String,
    pub(crate) home: String,
    pub(crate) shell: String,
}
entity!(User, "user");

/// A group with its supplementary members in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}
entity!(Group, "group");

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sysctl(pub(crate) String);
entity!(Sysctl, "sysctl");

/// What the hardware and the operating system are. Its name is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) user: String,
    pub(crate) hostname: String,
    pub(crate) kernel: String,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
    pub(crate) disk_free_bytes: u64,
    pub(crate) kvm: bool,
    pub(crate) wan: String,
    pub(crate) address: String,
    pub(crate) gateway: String,
}
entity!(Facts, "facts");

/// A libvirt network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) xml: String,
    /// False after `net-undefine` of an active network: it goes when it stops.
    pub(crate) persistent: bool,
    pub(crate) active: bool,
    pub(crate) autostart: bool,
}
entity!(Network, "network");

/// A libvirt domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Domain {
    pub(crate) xml: String,
    /// False after `undefine` of a running domain: it goes when it stops.
    pub(crate) persistent: bool,
    pub(crate) autostart: bool,
    /// Virtual time of the last start; `None` when shut off.
    pub(crate) started_ms: Option<u64>,
    /// Virtual time at which a requested shutdown is done.
    pub(crate) stops_ms: Option<u64>,
}
entity!(Domain, "domain");

impl Domain {
    /// Since when it runs, if it does at `now_ms`.
    pub(crate) fn running_since(&self, now_ms: u64) -> Option<u64> {
        let stopped = self.stops_ms.is_some_and(|stops_ms| stops_ms <= now_ms);
        self.started_ms.filter(|_| !stopped)
    }
}

/// A rule of nftables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) handle: u64,
    pub(crate) text: String,
    pub(crate) comment: Option<String>,
    pub(crate) expr: Vec<Value>,
}

/// A chain of nftables; a base chain has a hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) handle: u64,
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// Where a base chain sits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) kind: String,
    pub(crate) at: String,
    pub(crate) priority: i64,
    pub(crate) policy: String,
}

/// A table of nftables; its name is `family name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) handle: u64,
    pub(crate) next_handle: u64,
    /// In the order in which they were made.
    pub(crate) order: Vec<String>,
    pub(crate) chains: BTreeMap<String, Chain>,
    /// Named sets of interface names: element and comment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sets: BTreeMap<String, BTreeMap<String, String>>,
}
entity!(Table, "nft");

/// A detached job; its name is the directory's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) cmd: Cmd,
    pub(crate) ends_ms: u64,
    pub(crate) fault: Option<Action>,
    pub(crate) end: JobEnd,
}
entity!(Job, "job");

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobEnd {
    Running,
    Exited(Output),
    Lost,
}

/// A container image that docker has loaded; its name is `repository:tag`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DockerImage {
    /// Digest of its configuration: `sha256:…`.
    pub(crate) id: String,
}
entity!(DockerImage, "docker-image");

/// The cluster's API server: there once kubernetes is installed. Its name is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KubeApi {
    /// Version as `kubectl get nodes` shows it.
    pub(crate) version: String,
}
entity!(KubeApi, "kube-api");

/// An object of the cluster; its name is `kind/namespace/name`, the namespace empty for what has none: `Node//kubenode1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KubeObject {
    /// As `kubectl get -o json` shows it.
    pub(crate) json: Value,
    /// Since when it is ready, in virtual time; `None` for what never is.
    pub(crate) ready_ms: Option<u64>,
}
entity!(KubeObject, "kube");

/// Something inside a virtual machine; its name is `VM/what`: `kubenode1/images`, `datanode1/unit/cassandra`,
/// `datanode1/package/ntp`. It goes when the machine's disk goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inside {
    /// What it is like.
    pub(crate) value: Value,
}
entity!(Inside, "inside");
