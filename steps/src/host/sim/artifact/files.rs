//! The files of a release, in the order in which its artifact has them.

use super::super::entity::Data;
use super::images::archive_name;
use super::{Member, Release, Shape, TOOL_ARCHIVE};
use crate::release::Chart;

/// The signing key of the package repository was made on 2024-07-12 for two years.
const KEY_CREATED_S: u64 = 1_720_742_400;
const KEY_EXPIRES_S: u64 = 1_783_814_400;
const KEY_FINGERPRINT: &str = "5A1D0C0FFEE0DDBA11AD0BE5E1F1F624CAFE0523";

const PLAYBOOKS: [&str; 13] = [
    "cassandra.yml",
    "elasticsearch.yml",
    "helm_external.yml",
    "kubernetes.yml",
    "minio.yml",
    "postgresql-deploy.yml",
    "rabbitmq.yml",
    "roles-external/kubespray/reset.yml",
    "roles/rabbitmq-cluster/tasks/configure_dns.yml",
    "seed-offline-containerd.yml",
    "setup-offline-sources.yml",
    "sync_time.yml",
    "wiab-staging-nftables.yaml",
];

const SCRIPTS: [&str; 4] = [
    "bin/offline-cluster.sh",
    "bin/offline-env.sh",
    "bin/offline-secrets.sh",
    "bin/offline-vm-setup.sh",
];

/// What nodes download from the asset host, beside the packages of PostgreSQL.
const BINARIES: [&str; 13] = [
    "kubeadm",
    "kubectl",
    "kubelet",
    "crictl-v1.29.0-linux-amd64.tar.gz",
    "containerd-1.7.22-linux-amd64.tar.gz",
    "runc.amd64",
    "etcd-v3.5.16-linux-amd64.tar.gz",
    "cni-plugins-linux-amd64-v1.3.0.tgz",
    "apache-cassandra-3.11.19-bin.tar.gz",
    "jmx_prometheus_javaagent-0.10.jar",
    "elasticsearch-oss-6.8.23.deb",
    "minio.RELEASE.2023-07-07T07-13-57Z",
    "mc.RELEASE.2023-10-24T05-18-28Z",
];

impl Member {
    pub(super) fn file(path: &str, data: Data) -> Self {
        Self {
            path: path.to_owned(),
            mode: 0o644,
            data,
        }
    }

    pub(super) fn text(path: &str, text: &str) -> Self {
        Self::file(path, Data::of(text.as_bytes()))
    }

    pub(super) fn dir(path: &str) -> Self {
        Self {
            path: format!("{path}/"),
            mode: 0o755,
            data: Data::of(b""),
        }
    }
}

impl Release {
    /// The artifact's members. The archive of the charts' images stands in the middle.
    pub(crate) fn members(&self) -> Vec<Member> {
        let mut files = self.ansible();
        files.extend(SCRIPTS.map(|path| Member::text(path, "#!/usr/bin/env bash\nexit 1\n")));
        if self.shape() != Shape::Older {
            files.push(Member::text(
                "bin/helm-operations.sh",
                "#!/usr/bin/env bash\nexit 1\n",
            ));
        }
        files.push(Member::file(
            "binaries.tar",
            self.blob("binaries.tar", 1_700),
        ));
        files.extend(self.charts());
        files.extend(self.host_containers());
        files.push(Member::file(
            "containers-helm.tar",
            self.blob("containers-helm.tar", 4_900),
        ));
        files.push(Member::file(
            "containers-system.tar",
            self.blob("containers-system.tar", 1_500),
        ));
        files.push(Member::text(
            "dashboards/wire-services.json",
            "{\"panels\": []}\n",
        ));
        files.push(Member::file(
            "debs-jammy.tar",
            self.blob("debs-jammy.tar", 1_400),
        ));
        files.extend(self.values());
        files.extend(
            self.lists()
                .into_iter()
                .map(|(path, text)| Member::text(path, &text)),
        );
        files.push(Member::text("versions/wire-binaries.json", "[]\n"));
        files.push(Member::text("versions/debian-builds.json", "[]\n"));
        files.retain(|file| !self.lacks(&file.path));
        with_dirs(files)
    }

    fn ansible(&self) -> Vec<Member> {
        let mut files: Vec<Member> = PLAYBOOKS
            .iter()
            .map(|name| {
                Member::text(
                    &format!("ansible/{name}"),
                    &format!("# {name}\n- hosts: all\n  tasks: []\n"),
                )
            })
            .collect();
        files.push(Member::text(
            "ansible/ansible.cfg",
            "[defaults]\nforks = 10\n",
        ));
        let demo = match self.shape() {
            Shape::Older | Shape::V523 => "",
            Shape::V532 => "    private_deployment: true\n",
        };
        let hash = &self.hash;
        files.push(Member::text(
            "ansible/inventory/demo/wiab-staging.yml",
            &format!(
                "wiab-staging:\n  hosts:\n    deploy_node:\n      ansible_host: example.com\n  vars:\n{demo}    artifact_hash: {hash}\n"
            ),
        ));
        let packages = include_str!("files/ansible/postgresql.yml");
        let offline = "ansible/inventory/offline";
        for (name, text) in [
            (
                "staging.yml",
                include_str!("files/ansible/staging.yml").to_owned(),
            ),
            (
                "group_vars/all/offline.yml",
                include_str!("files/ansible/offline.yml").to_owned(),
            ),
            (
                "group_vars/all/key.yml",
                format!("docker_ubuntu_repo_repokey: {KEY_FINGERPRINT}\n"),
            ),
            (
                "group_vars/postgresql/postgresql.yml",
                packages.replace("PGV", self.postgresql()),
            ),
        ] {
            files.push(Member::text(&format!("{offline}/{name}"), &text));
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        files
    }

    fn postgresql(&self) -> &'static str {
        match self.shape() {
            Shape::Older | Shape::V523 => "17.7-3",
            Shape::V532 => "17.8-1",
        }
    }

    fn charts(&self) -> Vec<Member> {
        let mut charts = Chart::ALL.to_vec();
        charts.retain(|chart| *chart != Chart::DemoSmtp || self.shape() < Shape::V532);
        charts.sort_by_key(|chart| chart.name());
        let each = |chart: &Chart| {
            let version = self.chart_version(*chart);
            let text = format!("apiVersion: v2\nname: {chart}\nversion: {version}\n");
            [
                Member::text(&chart.description(), &text),
                Member::text(&format!("charts/{chart}/values.yaml"), "{}\n"),
            ]
        };
        charts.iter().flat_map(each).collect()
    }

    /// Version of a chart.
    pub(crate) fn chart_version(&self, chart: Chart) -> &'static str {
        let late = self.shape() == Shape::V532;
        let pick = |new: &'static str, old: &'static str| if late { new } else { old };
        match chart {
            Chart::Sftd => pick("0.135.0", "0.130.0"),
            Chart::Coturn => pick("4.6.2-federation-wireapp.47", "4.6.2-federation-wireapp.43"),
            Chart::Webapp => pick("0.8.0-pre.2699", "0.8.0-pre.1876"),
            Chart::TeamSettings => pick("0.15.0", "0.11.0"),
            Chart::AccountPages => pick("0.9.0-pre.49", "0.9.0-pre.1"),
            Chart::CertManager => "1.16.3",
            Chart::Smtp => "1.0.4",
            Chart::PostgresqlExternal => "0.0.44",
            Chart::SmallstepAccomp => "6.0.11",
            Chart::CassandraExternal
            | Chart::ElasticsearchExternal
            | Chart::MinioExternal
            | Chart::RabbitmqExternal
            | Chart::DatabasesEphemeral
            | Chart::Reaper
            | Chart::FakeAws
            | Chart::DemoSmtp
            | Chart::WireServer
            | Chart::IngressNginxController
            | Chart::NginxIngressServices => self.version(),
        }
    }

    fn host_containers(&self) -> Vec<Member> {
        let zauth = archive_name(&self.zauth_image());
        let index = format!("container-wire-server-deploy.tgz\n{zauth}\n");
        let zauth = format!("containers-adminhost/{zauth}");
        vec![
            Member::file(TOOL_ARCHIVE, self.blob(TOOL_ARCHIVE, 1_100)),
            Member::text("containers-adminhost/index.txt", &index),
            Member::file(&zauth, self.blob(&zauth, 60)),
        ]
    }

    fn values(&self) -> Vec<Member> {
        let mut files: Vec<Member> = Chart::ALL
            .iter()
            .filter_map(|chart| {
                let text = self.template(*chart)?;
                Some(Member::text(&chart.template(), &text))
            })
            .collect();
        for (chart, text) in [
            (Chart::WireServer, self.secrets()),
            (
                Chart::Coturn,
                include_str!("files/secrets/coturn.yaml").to_owned(),
            ),
            (
                Chart::NginxIngressServices,
                include_str!("files/secrets/nginx-ingress-services.yaml").to_owned(),
            ),
            (
                Chart::TeamSettings,
                include_str!("files/secrets/team-settings.yaml").to_owned(),
            ),
        ] {
            let path = format!("values/{chart}/prod-secrets.example.yaml");
            files.push(Member::text(&path, &text));
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        files
    }

    fn secrets(&self) -> String {
        let text = include_str!("files/secrets/wire-server.yaml");
        if self.shape() == Shape::V532 {
            return text.to_owned();
        }
        let worker = "background-worker:\n  secrets:\n";
        text.replace(&format!("{worker}    pgPassword: verysecurepassword\n"), worker)
            .replace(
                "\ncannon:\n",
                "\n    setTwilio: |-\n      sid: \"dummy\"\n      token: \"dummy\"\n    setNexmo: |-\n      key: \"dummy\"\n      secret: \"dummy\"\ncannon:\n",
            )
    }

    /// A chart's template: that of the latest shape, edited for the older ones.
    fn template(&self, chart: Chart) -> Option<String> {
        let shape = self.shape();
        let mut text = match chart {
            Chart::DemoSmtp => return None,
            Chart::Smtp if shape < Shape::V532 => include_str!("files/values/smtp-flat.yaml"),
            Chart::Smtp => include_str!("files/values/smtp.yaml"),
            Chart::CassandraExternal
            | Chart::ElasticsearchExternal
            | Chart::MinioExternal
            | Chart::RabbitmqExternal => include_str!("files/values/external.yaml"),
            Chart::PostgresqlExternal => include_str!("files/values/postgresql-external.yaml"),
            Chart::DatabasesEphemeral => include_str!("files/values/databases-ephemeral.yaml"),
            Chart::Reaper => include_str!("files/values/reaper.yaml"),
            Chart::FakeAws => include_str!("files/values/fake-aws.yaml"),
            Chart::WireServer => include_str!("files/values/wire-server.yaml"),
            Chart::Webapp => include_str!("files/values/webapp.yaml"),
            Chart::AccountPages => include_str!("files/values/account-pages.yaml"),
            Chart::TeamSettings => include_str!("files/values/team-settings.yaml"),
            Chart::SmallstepAccomp => include_str!("files/values/smallstep-accomp.yaml"),
            Chart::IngressNginxController => {
                include_str!("files/values/ingress-nginx-controller.yaml")
            }
            Chart::CertManager => include_str!("files/values/cert-manager.yaml"),
            Chart::NginxIngressServices => include_str!("files/values/nginx-ingress-services.yaml"),
            Chart::Sftd => include_str!("files/values/sftd.yaml"),
            Chart::Coturn => include_str!("files/values/coturn.yaml"),
        }
        .to_owned();
        for (from, edited, old, new) in EDITS {
            if shape <= *from && *edited == chart {
                text = text.replace(old, new);
            }
        }
        Some(text)
    }

    /// The public key of the package repository.
    pub(crate) fn key() -> String {
        format!(
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: simulated {KEY_FINGERPRINT} {KEY_CREATED_S} {KEY_EXPIRES_S}\n\n-----END PGP PUBLIC KEY BLOCK-----\n"
        )
    }

    /// The members of the package repository.
    pub(super) fn debs() -> Vec<Member> {
        let public = "debs-jammy/public";
        with_dirs(vec![
            Member::text(&format!("{public}/dists/jammy/InRelease"), "Suite: jammy\n"),
            Member::text(&format!("{public}/gpg"), &Self::key()),
            Member::text(
                &format!("{public}/pool/main/n/ntp/ntp_1_amd64.deb"),
                "deb\n",
            ),
        ])
    }

    /// The members of the archive of binaries.
    pub(super) fn binaries(&self) -> Vec<Member> {
        let version = self.postgresql();
        let mut names: Vec<String> = BINARIES.map(str::to_owned).to_vec();
        names.push(format!("libpq5_{version}_amd64.deb"));
        names.push(format!("postgresql-17_{version}_amd64.deb"));
        names.push("repmgr_5.5.0_all.deb".to_owned());
        names.retain(|name| !self.lacks(name));
        let files = names.iter().map(|name| {
            let path = format!("binaries/{name}");
            Member::file(&path, self.blob(&path, 90))
        });
        with_dirs(files.collect())
    }
}

/// For shapes up to the first column: what stands there instead, by chart.
const EDITS: &[(Shape, Chart, &str, &str)] = &[
    (
        Shape::V523,
        Chart::WireServer,
        "setEnableMLS: true",
        "setEnableMLS: false",
    ),
    (
        Shape::V523,
        Chart::WireServer,
        "            status: disabled",
        "            status: enabled",
    ),
    (
        Shape::V523,
        Chart::WireServer,
        "enableFederation: false",
        "enableFederation: true",
    ),
    (
        Shape::V523,
        Chart::WireServer,
        "    redis:\n      host: databases-ephemeral-redis-ephemeral\n",
        "",
    ),
    (
        Shape::V523,
        Chart::WireServer,
        "    postgresMigration:\n      conversation: cassandra\n      conversationCodes: cassandra\n      teamFeatures: cassandra\n",
        "",
    ),
    (
        Shape::V523,
        Chart::WireServer,
        "      host: cassandra-external\n    postgresql:\n      host: postgresql-external-rw\n      port: \"5432\"\n      user: wire-server\n      dbname: wire-server\n    migrateConversations: false\n",
        "      host: cassandra-external\n",
    ),
    (
        Shape::V523,
        Chart::Sftd,
        "joinCall:\n  replicaCount: 1\n  image:\n    repository: docker.io/bitnamilegacy/nginx\n    tag: \"1.27.3-debian-12-r5\"\n",
        "",
    ),
    (
        Shape::Older,
        Chart::Sftd,
        "replicaCount: 1\n",
        "replicaCount: 3\n",
    ),
    (
        Shape::Older,
        Chart::Coturn,
        "replicaCount: 1\n",
        "replicaCount: 3\n",
    ),
    (
        Shape::Older,
        Chart::Coturn,
        "#coturnFederationListeningIP",
        "coturnFederationListeningIP",
    ),
    (
        Shape::Older,
        Chart::IngressNginxController,
        "    kind: DaemonSet\n    service:\n      type: NodePort\n",
        "",
    ),
];

/// The files with their directories before them, as `tar` lists them.
fn with_dirs(files: Vec<Member>) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for file in files {
        for (at, _) in file.path.match_indices('/') {
            let dir = file.path.get(..at).unwrap_or_default();
            let there = members
                .iter()
                .any(|member| member.path.strip_suffix('/') == Some(dir));
            if !there {
                members.push(Member::dir(dir));
            }
        }
        members.push(file);
    }
    members
}

/// Whether every edit finds what it edits.
#[cfg(test)]
pub(super) fn edits_find(release: &Release) -> bool {
    EDITS.iter().all(|(_, chart, old, _)| {
        let text = release.template(*chart).unwrap_or_default();
        text.contains(old)
    })
}
