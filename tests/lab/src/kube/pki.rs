//! Keys and certificates of the cluster, made once: the release's stand-in carries the administrator's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{API_PORT, CLUSTER_IP, NODES};
use crate::cache::{Cache, Scratch};
use crate::cmd::Cmd;
use crate::error::Result;
use crate::inside::OUTSIDE_IP;

/// How long they are valid, in days.
const DAYS: &str = "3650";
/// Raised when the steps below change.
const VERSION: u32 = 1;

/// Name, subject, and whether it is a server's.
const LEAVES: [(&str, &str, bool); 5] = [
    ("apiserver", "/CN=kube-apiserver", true),
    ("kubelet", "/O=system:nodes/CN=system:node:lab", true),
    ("authority", "/CN=pebble", true),
    ("admin", "/O=system:masters/CN=kubernetes-admin", false),
    (
        "kubelet-client",
        "/O=system:masters/CN=kube-apiserver-kubelet-client",
        false,
    ),
];

fn names() -> String {
    let mut names = format!(
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,\
         IP:10.233.0.1,IP:{CLUSTER_IP},IP:{OUTSIDE_IP}"
    );
    for (name, ip) in NODES {
        // Writing to a string does not fail.
        let _ = write!(names, ",DNS:{name},IP:{ip}");
    }
    names
}

fn recipe() -> String {
    format!("{VERSION}\n{LEAVES:?}\n{}", names())
}

/// The directory with the keys; makes them unless the cache has them. `admin.conf` is what the release leaves for kubectl:
/// it names the first Kubernetes node; `cluster.conf` names the API server itself.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    cache.ensure("kube-pki", &recipe(), build)
}

/// The same, which must have been made.
pub(super) fn built(cache: &Cache) -> Result<PathBuf> {
    cache.built("kube-pki", &recipe())
}

fn build(scratch: &Scratch) -> Result<()> {
    let out = scratch.out();
    fs_err::create_dir_all(&out)?;
    openssl(
        &out,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=kubernetes -keyout ca.key -out ca.crt -days",
        &[DAYS],
    )?;
    openssl(&out, "genrsa -out sa.key 2048", &[])?;
    for (name, subject, server) in LEAVES {
        leaf(&out, name, subject, server)?;
    }
    for (file, server) in [
        ("admin.conf", NODES.first().map_or("", |node| node.1)),
        ("cluster.conf", CLUSTER_IP),
    ] {
        fs_err::write(out.join(file), kubeconfig(&out, server)?)?;
    }
    Ok(())
}

fn openssl(dir: &Path, words: &str, more: &[&str]) -> Result<()> {
    Cmd::new(["openssl"])
        .args(words.split(' '))
        .args(more.iter().copied())
        .dir(dir)
        .run()
}

fn leaf(dir: &Path, name: &str, subject: &str, server: bool) -> Result<()> {
    let usage = if server {
        format!("extendedKeyUsage=serverAuth\nsubjectAltName={}\n", names())
    } else {
        "extendedKeyUsage=clientAuth\n".to_owned()
    };
    let extensions = dir.join("extensions");
    fs_err::write(&extensions, usage)?;
    let [key, request, cert] = ["key", "csr", "crt"].map(|end| format!("{name}.{end}"));
    openssl(
        dir,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes",
        &["-subj", subject, "-keyout", &key, "-out", &request],
    )?;
    openssl(
        dir,
        "x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions",
        &["-days", DAYS, "-in", &request, "-out", &cert],
    )?;
    fs_err::remove_file(dir.join(request))?;
    Ok(fs_err::remove_file(extensions)?)
}

fn kubeconfig(dir: &Path, server: &str) -> Result<String> {
    let data = |name: &str| {
        let path = dir.join(name).display().to_string();
        Cmd::new(["base64", "-w", "0", &path]).output()
    };
    Ok(format!(
        "apiVersion: v1
kind: Config
clusters:
- name: cluster.local
  cluster:
    certificate-authority-data: {ca}
    server: https://{server}:{API_PORT}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {crt}
    client-key-data: {key}
contexts:
- name: kubernetes-admin@cluster.local
  context:
    cluster: cluster.local
    user: kubernetes-admin
current-context: kubernetes-admin@cluster.local
",
        ca = data("ca.crt")?,
        crt = data("admin.crt")?,
        key = data("admin.key")?
    ))
}
