//! The release: its artifact, unpacked and checked, and what of it stands beside the inventory.

use wiab_engine::id::StepId;
use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::artifact_file::ArtifactFile;
use wiab_steps::kinds::release_checked::ReleaseChecked;
use wiab_steps::kinds::release_files::ReleaseFiles;
use wiab_steps::kinds::release_tree::ReleaseTree;

use super::{Ground, Staging, after};

/// Where Wire publishes its artifacts, up to the hash, and after it.
const PUBLISHED: (&str, &str) = (
    "https://s3-eu-west-1.amazonaws.com/public.wire.com/artifacts/wire-server-deploy-static-",
    ".tgz",
);
/// Ansible's variables of every host, inside the tree and inside the deploy directory.
const VARIABLES: &str = "ansible/inventory/offline/group_vars/all";

/// The release, as later steps use it.
pub(super) struct Release {
    /// How the operator calls it, for messages.
    pub(super) name: String,
    /// Path of the tree.
    pub(super) tree: Input<String>,
    /// The step after which it is known to be fit.
    pub(super) checked: Handle<ReleaseChecked>,
    /// The step after which ansible finds its variables.
    pub(super) variables: Handle<ReleaseFiles>,
}

impl AsRef<StepId> for Release {
    fn as_ref(&self) -> &StepId {
        self.checked.as_ref()
    }
}

impl Staging<'_> {
    /// Whether the whole system is installed, and not only some of its machines.
    pub(super) fn is_whole(&self) -> bool {
        self.settings.vms.only.is_empty()
    }

    /// Where the artifact comes from.
    pub(super) fn artifact_source(&self) -> String {
        let artifact = &self.settings.artifact;
        match &artifact.source {
            Some(source) => source.clone(),
            None => [PUBLISHED.0, &artifact.hash, PUBLISHED.1].concat(),
        }
    }

    pub(super) fn release(&mut self, ground: &Ground) -> Release {
        let settings = &self.settings.artifact;
        let source = self.artifact_source();
        let name = match &settings.source {
            Some(source) => source.rsplit('/').next().unwrap_or(source).to_owned(),
            None => settings.hash.clone(),
        };
        let path = if source.starts_with('/') {
            source.clone()
        } else {
            format!("{}-static-{}.tgz", self.deploy, settings.hash)
        };
        let file = ArtifactFile {
            source,
            sha256: settings.sha256.as_ref().map(|digest| digest.to_lowercase()),
            record: format!("{}-static-{}.tgz.sha256", self.deploy, settings.hash),
            path,
            keep: settings.keep,
        };
        let packages = ground.packages.as_ref();
        let file = self
            .plan
            .add("dl.artifact", &after(packages, &[&ground.dirs]), &file);
        let root = format!("{}.d", self.deploy);
        let tree = ReleaseTree {
            artifact: file.output(&ArtifactFile::PATH),
            sha256: file.output(&ArtifactFile::SHA256),
            root: root.clone(),
            pointer: self.in_deploy(".wiab/release"),
        };
        let tree = self.plan.add("art.unpack", &[], &tree);
        let path = tree.output(&ReleaseTree::PATH);
        let checked = ReleaseChecked {
            tree: path.clone(),
            artifact: name.clone(),
            accept_expired_key: settings.accept_expired_key,
        };
        let checked = self.plan.add("art.verify", &[], &checked);
        let files = ["key.yml", "offline.yml"].map(|name| {
            let path = format!("{VARIABLES}/{name}");
            (path.clone(), self.in_deploy(&path))
        });
        let variables = ReleaseFiles {
            tree: path.clone(),
            root,
            files: files.to_vec(),
            own: self.in_deploy(&format!("{VARIABLES}/zz-site.yml")),
        };
        let variables = self.plan.add("inv.group-vars", &[&checked], &variables);
        Release {
            name,
            tree: path,
            checked,
            variables,
        }
    }
}
