//! The container images of a release: for kubernetes itself, for every chart, for the host.

use serde_json::{Value, json};

use super::super::entity::Data;
use super::{Member, Release, Shape};

/// Images for kubernetes, of all releases.
const SYSTEM: [&str; 17] = [
    "registry.k8s.io/pause:3.9",
    "registry.k8s.io/coredns/coredns:v1.11.4",
    "registry.k8s.io/dns/k8s-dns-node-cache:1.22.28",
    "registry.k8s.io/cpa/cluster-proportional-autoscaler:v1.8.8",
    "registry.k8s.io/metrics-server/metrics-server:v0.7.2",
    "registry.k8s.io/ingress-nginx/controller:v1.12.1",
    "registry.k8s.io/kube-apiserver:v1.29.10",
    "registry.k8s.io/kube-controller-manager:v1.29.10",
    "registry.k8s.io/kube-scheduler:v1.29.10",
    "registry.k8s.io/kube-proxy:v1.29.10",
    "quay.io/coreos/etcd:v3.5.16",
    "quay.io/calico/node:v3.27.4",
    "quay.io/calico/cni:v3.27.4",
    "quay.io/calico/kube-controllers:v3.27.4",
    "quay.io/calico/typha:v3.27.4",
    "quay.io/calico/apiserver:v3.27.4",
    "docker.io/library/nginx:1.25.4-alpine",
];

/// Images that older releases count among those for kubernetes.
const CERT_MANAGER: [&str; 4] = [
    "quay.io/jetstack/cert-manager-controller:v1.16.3",
    "quay.io/jetstack/cert-manager-cainjector:v1.16.3",
    "quay.io/jetstack/cert-manager-webhook:v1.16.3",
    "quay.io/jetstack/cert-manager-startupapicheck:v1.16.3",
];

const SMALLSTEP: [&str; 3] = [
    "docker.io/bats/bats:1.4.1",
    "cr.smallstep.com/smallstep/step-ca:0.25.3-rc7",
    "registry.k8s.io/ingress-nginx/kube-webhook-certgen:v20231011-8b53cabe0",
];

/// Services of the chart wire-server that have an image of their own.
const SERVICES: [&str; 12] = [
    "brig",
    "brig-index",
    "brig-schema",
    "cannon",
    "cargohold",
    "galley",
    "galley-schema",
    "gundeck",
    "gundeck-schema",
    "nginz",
    "spar",
    "background-worker",
];

/// How an image's archive is called.
pub(crate) fn archive_name(image: &str) -> String {
    format!("{}.tar", image.replace(['/', ':'], "_"))
}

impl Release {
    /// Images for kubernetes, as the release lists them.
    pub(crate) fn system_images(&self) -> Vec<String> {
        let mut images: Vec<&str> = SYSTEM.to_vec();
        if self.shape() < Shape::V532 {
            images.extend(CERT_MANAGER);
            images.extend(SMALLSTEP);
        }
        images.into_iter().map(str::to_owned).collect()
    }

    /// Images by chart, as the release lists them.
    pub(crate) fn chart_images(&self) -> Vec<(&'static str, Vec<String>)> {
        let version = self.version();
        let wire = SERVICES.map(|name| format!("quay.io/wire/{name}:{version}"));
        let late = self.shape() == Shape::V532;
        let pick = |new: &str, old: &str| vec![(if late { new } else { old }).to_owned()];
        let one = |image: &str| vec![image.to_owned()];
        let mut cert_manager: Vec<String> = CERT_MANAGER.map(str::to_owned).to_vec();
        cert_manager.extend(self.adds().map(str::to_owned));
        let mut sftd = pick("quay.io/wire/sftd:5.0.65", "quay.io/wire/sftd:5.0.60");
        if late {
            sftd.push("docker.io/bitnamilegacy/nginx:1.27.3-debian-12-r5".to_owned());
        }
        vec![
            (
                "account-pages",
                pick(
                    "quay.io/wire/account:0.9.0-pre.49",
                    "quay.io/wire/account:0.9.0-pre.1",
                ),
            ),
            ("cert-manager", cert_manager),
            (
                "coturn",
                pick(
                    "quay.io/wire/coturn:4.6.2-federation-wireapp.47",
                    "quay.io/wire/coturn:4.6.2-federation-wireapp.43",
                ),
            ),
            (
                "databases-ephemeral",
                one("docker.io/library/redis:7.2.4-alpine"),
            ),
            ("demo-smtp", one("docker.io/egos-tech/smtp:1.1.3")),
            (
                "fake-aws",
                vec![
                    "docker.io/airdock/fake-sqs:0.3.1".to_owned(),
                    "docker.io/mdelapenya/fake-sns:latest".to_owned(),
                ],
            ),
            (
                "ingress-nginx-controller",
                one("registry.k8s.io/ingress-nginx/controller:v1.10.6"),
            ),
            ("reaper", one("docker.io/bitnamilegacy/kubectl:1.32.4")),
            ("sftd", sftd),
            ("smtp", one("docker.io/egos-tech/smtp:1.1.3")),
            (
                "team-settings",
                pick(
                    "quay.io/wire/team-settings:0.15.0",
                    "quay.io/wire/team-settings:0.11.0",
                ),
            ),
            (
                "webapp",
                pick(
                    "quay.io/wire/webapp:0.8.0-pre.2699",
                    "quay.io/wire/webapp:0.8.0-pre.1876",
                ),
            ),
            ("wire-server", wire.to_vec()),
        ]
    }

    /// Images of all charts, each once, as the release lists them.
    pub(crate) fn helm_images(&self) -> Vec<String> {
        let mut images: Vec<String> = Vec::new();
        for image in self
            .chart_images()
            .into_iter()
            .flat_map(|(_, images)| images)
        {
            if !images.contains(&image) {
                images.push(image);
            }
        }
        images
    }

    /// The host's image beside the tools.
    pub(crate) fn zauth_image(&self) -> String {
        format!("quay.io/wire/zauth:{}", self.version())
    }

    /// Those of `listed` that are in the archives.
    pub(crate) fn seeded(&self, listed: Vec<String>) -> Vec<String> {
        let mut images = listed;
        images.retain(|image| !self.lacks(image));
        images
    }

    /// The image of the archive at that path inside the artifact: `containers-helm/quay.io_wire_brig_5.32.0.tar`.
    pub(super) fn image_of_archive(&self, path: &str) -> Option<String> {
        let name = path.rsplit('/').next()?;
        let mut all = self.system_images();
        all.extend(self.helm_images());
        all.push(self.zauth_image());
        all.into_iter().find(|image| archive_name(image) == name)
    }

    /// The members of an archive of images: a list, and one archive for each.
    pub(super) fn image_archives(&self, dir: &str, images: &[String]) -> Vec<Member> {
        let names: Vec<String> = images.iter().map(|image| archive_name(image)).collect();
        let mut members = vec![
            Member::dir(dir),
            Member::text(&format!("{dir}/index.txt"), &(names.join("\n") + "\n")),
        ];
        members.extend(names.iter().map(|name| {
            let path = format!("{dir}/{name}");
            Member::file(&path, self.blob(&path, 60))
        }));
        members
    }

    /// The members of the archive of one image.
    pub(super) fn image_members(name: &str, id: &str) -> Vec<Member> {
        let config = id.trim_start_matches("sha256:");
        vec![
            Member::text("manifest.json", &Self::manifest(name, id)),
            Member::text(&format!("{config}.json"), "{\"os\": \"linux\"}\n"),
            Member::file(
                "layer.tar",
                Data::Blob {
                    seed: id.to_owned(),
                    len: 60 << 20,
                    whole: 60 << 20,
                },
            ),
        ]
    }

    /// The lists of images: path and text.
    pub(super) fn lists(&self) -> Vec<(&'static str, String)> {
        let pairs = |images: Vec<String>| -> Value {
            let pair = |image: String| {
                let (name, tag) = image.rsplit_once(':').unwrap_or((&image, ""));
                json!({ name: tag })
            };
            images.into_iter().map(pair).collect()
        };
        let branch =
            |(chart, images): (&str, Vec<String>)| json!({"chart": chart, "images": images});
        let tree: Value = self.chart_images().into_iter().map(branch).collect();
        vec![
            (
                "versions/containers_adminhost_images.json",
                pairs(vec![self.zauth_image()]).to_string(),
            ),
            (
                "versions/containers_system_images.json",
                pairs(self.system_images()).to_string(),
            ),
            (
                "versions/containers_helm_images.json",
                pairs(self.helm_images()).to_string(),
            ),
            ("versions/helm_image_tree.json", tree.to_string()),
        ]
    }
}
