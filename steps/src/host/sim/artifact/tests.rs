//! The stand-in release is one that wiab understands, in all its shapes.

use std::net::Ipv4Addr;

use super::*;
use crate::release::{Chart, JoinCall, SmtpShape, Tree};
use crate::values::{CallingNode, Inputs, inventory, render};

const LATEST: &str = "5b01f250e128db689715558bad6b5e532cf4a7a0";

fn tree(release: &Release) -> Tree {
    let files = release.members().into_iter().filter_map(|member| {
        let bytes = member.data.bytes(1 << 16)?;
        Some((member.path, String::from_utf8(bytes).unwrap()))
    });
    Tree {
        files: files.collect(),
    }
}

#[test]
fn every_shape_is_understood_and_renders() {
    let ip = Ipv4Addr::new(192, 168, 122, 23);
    let inputs = Inputs {
        domain: "wire.example.org".parse().unwrap(),
        host_ip: Ipv4Addr::new(203, 0, 113, 7),
        cert_email: "admin@example.org".parse().unwrap(),
        acme_test: false,
        calling: Some(CallingNode {
            name: "kubenode3".parse().unwrap(),
            ip,
        }),
        data_nodes: vec![ip],
    };
    for hash in [SEED_HASH, NEAREST_HASH, LATEST] {
        let release = Release::usual(hash);
        let tree = tree(&release);
        let detected = crate::release::Release::detect(&tree, hash).unwrap();
        assert_eq!(detected.wire_server.as_deref(), Some(release.version()));
        assert_eq!(detected.artifact_hash.as_deref(), Some(hash));
        for chart in Chart::ALL {
            if chart != Chart::SmallstepAccomp {
                let text = tree.text(&chart.template());
                render(chart, text, &inputs, &detected, None).unwrap();
            }
        }
        assert!(tree.text(inventory::TEMPLATE).is_some());
        let late = release.shape() == Shape::V532;
        let features = &detected.features;
        assert_eq!(features.background_worker_pg, Some(late));
        assert_eq!(features.redis_host, Some(late));
        assert_eq!(features.acmesolver, Some(false));
        assert_eq!(features.private_deployment, late.then_some(true));
        let smtp = if late {
            SmtpShape::Nested
        } else {
            SmtpShape::Flat
        };
        assert_eq!(features.smtp, Some(smtp));
        let join_call = if late {
            JoinCall::Pinned
        } else {
            JoinCall::ChartDefault
        };
        assert_eq!(features.join_call, Some(join_call));
        let mls = features.mls.unwrap();
        assert_eq!((mls.brig, mls.galley), (late, !late));
    }
}

#[test]
fn the_layout_is_that_of_an_artifact() {
    let release = Release::usual(LATEST);
    let members = release.members();
    let paths: Vec<&str> = members.iter().map(|member| member.path.as_str()).collect();
    let helm = paths
        .iter()
        .position(|path| *path == "containers-helm.tar")
        .unwrap();
    let after = &paths[helm..];
    assert!(
        helm > 10
            && after.contains(&"debs-jammy.tar")
            && after.contains(&"versions/helm_image_tree.json")
    );
    assert!(super::files::edits_find(&release));
    let scripts = |hash: &str| {
        let members = Release::usual(hash).members();
        members
            .iter()
            .any(|member| member.path == "bin/helm-operations.sh")
    };
    assert!(!scripts(SEED_HASH) && scripts(NEAREST_HASH));
}

#[test]
fn archives_open_and_say_what_they_hold() {
    let release = Release::usual(LATEST);
    let data = release.artifact();
    assert_eq!(Release::of(&data), Some(release.clone()));
    let members = archive(&data).unwrap();
    let of = |path: &str| {
        &members
            .iter()
            .find(|member| member.path == path)
            .unwrap()
            .data
    };
    assert_eq!(image_in(of(TOOL_ARCHIVE)), Some(release.tool_image()));
    let helm = archive(of("containers-helm.tar")).unwrap();
    let brig = helm
        .iter()
        .find(|member| member.path.ends_with("quay.io_wire_brig_5.32.0.tar"))
        .unwrap();
    assert_eq!(image_in(&brig.data).unwrap().0, "quay.io/wire/brig:5.32.0");
    assert_eq!(helm.len(), release.helm_images().len() + 2);
    assert!(
        archive(of("debs-jammy.tar"))
            .unwrap()
            .iter()
            .any(|member| member.path == "debs-jammy/public/gpg")
    );
    assert!(archive(&Data::of(b"x")).is_none());
}

/// Name and id of the image in an image's archive.
fn image_in(data: &Data) -> Option<(String, String)> {
    let manifest = archive(data)?
        .into_iter()
        .find(|member| member.path == "manifest.json")?;
    let bytes = manifest.data.bytes(1 << 20)?;
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let first = manifest.get(0)?;
    let name = first.get("RepoTags")?.get(0)?.as_str()?;
    let id = first.get("Config")?.as_str()?.strip_suffix(".json")?;
    Some((name.to_owned(), format!("sha256:{id}")))
}
