//! The files of a real release: exactly the known paths change, and no other byte.

use std::net::Ipv4Addr;

use wiab_steps::release::{Chart, Release};
use wiab_steps::values::inventory::{self, Hosts};
use wiab_steps::values::{RenderError, render};

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
        addresses: names
            .iter()
            .map(|(name, end)| (name.parse().unwrap(), Ipv4Addr::new(192, 168, 122, *end)))
            .collect(),
        interface: "ens3".to_owned(),
        primary: "datanode1".parse().unwrap(),
        key_file: "ssh/id_ed25519".to_owned(),
    };
    let (text, changed) = inventory::render(&template, &hosts, &release, None).unwrap();
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
    let (text, changed) = inventory::render(&template, &hosts, &release, Some(&own)).unwrap();
    assert!(
        shown(&changed).contains(&"all.vars.calico_mtu".to_owned()),
        "{text}"
    );

    hosts.interface = "enp1s0\nx".to_owned();
    assert!(inventory::render(&template, &hosts, &release, None).is_err());
    hosts.interface = "enp1s0".to_owned();
    hosts.addresses.remove(&"datanode3".parse().unwrap());
    let error = inventory::render(&template, &hosts, &release, None).unwrap_err();
    assert!(error.to_string().contains("`datanode3`"), "{error}");
    hosts
        .addresses
        .insert("datanode3".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 3));
    hosts
        .addresses
        .insert("datanode4".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 4));
    let error = inventory::render(&template, &hosts, &release, None).unwrap_err();
    assert!(error.to_string().contains("datanode4"), "{error}");
}
