//! The tools of a Kubernetes node: containerd's images, etcd, kubeadm.

use serde_json::{Value, json};

use super::super::inside;
use super::super::state::Draft;
use super::domain::guests;
use super::guest_run::Inner;
use super::{Reply, spread};

/// Where containerd's own program stands; its text is the version.
pub(super) const CONTAINERD: &str = "/usr/local/bin/containerd";
/// How the archive of an image begins; the rest of the line are the names in it.
pub(super) const ARCHIVE: &str = "image ";

pub(super) fn run(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Option<Reply> {
    let version = inside::text(draft, inner.vm(), CONTAINERD)?;
    Some(match inner.program {
        "containerd" => Reply::ok(format!(
            "containerd github.com/containerd/containerd v{} 57f17b0a6295a39009d861b89e3b3b87b005ca27\n",
            version.trim()
        )),
        "ctr" => ctr(draft, inner),
        "etcdctl" => etcd(draft),
        _ => return None,
    })
}

/// References of a node's images.
pub(super) fn images(draft: &Draft<'_>, vm: &str) -> Vec<String> {
    let held = inside::get(draft, vm, "images");
    let held = held.as_ref().and_then(Value::as_array);
    let names = held.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// Sets a node's images.
pub(super) fn put_images(draft: &mut Draft<'_>, vm: &str, mut images: Vec<String>) {
    images.sort();
    images.dedup();
    if images.is_empty() {
        inside::del(draft, vm, "images");
    } else {
        inside::put(draft, vm, "images", json!(images));
    }
}

/// Imports an archive, as often as it is told to; the error is containerd's.
pub(super) fn import(
    draft: &mut Draft<'_>,
    vm: &str,
    archive: &str,
) -> Result<Vec<String>, String> {
    let Some(names) = archive.trim_end().strip_prefix(ARCHIVE) else {
        return Err("ctr: unrecognized image format\n".to_owned());
    };
    let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
    let mut all = images(draft, vm);
    all.extend(names.iter().cloned());
    put_images(draft, vm, all);
    inside::count(draft, vm, "imports");
    Ok(names)
}

fn ctr(draft: &mut Draft<'_>, inner: &Inner<'_>) -> Reply {
    if !inner.root {
        return Reply::fail(
            1,
            "ctr: failed to dial \"/run/containerd/containerd.sock\": permission denied\n",
        );
    }
    let vm = inner.vm();
    if !inside::runs(draft, vm, "containerd") {
        return Reply::fail(
            1,
            "ctr: failed to dial \"/run/containerd/containerd.sock\": connection refused\n",
        );
    }
    let words: Vec<&str> = match inner.args {
        ["-n", "k8s.io", rest @ ..] | ["-n=k8s.io", rest @ ..] => rest.to_vec(),
        _ => return Reply::ok(""),
    };
    match words.as_slice() {
        ["images", "ls" | "list", "-q"] => {
            let names = images(draft, vm);
            Reply::ok(
                names
                    .iter()
                    .fold(String::new(), |text, name| text + name + "\n"),
            )
            .took(60)
        }
        ["images", "import", path] => {
            let archive = inside::text(draft, vm, path);
            let Some(archive) = archive else {
                return Reply::fail(1, format!("ctr: open {path}: no such file or directory\n"));
            };
            match import(draft, vm, &archive) {
                Ok(names) => {
                    let said = names.iter().fold(String::new(), |text, name| {
                        format!("{text}unpacking {name} (sha256:0)...done\n")
                    });
                    Reply::ok(said).took(1_500 + spread(path, 2_000))
                }
                Err(why) => Reply::fail(1, why),
            }
        }
        ["images", "rm" | "remove", names @ ..] => {
            let mut left = images(draft, vm);
            for name in names.iter().filter(|name| !name.starts_with("--")) {
                left.retain(|held| held != name);
                put_images(draft, vm, left.clone());
                draft.mark_half();
            }
            Reply::ok("").took(300)
        }
        _ => Reply::fail(1, "ctr: this is not simulated\n"),
    }
}

fn etcd(draft: &Draft<'_>) -> Reply {
    let mut reply = Reply::ok("");
    for guest in guests(draft) {
        if inside::file(draft, &guest.domain, "/var/lib/etcd/member").is_none() {
            continue;
        }
        let healthy = guest.reachable && inside::runs(draft, &guest.domain, "etcd");
        let line = if healthy {
            format!(
                "https://{}:2379 is healthy: successfully committed proposal: took = 8.1ms\n",
                guest.address
            )
        } else {
            reply.code = 1;
            format!(
                "https://{}:2379 is unhealthy: failed to commit proposal: context deadline exceeded\n",
                guest.address
            )
        };
        reply.stdout.extend_from_slice(line.as_bytes());
    }
    if reply.stdout.is_empty() {
        return Reply::fail(1, "Error: context deadline exceeded\n");
    }
    reply.took(40)
}
