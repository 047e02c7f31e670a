//! `setup-offline-sources.yml`: the content server, and the machines that use nothing else.

use super::super::super::artifact::{Release, archive_name};
use super::super::super::files;
use super::super::super::inside::{self, Entry, GuestUnit};
use super::super::super::state::Draft;
use super::super::guest_files;
use super::super::guest_kube::ARCHIVE;
use super::{Run, TaskFailure, failed, tree};

const TARS: [&str; 4] = [
    "debs-jammy.tar",
    "binaries.tar",
    "containers-system.tar",
    "containers-helm.tar",
];
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
        client(draft, &host.name, &address);
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
    inside::write(
        draft,
        vm,
        "/opt/assets/debs-jammy/public/gpg",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
    );
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

fn client(draft: &mut Draft<'_>, vm: &str, address: &str) {
    inside::remove(draft, vm, "/etc/apt/sources.list");
    inside::remove(draft, vm, "/etc/apt/sources.list.d");
    inside::write(draft, vm, "/etc/apt/trusted.gpg", "offline key\n");
    let name = format!(
        "http_{}_8080_debs_jammy_public.list",
        address.replace('.', "_")
    );
    let line = format!("deb http://{address}:8080/debs-jammy/public jammy main\n");
    inside::write(draft, vm, &format!("/etc/apt/sources.list.d/{name}"), &line);
}
