//! API server, controller manager and scheduler, built once from Debian's source package with Debian's Go.

use std::path::{Path, PathBuf};

use crate::apt::{self, Archive};
use crate::cache::{Cache, Scratch};
use crate::cmd::Cmd;
use crate::error::{LabError, Result};

/// The source package: the only one of Debian's releases that still holds the whole of Kubernetes.
const SOURCE: &str = "kubernetes";
/// The compiler that this source was made for.
const GO: [&str; 2] = ["golang-1.19-go", "golang-1.19-src"];
/// A library as Debian has it, in the place of the older one that the source brings: with this compiler that one crashes.
const NEWER: (&str, &str) = (
    "golang-github-modern-go-reflect2-dev",
    "github.com/modern-go/reflect2",
);
/// What is built.
pub(super) const PROGRAMS: [&str; 3] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];
/// What the programs say of themselves; the sources of a package do not know it.
const VERSION_FILE: &str = "KUBE_GIT_COMMIT='0000000000000000000000000000000000000000'
KUBE_GIT_TREE_STATE='clean'
KUBE_GIT_VERSION='v1.20.2'
KUBE_GIT_MAJOR='1'
KUBE_GIT_MINOR='20'
";
/// Longest build, in seconds: five minutes on two idle cores.
const BUILD_LIMIT_S: u64 = 5_400;
/// Raised when the steps below change.
const VERSION: u32 = 1;

fn recipe() -> String {
    format!("{VERSION}\n{SOURCE}\n{GO:?}\n{NEWER:?}\n{PROGRAMS:?}\n{VERSION_FILE}")
}

/// Where the finished programs are.
pub(super) fn built(cache: &Cache) -> Result<PathBuf> {
    cache.built("kube", &recipe())
}

/// Builds them unless the cache has them.
pub(super) fn ensure(cache: &Cache) -> Result<PathBuf> {
    cache.ensure("kube", &recipe(), build)
}

fn build(scratch: &Scratch) -> Result<()> {
    let archive = apt::archive(scratch.dir())?.of_release_only();
    let (packages, tree) = (scratch.dir().join("packages"), scratch.dir().join("tree"));
    apt::download(scratch.dir(), &archive, &GO, &packages)?;
    unpack(&packages, &scratch.dir().join("go"))?;
    let description = apt::source(scratch.dir(), &archive, SOURCE, &packages)?;
    Cmd::new(["dpkg-source", "--no-check", "-x"])
        .args([
            description.display().to_string(),
            tree.display().to_string(),
        ])
        .limit_s(600)
        .run()?;
    newer(scratch, &archive, &tree)?;
    fs_err::write(scratch.dir().join("version"), VERSION_FILE)?;
    // The sources of the package lack a file that is generated.
    make(scratch, &tree, &["make", "gen_openapi"])?;
    let mut words = vec!["hack/make-rules/build.sh".to_owned()];
    words.extend(PROGRAMS.map(|name| format!("cmd/{name}")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    make(scratch, &tree, &words)?;
    fs_err::create_dir_all(scratch.out())?;
    for name in PROGRAMS {
        let made = tree.join("_output/local/go/bin").join(name);
        fs_err::rename(made, scratch.out().join(name))?;
    }
    Ok(())
}

/// Exchanges a library of the source tree.
fn newer(scratch: &Scratch, archive: &Archive, tree: &Path) -> Result<()> {
    let (package, name) = NEWER;
    let (packages, files) = (scratch.dir().join("newer"), scratch.dir().join("library"));
    apt::download(scratch.dir(), archive, &[package], &packages)?;
    unpack(&packages, &files)?;
    let own = tree.join("vendor").join(name);
    crate::cache::remove_tree(&own)?;
    let from = files.join("usr/share/gocode/src").join(name);
    Cmd::new(["cp", "-rL", "--"])
        .args([from.display().to_string(), own.display().to_string()])
        .run()
}

/// Runs a program of the source tree, without a network and behind everything else.
fn make(scratch: &Scratch, tree: &Path, words: &[&str]) -> Result<()> {
    let at = |name: &str| scratch.dir().join(name).display().to_string();
    let go = at("go/usr/lib/go-1.19");
    Cmd::isolated()
        .args(["unshare", "--net", "nice", "-n", "19", "sh", "-c"])
        .args(["PATH=\"$GOROOT/bin:$PATH\" exec \"$@\"", "sh"])
        .args(words.iter().copied())
        .dir(tree)
        .env("GOROOT", &go)
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOCACHE", &at("gocache"))
        .env("GOPATH", &at("gopath"))
        .env("GOFLAGS", "-tags=providerless")
        .env("GOLDFLAGS", "-s -w")
        .env("CGO_ENABLED", "0")
        .env("KUBE_GIT_VERSION_FILE", &at("version"))
        .env("KUBE_BUILD_PLATFORMS", "linux/amd64")
        .limit_s(BUILD_LIMIT_S)
        .run()
}

/// Unpacks all packages of a directory into a tree.
pub(super) fn unpack(packages: &Path, to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    let mut count = 0;
    for entry in fs_err::read_dir(packages)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            Cmd::new(["dpkg-deb", "-x"])
                .args([path.display().to_string(), to.display().to_string()])
                .limit_s(300)
                .run()?;
            count += 1;
        }
    }
    if count == 0 {
        return Err(LabError::check(format!(
            "{} holds no package",
            packages.display()
        )));
    }
    Ok(())
}
