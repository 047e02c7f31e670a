//! The release: its artifact, unpacked, checked, and its group variables.

use wiab_engine::id::StepId;
use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::artifact_file::ArtifactFile;
use wiab_steps::kinds::dirs::Dirs;
use wiab_steps::kinds::group_vars::GroupVars;
use wiab_steps::kinds::release_checked::ReleaseChecked;
use wiab_steps::kinds::release_tree::ReleaseTree;

use super::{Staging, after};

/// The release, for the steps that use its files.
pub(super) struct Release {
    /// The unpacked release.
    pub(super) unpacked: Handle<ReleaseTree>,
    /// Its check: whoever uses its files comes after it.
    pub(super) checked: Handle<ReleaseChecked>,
    /// Its group variables in the deploy directory's inventory: whoever runs playbooks comes after them.
    pub(super) group_vars: Handle<GroupVars>,
    /// How the operator calls it.
    pub(super) name: String,
}

impl Release {
    /// Path of the unpacked release.
    pub(super) fn tree(&self) -> Input<String> {
        self.unpacked.output(&ReleaseTree::PATH)
    }

    /// The steps after which its files may be used.
    pub(super) fn done(&self) -> [&dyn AsRef<StepId>; 2] {
        [&self.checked, &self.group_vars]
    }
}

impl Staging<'_> {
    /// Only a download needs a package of the host; it runs beside everything else of the host.
    pub(super) fn release(
        &mut self,
        packages: Option<&Handle<AptPackages>>,
        dirs: &Handle<Dirs>,
    ) -> Option<Release> {
        if !self.settings.vms.only.is_empty() {
            return None;
        }
        let settings = &self.settings.artifact;
        let (name, releases) = (settings.name(), self.settings.releases_dir());
        let source = settings.source();
        let remote = source.starts_with("https://");
        let file = source.rsplit('/').next().unwrap_or_default();
        let parent = self
            .deploy
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent);
        let artifact = ArtifactFile {
            path: if remote {
                format!("{parent}/{file}")
            } else {
                source.clone()
            },
            record: format!("{releases}/{file}.sha256"),
            sha256: settings.sha256.as_ref().map(|digest| digest.to_lowercase()),
            keep: settings.keep_download,
            source,
        };
        let after = after(packages.filter(|_| remote), &[dirs]);
        let artifact = self.plan.add("dl.artifact", &after, &artifact);
        let tree = ReleaseTree {
            artifact: artifact.output(&ArtifactFile::PATH),
            sha256: artifact.output(&ArtifactFile::SHA256),
            name: name.clone(),
            dir: releases,
            pointer: self.in_deploy("release"),
        };
        let unpacked = self.plan.add("art.unpack", &[], &tree);
        let path = || unpacked.output(&ReleaseTree::PATH);
        let check = ReleaseChecked {
            tree: path(),
            name: name.clone(),
            accept_expired_key: self.settings.artifact.accept_expired_key,
        };
        let checked = self.plan.add("art.verify", &[], &check);
        let group_vars = GroupVars {
            tree: path(),
            dir: self.in_deploy("ansible/inventory/offline/group_vars"),
            record: self.in_deploy(".wiab/group-vars.json"),
        };
        let group_vars = self
            .plan
            .add("inv.group-vars", &[dirs, &checked], &group_vars);
        Some(Release {
            unpacked,
            checked,
            group_vars,
            name,
        })
    }
}
