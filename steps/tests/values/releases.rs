//! Other releases: made from this one's files by the differences that are known.

use wiab_steps::release::{Chart, JoinCall, Mls, Release, SmtpShape, Tree};
use wiab_steps::values::render;

use super::support::{inputs, of, overlay, shown, tree};

/// Changes one file of a tree; the old text must be there.
fn edited(tree: &mut Tree, path: &str, old: &str, new: &str) {
    let text = tree.files.get_mut(path).unwrap();
    assert!(text.contains(old), "{path} has no {old:?}");
    *text = text.replace(old, new);
}

/// The shape of later releases.
fn later() -> Tree {
    let mut tree = tree();
    let wire = Chart::WireServer.template();
    edited(
        &mut tree,
        &wire,
        "setEnableMLS: false",
        "setEnableMLS: true",
    );
    edited(
        &mut tree,
        &wire,
        "            status: enabled",
        "            status: disabled",
    );
    edited(
        &mut tree,
        &wire,
        "gundeck:\n  replicaCount: 3\n",
        "gundeck:\n  replicaCount: 3 # three\n",
    );
    edited(
        &mut tree,
        &wire,
        "    aws:\n      # change if using real AWS\n      account:",
        "    redis:\n      host: databases-ephemeral-redis-ephemeral # new\n    aws:\n      account:",
    );
    let smtp = Chart::Smtp.template();
    tree.files.insert(
        smtp,
        "smtp:\n  service:\n    port: 25\n  config:\n    RELAY_NETWORKS: \":10.233.0.0/16\"\n"
            .to_owned(),
    );
    let sftd = tree.files.get_mut(&Chart::Sftd.template()).unwrap();
    sftd.push_str("\njoinCall:\n  replicaCount: 1\n  image:\n    repository: docker.io/bitnamilegacy/nginx\n    tag: \"1.27.3\"\n");
    let secrets = "values/wire-server/prod-secrets.example.yaml";
    edited(
        &mut tree,
        secrets,
        "background-worker:\n  secrets:\n",
        "background-worker:\n  secrets:\n    pgPassword: x\n",
    );
    edited(
        &mut tree,
        "ansible/inventory/demo/wiab-staging.yml",
        "    artifact_hash",
        "    private_deployment: true\n    artifact_hash",
    );
    tree
}

#[test]
fn features_are_told_by_the_files() {
    let seed = Release::detect(&tree(), "e5e1").unwrap();
    assert_eq!(seed.name, "wire-server 5.23.0, artifact e5e1");
    assert_eq!(seed.wire_server.as_deref(), Some("5.23.0"));
    assert_eq!(seed.artifact_hash.unwrap().len(), 40);
    assert_eq!(seed.charts.len(), Chart::ALL.len() - 1);
    let features = seed.features;
    assert_eq!(features.smtp, Some(SmtpShape::Flat));
    assert_eq!(features.background_worker_pg, Some(false));
    assert_eq!(features.join_call, Some(JoinCall::ChartDefault));
    assert_eq!(
        features.mls,
        Some(Mls {
            brig: false,
            galley: true
        })
    );
    assert_eq!(features.redis_host, Some(false));
    assert_eq!(features.private_deployment, None);
    assert_eq!(features.acmesolver, None);
    assert!(features.smallstep);

    let mut tree = later();
    tree.files.insert(
        "versions/helm_image_tree.json".to_owned(),
        r#"[{"chart": "x", "images": ["quay.io/jetstack/cert-manager-acmesolver:v1.16.3"]}]"#
            .to_owned(),
    );
    let features = Release::detect(&tree, "later").unwrap().features;
    assert_eq!(features.smtp, Some(SmtpShape::Nested));
    assert_eq!(features.background_worker_pg, Some(true));
    assert_eq!(features.join_call, Some(JoinCall::Pinned));
    assert_eq!(
        features.mls,
        Some(Mls {
            brig: true,
            galley: false
        })
    );
    assert_eq!(features.redis_host, Some(true));
    assert_eq!(features.private_deployment, Some(true));
    assert_eq!(features.acmesolver, Some(true));

    let nothing = Release::detect(&Tree::default(), "empty").unwrap();
    assert_eq!(nothing.name, "artifact empty");
    assert_eq!(nothing.features.smtp, None);
}

#[test]
fn every_wanted_file_is_looked_at_and_those_of_one_chart_suffice() {
    let whole = tree();
    assert!(whole.files.keys().all(|path| Tree::wanted().contains(path)));
    for chart in Chart::ALL
        .into_iter()
        .filter(|chart| !chart.bare() && *chart != Chart::SmallstepAccomp)
    {
        let few = Tree {
            files: Tree::wanted_for(chart)
                .into_iter()
                .filter_map(|path| Some((path.clone(), whole.text(&path)?.to_owned())))
                .collect(),
        };
        assert_eq!(of(&few, chart), of(&whole, chart), "{chart}");
    }
}

#[test]
fn later_releases_need_fewer_changes() {
    let tree = later();
    let changed = shown(&of(&tree, Chart::WireServer).changed);
    for settled in [
        "gundeck.config.redis.host",
        "galley.config.settings.featureFlags.mls.defaults.status",
    ] {
        assert!(!changed.contains(&settled.to_owned()), "{changed:?}");
    }
    assert!(of(&tree, Chart::Smtp).changed.is_empty());
    let sftd = shown(&of(&tree, Chart::Sftd).changed);
    assert_eq!(
        sftd,
        [
            "allowOrigin",
            "host",
            "nodeSelector.\"kubernetes.io/hostname\""
        ]
    );
}

#[test]
fn an_older_release_gets_the_staging_values() {
    let mut tree = tree();
    let coturn = Chart::Coturn.template();
    edited(
        &mut tree,
        &coturn,
        "replicaCount: 1\n#",
        "replicaCount: 3\n#",
    );
    edited(
        &mut tree,
        &coturn,
        "#coturnFederationListeningIP",
        "coturnFederationListeningIP",
    );
    edited(
        &mut tree,
        &Chart::Sftd.template(),
        "\nreplicaCount: 1\n",
        "\nreplicaCount: 3 # three\n",
    );
    edited(
        &mut tree,
        &Chart::IngressNginxController.template(),
        "    kind: DaemonSet\n    service:\n      type: NodePort\n",
        "",
    );
    let rendered = of(&tree, Chart::Coturn);
    let changed = shown(&rendered.changed);
    assert!(changed.contains(&"replicaCount".to_owned()), "{changed:?}");
    assert!(
        changed.contains(&"coturnFederationListeningIP".to_owned()),
        "{changed:?}"
    );
    assert!(!rendered.text.contains("\ncoturnFederationListeningIP"));
    assert!(
        of(&tree, Chart::Sftd)
            .text
            .contains("\nreplicaCount: 1 # three\n")
    );
    assert_eq!(
        shown(&of(&tree, Chart::IngressNginxController).changed),
        [
            "ingress-nginx.controller.kind",
            "ingress-nginx.controller.service.type"
        ]
    );

    tree.files.insert(
        "versions/helm_image_tree.json".to_owned(),
        r#"[{"images": ["a/b:1", "docker.io/bitnamilegacy/nginx:1.27.3-debian-12-r5"]}]"#
            .to_owned(),
    );
    let sftd = of(&tree, Chart::Sftd).text;
    assert!(
        sftd.contains("  image:\n    repository: docker.io/bitnamilegacy/nginx\n    tag: 1.27.3-debian-12-r5\n"),
        "{sftd}"
    );
}

#[test]
fn unknown_shapes_name_file_path_line_and_release() {
    let wire = Chart::WireServer.template();
    let cases: [(&str, &str, &str, &str); 7] = [
        (
            &wire,
            "      nginz: https://nginz-https.example.com # change this\n",
            "",
            "`brig.config.externalUrls.nginz`",
        ),
        (
            &wire,
            "domain: example.com\n    appUri",
            "domain: wire.com\n    appUri",
            "`spar.config.domain`",
        ),
        (
            &wire,
            "setEnableMLS: false",
            "setEnableMLS: maybe",
            "true or false",
        ),
        (&wire, "brig:\n", "brig: &b\n", "anchors"),
        (&wire, "  smtp:\n", "  smtp:\n      - host: \"\n", "line "),
        (
            &Chart::Smtp.template(),
            "RELAY_NETWORKS",
            "RELAYS",
            "neither",
        ),
        (
            &Chart::Sftd.description(),
            "name: sftd",
            "name: other",
            "the name `sftd`",
        ),
    ];
    for (path, old, new, says) in cases {
        let mut tree = tree();
        edited(&mut tree, path, old, new);
        let charts = [Chart::WireServer, Chart::Smtp, Chart::Sftd];
        let error = match Release::detect(&tree, "abc") {
            Err(error) => error.to_string(),
            Ok(release) => charts
                .into_iter()
                .find_map(|chart| {
                    render(
                        chart,
                        tree.text(&chart.template()),
                        &inputs(),
                        &release,
                        None,
                    )
                    .err()
                })
                .unwrap_or_else(|| panic!("{path}: {new:?} was accepted"))
                .to_string(),
        };
        assert!(error.contains(path) && error.contains(says), "{error}");
        assert!(error.contains("abc"), "{error}");
    }
}

#[test]
fn the_operators_layer_is_the_last() {
    let tree = tree();
    let release = Release::detect(&tree, "abc").unwrap();
    let with = |text: &str| {
        let chart = Chart::WireServer;
        render(
            chart,
            tree.text(&chart.template()),
            &inputs(),
            &release,
            Some(&overlay(text)),
        )
    };
    let plain = of(&tree, Chart::WireServer);
    let rendered = with(
        "# mine\nbrig:\n  replicaCount: 1\n  config:\n    smtp: {host: mail.example.net, port: 587}\n  turnStatic:\n    v2: [\"turn:198.51.100.9:3478\"]\nown:\n  new: {a: [1, {b: c}]}\n",
    )
    .unwrap();
    let read = overlay(&rendered.text);
    for (path, value) in [
        ("brig.replicaCount", "1"),
        (
            "brig.config.smtp",
            r#"{"host":"mail.example.net","port":587,"connType":"plain"}"#,
        ),
        ("brig.turnStatic.v2", r#"["turn:198.51.100.9:3478"]"#),
        ("own.new.a", r#"[1,{"b":"c"}]"#),
    ] {
        assert_eq!(
            read.need(&path.parse().unwrap()).unwrap().to_string(),
            value
        );
    }
    assert!(
        rendered
            .text
            .contains("      port: 587        # change this\n"),
        "{}",
        rendered.text
    );
    assert!(rendered.text.contains("# - \"turn:<IP of coturn1>:3478\""));
    assert_ne!(rendered.digest, plain.digest);
    assert_eq!(with("# nothing\n").unwrap(), plain);

    for (text, says) in [
        ("brig:\n  x: yes\n", "`yes` means different things"),
        ("- a\n", "expected a mapping"),
        (
            "brig:\n  config:\n    externalUrls:\n      nginz: https://example.com\n",
            "still holds placeholders at `brig.config.externalUrls.nginz`",
        ),
    ] {
        let error = with(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn missing_inputs_and_templates_are_said() {
    let tree = tree();
    let release = Release::detect(&tree, "abc").unwrap();
    let mut inputs = inputs();
    inputs.calling = None;
    inputs.data_nodes.clear();
    let failed = |chart: Chart, template: Option<&str>| {
        render(chart, template, &inputs, &release, None)
            .unwrap_err()
            .to_string()
    };
    let text = |chart: Chart| tree.text(&chart.template());
    assert!(failed(Chart::Sftd, text(Chart::Sftd)).contains("node of the calling services"));
    assert!(failed(Chart::Coturn, text(Chart::Coturn)).contains("node of the calling services"));
    assert!(failed(Chart::MinioExternal, text(Chart::MinioExternal)).contains("data nodes"));
    assert!(
        failed(Chart::Webapp, None)
            .contains("values/webapp/prod-values.example.yaml is missing in wire-server 5.23.0")
    );
    let bare = render(Chart::DemoSmtp, None, &inputs, &release, None).unwrap();
    assert_eq!((bare.text.as_str(), bare.changed.len()), ("", 0));
    let wire = render(
        Chart::WireServer,
        text(Chart::WireServer),
        &inputs,
        &release,
        None,
    )
    .unwrap();
    assert!(!shown(&wire.changed).contains(&"brig.turnStatic.v2".to_owned()));
}
