//! The step kinds, one file each, and what they share: a typed before-image and the bridge to the engine's `Step`.

pub mod ansible_playbook;
mod ansible_progress;
pub mod apt_dist_upgrade;
pub mod apt_packages;
pub mod artifact_file;
mod at_once;
pub mod cert_manager_ready;
pub mod certs;
pub mod chart_values;
pub mod cloudinit_seed;
pub mod cluster_verified;
pub mod command;
pub mod data_verified;
pub mod dirs;
pub mod docker_user;
mod fetch;
pub mod file;
pub mod file_block;
pub mod fleet;
pub mod group_vars;
pub mod helm_release;
pub mod host_acl;
pub mod host_groups;
mod host_keys;
pub mod image_base;
pub mod images_seeded;
pub mod inventory;
pub mod inventory_checked;
mod jobs;
mod keys;
pub mod kube_annotated;
pub mod kube_namespace;
pub mod libvirt_domain;
pub mod libvirt_domain_running;
pub mod libvirt_network;
pub mod libvirt_network_removed;
pub mod login;
mod nft;
pub mod nft_check;
mod nft_deadman;
pub mod nft_egress;
mod nft_foreign;
mod nft_guard;
pub mod nft_hairpin;
pub mod nft_hairpin_removed;
pub mod nft_health;
pub mod nft_traffic;
mod patience;
pub mod plays;
pub mod postgresql_password;
pub mod postgresql_secrets;
pub mod preflight;
pub mod qcow2_overlay;
mod qemu;
pub mod release_checked;
pub mod release_tree;
pub mod secrets_rendered;
pub mod secrets_rotated;
pub mod secrets_sealed;
pub mod secrets_target;
pub mod service_off;
pub mod ssh_host_keys;
pub mod ssh_keypair;
pub mod ssh_known_hosts;
pub mod sysctl;
pub mod tool;
pub mod tool_image;
pub(crate) mod tool_run;
pub mod traffic_verified;
mod virsh;
pub mod vm_ready;
pub mod vms_adopted;
mod whole_file;
mod xml;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wiab_engine::outcome::{Before, Failure, Probe, Receipt, Residue};
use wiab_engine::ports::{BoxFuture, Step, StepCx};

use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{Input, Kind};

/// The four verbs of a kind, written against a [`Shell`] and a typed before-image. The laws are those of [`Step`].
pub(crate) trait Act: Kind {
    /// What undo restores. Holds no secrets. `()` for kinds that remember nothing.
    type Image: Serialize + DeserializeOwned + Send + Sync;

    /// See [`Step::probe`].
    fn probe(&self, sh: Shell<'_>) -> impl Future<Output = Result<Probe, Failure>> + Send;
    /// See [`Step::capture`].
    fn capture(&self, sh: Shell<'_>) -> impl Future<Output = Result<Self::Image, Failure>> + Send;
    /// See [`Step::apply`].
    fn apply(
        &self,
        sh: Shell<'_>,
        image: &Self::Image,
    ) -> impl Future<Output = Result<Receipt, Failure>> + Send;
    /// See [`Step::undo`].
    fn undo(
        &self,
        sh: Shell<'_>,
        image: &Self::Image,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A kind bound to a host.
#[derive(Debug)]
pub(crate) struct Bound<K> {
    kind: K,
    host: Arc<dyn Host>,
}

/// Binds a kind; every [`Kind::bind`] is this.
pub(crate) fn bound<K: Act>(kind: K, host: Arc<dyn Host>) -> Arc<dyn Step> {
    Arc::new(Bound { kind, host })
}

impl<K: Act> Bound<K> {
    fn shell<'a>(&'a self, cx: &'a StepCx) -> Shell<'a> {
        Shell::new(&*self.host, cx)
    }
}

impl<K: Act> Step for Bound<K> {
    fn probe<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Probe, Failure>> {
        Box::pin(async move { self.kind.probe(self.shell(cx)).await.map_err(only_looked) })
    }

    fn capture<'a>(&'a self, cx: &'a StepCx) -> BoxFuture<'a, Result<Before, Failure>> {
        Box::pin(async move {
            let image = self
                .kind
                .capture(self.shell(cx))
                .await
                .map_err(only_looked)?;
            to_before(&image)
        })
    }

    fn apply<'a>(
        &'a self,
        cx: &'a StepCx,
        before: &'a Before,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(async move {
            let image = from_before(before)?;
            self.kind.apply(self.shell(cx), &image).await
        })
    }

    fn undo<'a>(
        &'a self,
        cx: &'a StepCx,
        before: &'a Before,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let image = from_before(before)?;
            self.kind.undo(self.shell(cx), &image).await
        })
    }
}

/// A failed look leaves nothing behind.
fn only_looked(failure: Failure) -> Failure {
    Failure {
        residue: Residue::Clean,
        ..failure
    }
}

const NOTHING: &str = "null";

fn to_before<T: Serialize>(image: &T) -> Result<Before, Failure> {
    let text = serde_json::to_string(image)
        .map_err(|error| Failure::clean(format!("the before-image cannot be written: {error}")))?;
    Ok(if text == NOTHING {
        Before::Nothing
    } else {
        Before::Image(text)
    })
}

fn from_before<T: DeserializeOwned>(before: &Before) -> Result<T, Failure> {
    let text = match before {
        Before::Nothing => NOTHING,
        Before::Image(text) => text,
    };
    serde_json::from_str(text)
        .map_err(|error| Failure::clean(format!("the before-image cannot be read: {error}")).ask())
}

/// The value of an input; a failure while it is still a reference.
pub(crate) fn known<'a, T: Clone>(input: &'a Input<T>, name: &str) -> Result<&'a T, Failure> {
    input.get().ok_or_else(|| {
        Failure::clean(format!(
            "input `{name}` still refers to another step's output"
        ))
    })
}

/// Bytes of a file as base64, for before-images and documents.
pub(crate) mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use wiab_engine::outcome::Failure;

    /// Largest file that a before-image may hold, in bytes.
    pub(crate) const KEPT_BYTES_MAX: usize = 1 << 20;

    /// Encodes, refusing what is too large to be kept.
    pub(crate) fn keep(path: &str, bytes: &[u8]) -> Result<String, Failure> {
        if bytes.len() > KEPT_BYTES_MAX {
            return Err(Failure::clean(format!(
                "{path} has {} bytes; at most {KEPT_BYTES_MAX} can be kept for undo",
                bytes.len()
            ))
            .hint(format!("move {path} away and run again")));
        }
        Ok(STANDARD.encode(bytes))
    }

    /// Decodes what [`keep`] encoded.
    pub(crate) fn kept(text: &str) -> Result<Vec<u8>, Failure> {
        STANDARD
            .decode(text)
            .map_err(|error| Failure::clean(format!("the before-image is damaged: {error}")).ask())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_without_memory_captures_nothing_and_others_round_trip() {
        assert_eq!(to_before(&()).unwrap(), Before::Nothing);
        from_before::<()>(&Before::Nothing).unwrap();
        let image = to_before(&vec![1_u8, 2]).unwrap();
        assert_eq!(from_before::<Vec<u8>>(&image).unwrap(), vec![1, 2]);
        assert!(from_before::<Vec<u8>>(&Before::Nothing).is_err());
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        assert!(bytes::keep("/x", &vec![0; bytes::KEPT_BYTES_MAX + 1]).is_err());
        let text = bytes::keep("/x", b"a\0b").unwrap();
        assert_eq!(bytes::kept(&text).unwrap(), b"a\0b");
    }
}
