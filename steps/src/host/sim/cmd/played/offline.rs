//! `setup-offline-sources.yml`: the content server, and the machines that use nothing else.

use super::super::super::artifact::{Release, archive_name};
use super::super::super::files;
use super::super::super::inside::{self, Entry, GuestUnit};
use super::super::super::state::Draft;
use super::super::guest_kube::ARCHIVE;
use super::super::{gpg, guest_files};
use super::{Run, TaskFailure, failed, tree};

const TARS: [&str; 4] = [
    "debs-jammy.tar",
    "binaries.tar",
    "containers-system.tar",
    "containers-helm.tar",
];
/// The public key of the package repository.
const KEY: &str = "/opt/assets/debs-jammy/public/gpg";
const TRUSTED: &str = "/etc/apt/trusted.gpg";
const UNIT: &str = "[Unit]\nDescription=serve assets\n[Service]\nExecStart=/usr/bin/python3 -m http.server 8080\nWorkingDirectory=/opt/assets/\n";

pub(super) fn play(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    let tree = tree(draft, run);
    let mut address = String::new();
    for host in run.of("assethost") {
        address.clone_from(&host.ip);
        server(draft, &tree, &host.name)?;
        draft.mark_half();
    }
    for host in run.hosts.iter().filter(|host| host.name != "assethost") {
        client(draft, run, &host.name, &address)?;
        draft.mark_half();
    }
    Ok(())
}

fn server(draft: &mut Draft<'_>, tree: &str, vm: &str) -> Result<(), TaskFailure> {
    let bytes =
        |tar: &str| files::at(draft, &format!("{tree}/{tar}")).map_or(0, |file| file.data.len());
    let sizes = TARS.map(bytes);
    // Each archive is copied whole before it is unpacked.
    let need = sizes.iter().sum::<u64>() + sizes.iter().max().copied().unwrap_or(0);
    if guest_files::free_bytes(draft, vm) < need {
        return Err(failed(
            "Copy helm containers",
            vm,
            "[Errno 28] No space left on device",
        ));
    }
    inside::write(draft, vm, KEY, &Release::key());
    inside::put_file(draft, vm, "/opt/assets/binaries", &Entry::Dir);
    if let Some(release) = Release::unpacked(draft, tree) {
        for (dir, listed) in [
            ("containers-system", release.system_images()),
            ("containers-helm", release.helm_images()),
        ] {
            let images = release.seeded(listed);
            images_of(draft, vm, dir, &images);
        }
    }
    inside::write(draft, vm, "/etc/systemd/system/serve-assets.service", UNIT);
    let wanted = inside::unit(draft, vm, "serve-assets").is_some_and(|unit| unit.enabled);
    let unit = GuestUnit {
        active: true,
        enabled: wanted,
        fixed: true,
    };
    inside::put_unit(draft, vm, "serve-assets", Some(unit));
    inside::count(draft, vm, "content-server-restarts");
    Ok(())
}

fn images_of(draft: &mut Draft<'_>, vm: &str, dir: &str, images: &[String]) {
    let mut index = String::new();
    for image in images {
        let archive = archive_name(image);
        inside::write(
            draft,
            vm,
            &format!("/opt/assets/{dir}/{archive}"),
            &format!("{ARCHIVE}{image}\n"),
        );
        index = index + &archive + "\n";
    }
    inside::write(draft, vm, &format!("/opt/assets/{dir}/index.txt"), &index);
}

/// A variable of the playbook, with those of the release's group variables that it refers to.
fn variable(run: &Run<'_>, name: &str, usual: &str, address: &str) -> String {
    let text = run.vars.get(name).map_or(usual, String::as_str);
    let repos = format!("http://{address}:8080/debs-jammy/public");
    text.replace("{{ ubuntu_repos }}", &repos)
        .replace("{{ assethost_host }}", &format!("{address}:8080"))
}

fn client(
    draft: &mut Draft<'_>,
    run: &Run<'_>,
    vm: &str,
    address: &str,
) -> Result<(), TaskFailure> {
    inside::remove(draft, vm, "/etc/apt/sources.list");
    inside::remove(draft, vm, "/etc/apt/sources.list.d");
    let key = variable(run, "ubuntu_repo_gpgkey", "{{ ubuntu_repos }}/gpg", address);
    add_key(draft, vm, &key, address)?;
    let name = format!("{}_8080_debs_jammy_public.list", address.replace('.', "_"));
    let base = variable(run, "ubuntu_repo_base_url", "{{ ubuntu_repos }}", address);
    let line = format!("deb {base} jammy main\n");
    inside::write(draft, vm, &format!("/etc/apt/sources.list.d/{name}"), &line);
    updated(draft, vm, "Set up offline repo")
}

/// `apt_key`: one that is trusted already changes nothing; one that has expired is not seen among those added.
fn add_key(draft: &mut Draft<'_>, vm: &str, url: &str, address: &str) -> Result<(), TaskFailure> {
    let task = "Add offline repo key";
    let path = url.strip_prefix(&format!("http://{address}:8080"));
    let text =
        path.and_then(|path| inside::text(draft, "assethost", &format!("/opt/assets{path}")));
    let text = text.unwrap_or_default();
    let Some((fingerprint, expired)) = gpg::state(&text, draft.wall_ms()) else {
        let msg = format!("Failed to download key at {url}: HTTP Error 404: File not found");
        return Err(failed(task, vm, &msg));
    };
    let mut trusted = inside::below(draft, vm, "/etc/apt/trusted.gpg.d");
    trusted.push(TRUSTED.to_owned());
    let known = |path: &String| {
        inside::text(draft, vm, path).is_some_and(|text| text.contains(fingerprint))
    };
    if !expired && trusted.iter().any(known) {
        return Ok(());
    }
    inside::write(draft, vm, TRUSTED, &text);
    if expired {
        let msg = "apt-key did not return an error, but failed to add the key (check that the id is correct and *not* a subkey)";
        return Err(failed(task, vm, msg));
    }
    Ok(())
}

/// `apt-get update` of a machine whose packages come from the asset host.
pub(super) fn updated(draft: &Draft<'_>, vm: &str, task: &str) -> Result<(), TaskFailure> {
    let key = inside::text(draft, "assethost", KEY).unwrap_or_default();
    let expired = gpg::state(&key, draft.wall_ms()).filter(|(_, expired)| *expired);
    let Some((fingerprint, _)) = expired else {
        return Ok(());
    };
    let sources = inside::below(draft, vm, "/etc/apt/sources.list.d");
    let mut lines = sources
        .iter()
        .filter_map(|path| inside::text(draft, vm, path));
    if lines.any(|line| line.contains("/debs-jammy/") && !line.contains("[trusted=yes]")) {
        let id = fingerprint.get(24..).unwrap_or_default();
        let msg = format!(
            "Failed to update apt cache: W:GPG error: the following signatures were invalid: EXPKEYSIG {id}, E:The repository is not signed."
        );
        return Err(failed(task, vm, &msg));
    }
    Ok(())
}
