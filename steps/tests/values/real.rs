//! The files of a real release: exactly the known paths change, and no other byte.

use std::net::Ipv4Addr;

use serde_json::json;
use wiab_steps::release::{Chart, Release};
use wiab_steps::values::inventory::{self, Hosts, InventoryHost, Role};
use wiab_steps::values::{RenderError, render};
use wiab_steps::yaml::{Document, Origin};

use super::support::{artifact, frame, inputs, line_diff, of, overlay, shown, tree};

/// Per chart: the paths whose value changes in place, and those that are added.
const EXPECTED: [(Chart, &[&str], &[&str]); 18] = [
    (
        Chart::WireServer,
        &[
            "brig.config.externalUrls.nginz",
            "brig.config.externalUrls.teamSettings",
            "brig.config.externalUrls.teamCreatorWelcome",
            "brig.config.externalUrls.teamMemberWelcome",
            "brig.config.optSettings.setFederationDomain",
            "brig.config.optSettings.setSftStaticUrl",
            "brig.config.emailSMS.general.emailSender",
            "brig.config.emailSMS.user.passwordResetUrl",
            "brig.config.emailSMS.user.activationUrl",
            "brig.config.emailSMS.user.smsActivationUrl",
            "brig.config.emailSMS.user.deletionUrl",
            "brig.config.emailSMS.user.invitationUrl",
            "cargohold.config.aws.s3DownloadEndpoint",
            "cargohold.config.settings.federationDomain",
            "galley.config.settings.conversationCodeURI",
            "galley.config.settings.federationDomain",
            "galley.config.settings.featureFlags.mls.defaults.status",
            "galley.config.settings.featureFlags.mlsMigration.defaults.status",
            "nginz.nginx_conf.external_env_domain",
            "nginz.nginx_conf.deeplink.endpoints.backendURL",
            "nginz.nginx_conf.deeplink.endpoints.backendWSURL",
            "nginz.nginx_conf.deeplink.endpoints.teamsURL",
            "nginz.nginx_conf.deeplink.endpoints.accountsURL",
            "spar.config.domain",
            "spar.config.appUri",
            "spar.config.ssoUri",
            "spar.config.contacts[0].email",
            "legalhold.host",
            "legalhold.wireApiHost",
            "background-worker.config.federationDomain",
        ],
        &["brig.turnStatic.v2", "gundeck.config.redis.host"],
    ),
    (
        Chart::Webapp,
        &[
            "config.externalUrls.backendRest",
            "config.externalUrls.backendWebsocket",
            "config.externalUrls.backendDomain",
            "config.externalUrls.backendTeamSettings",
            "config.externalUrls.appHost",
            "envVars.URL_ACCOUNT_BASE",
            "envVars.URL_PRIVACY_POLICY",
            "envVars.URL_SUPPORT_BASE",
            "envVars.URL_TEAMS_BASE",
            "envVars.URL_TEAMS_CREATE",
            "envVars.URL_TERMS_OF_USE_PERSONAL",
            "envVars.URL_TERMS_OF_USE_TEAMS",
            "envVars.URL_WEBSITE_BASE",
            "CSP",
        ],
        &[],
    ),
    (
        Chart::TeamSettings,
        &[
            "config.externalUrls.backendRest",
            "config.externalUrls.backendWebsocket",
            "config.externalUrls.backendDomain",
            "config.externalUrls.appHost",
            "envVars.URL_ACCOUNT_BASE",
            "envVars.URL_WEBAPP_BASE",
            "envVars.URL_WEBSITE_BASE",
            "envVars.WEBSITE_LABEL",
            "CSP",
        ],
        &[],
    ),
    (
        Chart::AccountPages,
        &[
            "config.externalUrls.backendRest",
            "config.externalUrls.backendDomain",
            "config.externalUrls.appHost",
            "envVars.URL_SUPPORT_BASE",
            "envVars.URL_TEAMS_BASE",
            "envVars.URL_WEBAPP_BASE",
            "envVars.URL_WEBSITE_BASE",
            "CSP",
        ],
        &[],
    ),
    (
        Chart::NginxIngressServices,
        &[
            "tls.useCertManager",
            "certManager.certmasterEmail",
            "config.dns.https",
            "config.dns.ssl",
            "config.dns.webapp",
            "config.dns.fakeS3",
            "config.dns.teamSettings",
            "config.dns.accountPages",
        ],
        &[],
    ),
    (
        Chart::Sftd,
        &["allowOrigin", "host"],
        &[
            "joinCall.replicaCount",
            "nodeSelector.\"kubernetes.io/hostname\"",
        ],
    ),
    (
        Chart::Coturn,
        &[
            "coturnTurnExternalIP",
            "coturnTurnListenIP",
            "coturnTurnRelayIP",
        ],
        &["nodeSelector.\"kubernetes.io/hostname\""],
    ),
    (
        Chart::Smtp,
        &[],
        &[
            "smtp.service.type",
            "smtp.service.port",
            "smtp.config.RELAY_NETWORKS",
        ],
    ),
    (Chart::PostgresqlExternal, &[], &[]),
    (Chart::CassandraExternal, &[], &["IPs"]),
    (Chart::ElasticsearchExternal, &[], &["IPs"]),
    (Chart::MinioExternal, &[], &["IPs"]),
    (Chart::RabbitmqExternal, &[], &["IPs"]),
    (Chart::IngressNginxController, &[], &[]),
    (Chart::CertManager, &[], &[]),
    (Chart::FakeAws, &[], &[]),
    (Chart::Reaper, &[], &[]),
    (Chart::DatabasesEphemeral, &[], &[]),
];

/// The twelve policies that all frontends have.
const CSP: [&str; 12] = [
    "CONNECT", "IMG", "SCRIPT", "DEFAULT", "FONT", "FRAME", "MANIFEST", "OBJECT", "MEDIA",
    "PREFETCH", "STYLE", "WORKER",
];

fn expanded(paths: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for path in paths {
        if *path == "CSP" {
            out.extend(
                CSP.iter()
                    .map(|name| format!("envVars.CSP_EXTRA_{name}_SRC")),
            );
        } else {
            out.push((*path).to_owned());
        }
    }
    out
}

#[test]
fn exactly_the_known_paths_change() {
    let tree = tree();
    for (chart, in_place, added) in EXPECTED {
        let mut expected = expanded(in_place);
        expected.extend(expanded(added));
        expected.sort();
        let mut changed = shown(&of(&tree, chart).changed);
        changed.sort();
        assert_eq!(changed, expected, "{chart}");
    }
}

#[test]
fn no_other_byte_changes_comments_included() {
    let tree = tree();
    for (chart, in_place, added) in EXPECTED {
        let before = tree.text(&chart.template()).unwrap();
        let after = of(&tree, chart).text;
        let (gone, come) = line_diff(before, &after);
        let in_place = expanded(in_place);
        assert_eq!(gone.len(), in_place.len(), "{chart}: {gone:?}");
        // Every line that went came back with the same key and comment; the rest was added whole.
        let mut left = come;
        for line in &gone {
            let at = left.iter().position(|new| frame(new) == frame(line));
            let new = left.remove(
                at.unwrap_or_else(|| panic!("{chart}: {line} has no successor in {left:?}")),
            );
            let indent = |line: &str| line.len() - line.trim_start().len();
            assert_eq!(indent(new), indent(line), "{chart}");
        }
        assert_eq!(left.is_empty(), added.is_empty(), "{chart}: {left:?}");
        assert!(
            left.iter().all(|line| !line.trim_start().starts_with('#')),
            "{chart}: {left:?}"
        );
        assert!(left.len() <= 2 * added.len() + 3, "{chart}: {left:?}");
    }
}

#[test]
fn the_values_are_those_of_the_reference() {
    let tree = tree();
    for (chart, path, value) in [
        (
            Chart::WireServer,
            "brig.config.emailSMS.user.activationUrl",
            r#""https://account.wire.example.org/verify/?key=${key}&code=${code}""#,
        ),
        (
            Chart::WireServer,
            "brig.config.externalUrls.teamMemberWelcome",
            r#""https://wire.wire.example.org/download""#,
        ),
        (
            Chart::WireServer,
            "brig.turnStatic.v2",
            r#"["turn:203.0.113.7:3478","turn:203.0.113.7:3478?transport=tcp"]"#,
        ),
        (Chart::WireServer, "brig.config.enableFederation", "true"),
        (
            Chart::WireServer,
            "gundeck.config.redis.host",
            r#""databases-ephemeral-redis-ephemeral""#,
        ),
        (
            Chart::Webapp,
            "envVars.CSP_EXTRA_CONNECT_SRC",
            r#""https://*.wire.example.org, wss://*.wire.example.org""#,
        ),
        (
            Chart::NginxIngressServices,
            "certManager.certmasterEmail",
            r#""admin@example.org""#,
        ),
        (
            Chart::NginxIngressServices,
            "certManager.inTestMode",
            "false",
        ),
        (
            Chart::NginxIngressServices,
            "config.dns.fakeS3",
            r#""assets.wire.example.org""#,
        ),
        (Chart::Sftd, "tls.issuerRef.name", r#""letsencrypt-http01""#),
        (Chart::Sftd, "joinCall", r#"{"replicaCount":1}"#),
        (Chart::Coturn, "coturnTurnExternalIP", r#""203.0.113.7""#),
        (Chart::Coturn, "coturnTurnRelayIP", r#""192.168.122.23""#),
        (
            Chart::Coturn,
            "nodeSelector",
            r#"{"kubernetes.io/hostname":"kubenode3"}"#,
        ),
        (
            Chart::Smtp,
            "smtp.config.RELAY_NETWORKS",
            r#"":10.233.0.0/16""#,
        ),
        (
            Chart::CassandraExternal,
            "IPs",
            r#"["192.168.122.31","192.168.122.32","192.168.122.33"]"#,
        ),
        (
            Chart::PostgresqlExternal,
            "ROIPs",
            r#"["192.168.122.32","192.168.122.33"]"#,
        ),
    ] {
        let rendered = overlay(&of(&tree, chart).text);
        let found = rendered.need(&path.parse().unwrap()).unwrap().to_string();
        assert_eq!(found, value, "{chart} {path}");
    }
}

#[test]
fn a_chart_with_unusable_placeholders_names_them() {
    let tree = tree();
    let release = Release::detect(&tree, "test").unwrap();
    let template = artifact(&Chart::SmallstepAccomp.template());
    let error = render(
        Chart::SmallstepAccomp,
        Some(&template),
        &inputs(),
        &release,
        None,
    )
    .unwrap_err();
    let RenderError::Placeholders { paths, .. } = &error else {
        panic!("{error}");
    };
    assert!(shown(paths).contains(&"stepConfig.dnsName".to_owned()));
    assert!(
        error.to_string().contains("values.d/smallstep-accomp.yaml"),
        "{error}"
    );
}

#[test]
fn the_inventory_changes_at_the_known_paths() {
    let tree = tree();
    let release = Release::detect(&tree, "test").unwrap();
    let template = artifact(inventory::TEMPLATE);
    let names = [
        ("assethost", 10),
        ("kubenode1", 21),
        ("kubenode2", 22),
        ("kubenode3", 23),
        ("datanode1", 31),
        ("datanode2", 32),
        ("datanode3", 33),
    ];
    let mut hosts = Hosts {
        hosts: names.iter().map(|(name, end)| host(name, *end)).collect(),
        interface: "ens3".to_owned(),
        key_file: "ssh/id_ed25519".to_owned(),
        user: None,
        ssh_args: None,
        mtu: 1_500,
    };
    let (text, changed) = inventory::render(&template, &hosts, &release.name, None).unwrap();
    assert_eq!(
        shown(&changed),
        [
            "all.vars.ansible_ssh_private_key_file",
            "assethost.hosts.assethost.ansible_host",
            "kube-node.hosts.kubenode1.ansible_host",
            "kube-node.hosts.kubenode2.ansible_host",
            "kube-node.hosts.kubenode3.ansible_host",
            "datanodes.hosts.datanode1.ansible_host",
            "datanodes.hosts.datanode2.ansible_host",
            "datanodes.hosts.datanode3.ansible_host",
            "cassandra.vars.cassandra_network_interface",
            "elasticsearch.vars.elasticsearch_network_interface",
            "minio.vars.minio_network_interface",
            "rmq-cluster.vars.rabbitmq_network_interface",
            "postgresql.vars.postgresql_network_interface",
        ]
    );
    let (gone, come) = line_diff(&template, &text);
    assert_eq!((gone.len(), come.len()), (12, 13), "{gone:?} {come:?}");
    assert!(
        come.contains(&"    ansible_ssh_private_key_file: ssh/id_ed25519"),
        "{come:?}"
    );

    // The operator's own settings stay, run after run.
    let own = overlay("all:\n  vars:\n    calico_mtu: 1400\n");
    let (text, changed) = inventory::render(&template, &hosts, &release.name, Some(&own)).unwrap();
    assert!(
        shown(&changed).contains(&"all.vars.calico_mtu".to_owned()),
        "{text}"
    );

    hosts.interface = "enp1s0\nx".to_owned();
    assert!(inventory::render(&template, &hosts, &release.name, None).is_err());
}

fn host(name: &str, end: u8) -> InventoryHost {
    InventoryHost {
        name: name.parse().unwrap(),
        role: match &name.as_bytes()[..2] {
            b"as" => Role::Asset,
            b"ku" => Role::Kube,
            _ => Role::Data,
        },
        ip: Ipv4Addr::new(192, 168, 122, end),
        user: None,
        port: None,
    }
}

/// Other names, other numbers, another way in: what the reference transformation of the release's own tests rewrites.
#[test]
fn the_inventory_of_existing_machines_changes_everything_that_names_them() {
    let template = artifact(inventory::TEMPLATE);
    let mut names: Vec<InventoryHost> = [
        ("assethost", 10),
        ("kubenode1", 21),
        ("kubenode2", 22),
        ("kubenode3", 23),
        ("db1", 31),
        ("db2", 32),
        ("db3", 33),
        ("db4", 34),
    ]
    .map(|(name, end)| host(name, end))
    .to_vec();
    names[1].user = Some("ubuntu".to_owned());
    names[2].port = Some(2_222);
    let hosts = Hosts {
        hosts: names,
        interface: "eth0".to_owned(),
        key_file: "ssh/id_ed25519".to_owned(),
        user: Some("wire".to_owned()),
        ssh_args: Some("-o StrictHostKeyChecking=yes".to_owned()),
        mtu: 1_400,
    };
    let (text, _) = inventory::render(&template, &hosts, "test", None).unwrap();
    let document = Document::parse(&text, Origin::file("inventory.yml")).unwrap();
    let at = |path: &str| document.get(&path.parse().unwrap());
    assert!(
        !text.contains("datanode1") && !text.contains("datanode3"),
        "{text}"
    );
    assert!(
        text.contains("# ssh private_key is stored"),
        "comments stay: {text}"
    );
    for (path, value) in [
        ("all.vars.ansible_user", json!("wire")),
        (
            "all.vars.ansible_ssh_common_args",
            json!("-o StrictHostKeyChecking=yes"),
        ),
        (
            "kube-node.hosts.kubenode1",
            json!({"ansible_host": "192.168.122.21", "ansible_user": "ubuntu"}),
        ),
        (
            "kube-node.hosts.kubenode2",
            json!({"ansible_host": "192.168.122.22", "ansible_port": 2_222}),
        ),
        (
            "k8s-cluster.vars",
            json!({"calico_mtu": 1_350, "calico_veth_mtu": 1_350}),
        ),
        ("datanodes.hosts.db4.ansible_host", json!("192.168.122.34")),
        ("cassandra_seed.hosts", json!({"db1": {}})),
        ("postgresql_rw.hosts", json!({"db1": {}})),
        (
            "postgresql_ro.hosts",
            json!({"db2": {}, "db3": {}, "db4": {}}),
        ),
        ("rmq-cluster.vars.rabbitmq_cluster_master", json!("db1")),
        (
            "postgresql.vars.repmgr_node_config.db3",
            json!({"node_id": 3, "priority": 50, "role": "standby"}),
        ),
        (
            "postgresql.vars.repmgr_node_config.db4",
            json!({"node_id": 4, "priority": 40, "role": "standby"}),
        ),
    ] {
        assert_eq!(at(path), Some(value), "{path}\n{text}");
    }

    // Fewer: nothing of the missing ones is left.
    let mut fewer = hosts;
    fewer.hosts.truncate(5);
    let (text, _) = inventory::render(&template, &fewer, "test", None).unwrap();
    let document = Document::parse(&text, Origin::file("inventory.yml")).unwrap();
    let readers = document.get(&"postgresql_ro.hosts".parse().unwrap());
    assert_eq!(readers, Some(json!({})), "{text}");

    // A part of an installation has a part of the groups.
    fewer.hosts.truncate(1);
    fewer.interface.clear();
    let (text, _) = inventory::render(&template, &fewer, "test", None).unwrap();
    let document = Document::parse(&text, Origin::file("inventory.yml")).unwrap();
    let kube = document.get(&"kube-node.hosts".parse().unwrap());
    assert_eq!(kube, Some(json!({})), "{text}");

    fewer.mtu = 100;
    let error = inventory::render(&template, &fewer, "test", None).unwrap_err();
    assert!(error.to_string().contains("MTU"), "{error}");
}
