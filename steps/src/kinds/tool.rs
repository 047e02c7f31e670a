//! The release's tool container: how ansible, kubectl and helm run in it.

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::known;
use crate::host::Cmd;
use crate::kind::Input;

/// Where the release's tree is mounted; the image's working directory.
pub(crate) const TREE: &str = "/wire-server-deploy";
/// Where the deploy directory is mounted.
pub(crate) const STATE: &str = "/wiab";
/// The inventory's directory below both; the deploy directory's own one covers that of the tree.
pub(crate) const INVENTORY: &str = "ansible/inventory/offline";

/// The tool container of a release. The tree is mounted read only; what is written goes to the deploy directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolbox {
    /// The image, as its archive names it.
    pub image: Input<String>,
    /// The unpacked release.
    pub tree: Input<String>,
    /// The deploy directory.
    pub deploy: String,
}

impl Toolbox {
    /// A command inside the container, with standard input passed on, as root of the host: docker wants it.
    pub(crate) fn cmd(&self, args: &[&str]) -> Result<Cmd, Failure> {
        self.run(&[], args)
    }

    /// `kubectl` on the installation's cluster.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<Cmd, Failure> {
        self.cmd(&[&["kubectl"], args].concat())
    }

    /// `helm` on the installation's cluster.
    pub(crate) fn helm(&self, args: &[&str]) -> Result<Cmd, Failure> {
        self.cmd(&[&["helm"], args].concat())
    }

    /// The same as [`Toolbox::cmd`] with further options of `docker run`.
    pub(crate) fn run(&self, options: &[&str], inside: &[&str]) -> Result<Cmd, Failure> {
        let (image, tree) = (known(&self.image, "image")?, known(&self.tree, "tree")?);
        let deploy = &self.deploy;
        let kubeconfig = format!("KUBECONFIG={TREE}/{INVENTORY}/artifacts/admin.conf");
        let volumes = [
            format!("{tree}:{TREE}:ro"),
            format!("{deploy}/{INVENTORY}:{TREE}/{INVENTORY}"),
            format!("{deploy}:{STATE}"),
        ];
        let mut argv = vec!["docker", "run", "--rm", "--init", "-i", "--network", "host"];
        argv.extend(["--pull", "never", "-w", TREE, "-e", &kubeconfig]);
        for volume in &volumes {
            argv.extend(["-v", volume]);
        }
        argv.extend(options);
        argv.push(image);
        argv.extend(inside);
        Ok(Cmd::new(argv).root())
    }
}
