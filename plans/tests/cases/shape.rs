//! The plan as the settings ask for it: known answers, dependencies, lanes, errors.

use std::collections::{BTreeMap, BTreeSet};

use wiab_engine::plan::{Plan, PlanError, StepSpec};
use wiab_plans::{
    CommandLine, Hairpin, HairpinPolicy, MachineSettings, PlanName, Provider, Settings, SiteStep,
    StagingError, vm_env, wiab_staging,
};
use wiab_steps::kind::BuildError;

const VMS: [&str; 7] = [
    "assethost",
    "kubenode1",
    "kubenode2",
    "kubenode3",
    "datanode1",
    "datanode2",
    "datanode3",
];

fn plan(settings: &Settings) -> Plan {
    wiab_staging(settings).unwrap()
}

fn step<'a>(plan: &'a Plan, id: &str) -> &'a StepSpec {
    let found = plan.steps.iter().find(|step| step.id.as_str() == id);
    found.unwrap_or_else(|| panic!("no step {id}"))
}

fn after<'a>(plan: &'a Plan, id: &str) -> BTreeSet<&'a str> {
    let after = &step(plan, id).after;
    after.iter().map(wiab_engine::id::StepId::as_str).collect()
}

fn site(id: &str, after: &[&str]) -> SiteStep {
    SiteStep {
        id: id.to_owned(),
        after: after.iter().map(|&id| id.to_owned()).collect(),
        run: CommandLine::Shell("true".to_owned()),
        probe: None,
        undo: None,
        timeout: None,
        root: false,
        idempotent: false,
        lanes: vec!["mine".to_owned()],
    }
}

/// Settings of seven machines of somebody's own hypervisor.
pub(crate) fn existing() -> Settings {
    let mut settings = Settings::rehearsal();
    settings.vms.provider = Provider::Existing;
    settings.network.bridge = "br0".to_owned();
    settings.network.address = "10.20.0.1".to_owned();
    for (name, end) in VMS.iter().zip([10, 21, 22, 23, 31, 32, 33]) {
        let mut own = MachineSettings {
            ip: Some(format!("10.20.0.{end}")),
            ..MachineSettings::default()
        };
        if *name == "kubenode2" {
            own.user = Some("ubuntu".to_owned());
            own.port = Some(2_222);
        }
        settings.vms.machines.insert((*name).to_owned(), own);
    }
    settings
}

#[test]
fn existing_machines_are_looked_at_and_nothing_is_made() {
    let plan = plan(&existing());
    let made = [
        "net.",
        "img.base",
        "img.pool",
        "vm.",
        "ssh.hostkey",
        "ssh.known-hosts",
    ];
    for step in &plan.steps {
        let id = step.id.as_str();
        assert!(!made.iter().any(|head| id.starts_with(head)), "{id}");
    }
    assert!(after(&plan, "vms.adopt").is_superset(&BTreeSet::from(["ssh.key", "host.packages"])));
    assert!(after(&plan, "inv.vm-env").contains("vms.adopt"));
    assert!(after(&plan, "hosts.block").contains("vms.adopt"));
    let adopt = &step(&plan, "vms.adopt").inputs;
    assert!(
        adopt.contains(r#""10.20.0.22":{"user":"ubuntu","port":2222}"#),
        "{adopt}"
    );
    let packages = &step(&plan, "host.packages").inputs;
    assert!(
        packages.contains("openssh-client") && !packages.contains("qemu"),
        "{packages}"
    );
    let rule = &step(&plan, "hp.snat").inputs;
    assert!(rule.contains(r#""bridge":"br0""#), "{rule}");
}

/// The whole plan with what each step directly comes after, for people to read and to compare.
#[test]
fn the_plan_has_these_steps_in_this_order() {
    let plan = plan(&Settings::rehearsal());
    let mut after: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for step in &plan.steps {
        after.entry(step.id.to_string()).or_default();
    }
    for (from, to) in wiab_engine::graph::reduced_edges(&plan) {
        after
            .entry(to.to_string())
            .or_default()
            .push(from.to_string());
    }
    let lines = after.iter_mut().map(|(id, before)| {
        before.sort_unstable();
        format!("{id}: {}", before.join(", ")).trim_end().to_owned() + "\n"
    });
    let found: String = lines.collect();
    let written = concat!(env!("CARGO_TARGET_TMPDIR"), "/plan.txt");
    fs_err::write(written, &found).unwrap();
    assert!(
        found == include_str!("plan.txt"),
        "the plan has changed; if it is meant, copy {written} over plans/tests/cases/plan.txt"
    );
}

fn come_after(plan: &Plan, cases: &[(&str, Vec<String>)]) {
    for (id, wanted) in cases {
        assert_eq!(
            after(plan, id),
            wanted.iter().map(String::as_str).collect(),
            "{id}"
        );
    }
}

#[test]
fn steps_of_the_host_come_after_what_they_need() {
    let plan = plan(&Settings::rehearsal());
    let cases: [(&str, Vec<String>); 8] = [
        (
            "dl.artifact",
            ["host.dirs", "host.packages"].map(str::to_owned).to_vec(),
        ),
        ("art.unpack", vec!["dl.artifact".to_owned()]),
        ("art.verify", vec!["art.unpack".to_owned()]),
        (
            "inv.group-vars",
            ["art.unpack", "art.verify", "host.dirs"]
                .map(str::to_owned)
                .to_vec(),
        ),
        // Whatever makes libvirt start a network changes the switch that this step captures.
        ("host.packages", vec!["host.ip-forward".to_owned()]),
        ("host.groups", vec!["host.packages".to_owned()]),
        ("net.default-removed", vec!["host.packages".to_owned()]),
        (
            "net.wirebox",
            [
                "host.dnsmasq-off",
                "host.ip-forward",
                "host.packages",
                "net.default-removed",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
    ];
    come_after(&plan, &cases);
}

#[test]
fn steps_of_machines_come_after_what_they_need() {
    let plan = plan(&Settings::rehearsal());
    let all = |kind: &str| {
        VMS.iter()
            .map(|vm| format!("{kind}:{vm}"))
            .collect::<Vec<_>>()
    };
    let cases: [(&str, Vec<String>); 9] = [
        (
            "ssh.key",
            ["host.dirs", "host.packages"].map(str::to_owned).to_vec(),
        ),
        (
            "ssh.known-hosts",
            [all("ssh.hostkey"), vec!["host.dirs".to_owned()]].concat(),
        ),
        (
            "img.base",
            ["host.packages", "img.pool"].map(str::to_owned).to_vec(),
        ),
        (
            "vm.seed:kubenode1",
            [
                "host.dirs",
                "host.packages",
                "img.pool",
                "ssh.hostkey:kubenode1",
                "ssh.key",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        ("vm.disk:kubenode1", vec!["img.base".to_owned()]),
        (
            "vm.define:kubenode1",
            ["net.wirebox", "vm.disk:kubenode1", "vm.seed:kubenode1"]
                .map(str::to_owned)
                .to_vec(),
        ),
        ("vm.start:kubenode1", vec!["vm.define:kubenode1".to_owned()]),
        (
            "vm.ready:kubenode1",
            ["ssh.key", "ssh.known-hosts", "vm.start:kubenode1"]
                .map(str::to_owned)
                .to_vec(),
        ),
        ("hp.snat", vec!["hp.probe".to_owned()]),
    ];
    come_after(&plan, &cases);
}

#[test]
fn lanes_serialise_what_shares_a_resource() {
    let plan = plan(&Settings::rehearsal());
    for (id, lane) in [
        ("host.packages", Some("host-apt")),
        ("host.ip-forward", Some("host-net")),
        ("hp.rpfilter", Some("host-net")),
        ("hp.snat", Some("host-net")),
        ("net.default-removed", Some("libvirt")),
        ("net.wirebox", Some("libvirt")),
        ("vm.define:datanode3", Some("libvirt")),
        ("vm.start:datanode3", Some("libvirt")),
        ("vm.ready:datanode3", None),
        ("vm.disk:datanode3", None),
        ("img.base", None),
    ] {
        let lanes: Vec<&str> = step(&plan, id)
            .lanes
            .iter()
            .map(|lane| lane.0.as_str())
            .collect();
        assert_eq!(lanes, lane.into_iter().collect::<Vec<_>>(), "{id}");
    }
}

#[test]
fn vm_env_has_seven_lines_in_order() {
    assert_eq!(
        vm_env(&Settings::rehearsal().machines()),
        "export assethost_ip=192.168.122.10\nexport kubenode1_ip=192.168.122.21\nexport kubenode2_ip=192.168.122.22\n\
         export kubenode3_ip=192.168.122.23\nexport datanode1_ip=192.168.122.31\nexport datanode2_ip=192.168.122.32\n\
         export datanode3_ip=192.168.122.33\n"
    );
}

#[test]
fn the_hairpin_policy_and_fewer_vms_shape_the_plan() {
    let mut settings = Settings {
        hairpin: Hairpin {
            policy: HairpinPolicy::Remove,
            ..Hairpin::default()
        },
        ..Settings::rehearsal()
    };
    settings.vms.only = vec!["assethost".to_owned()];
    settings.network.remove_default = false;
    settings.host.install_packages = false;
    let plan = plan(&settings);
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert!(ids.contains(&"hp.removed"));
    for gone in [
        "hp.snat",
        "hp.rpfilter",
        "net.default-removed",
        "host.packages",
        "vm.start:kubenode1",
    ] {
        assert!(!ids.contains(&gone), "{gone}");
    }
    assert_eq!(after(&plan, "img.base"), BTreeSet::from(["img.pool"]));
}

#[test]
fn equal_settings_make_equal_plans_and_sizes_change_only_their_steps() {
    let plain = plan(&Settings::rehearsal());
    assert_eq!(plain.digest(), plan(&Settings::rehearsal()).digest());
    let mut settings = Settings::rehearsal();
    settings.vms.scale = 50;
    let half = plan(&settings);
    let edited: BTreeSet<&str> = plain
        .steps
        .iter()
        .zip(&half.steps)
        .filter(|(old, new)| old.fingerprint() != new.fingerprint())
        .map(|(old, _)| old.id.as_str().split(':').next().unwrap_or_default())
        .collect();
    assert_eq!(
        edited,
        BTreeSet::from(["pre.resources", "vm.define", "vm.disk"])
    );
}

#[test]
fn site_steps_hang_where_they_ask_and_mistakes_are_named() {
    let mut settings = Settings::rehearsal();
    settings
        .steps
        .push(site("site.backup", &["vm.ready:kubenode1"]));
    let made = plan(&settings);
    assert_eq!(
        after(&made, "site.backup"),
        BTreeSet::from(["vm.ready:kubenode1"])
    );
    assert_eq!(step(&made, "site.backup").lanes[0].0, "mine");

    settings.steps = vec![site("site.backup", &["vm.ready:kubenod1"])];
    let error = wiab_staging(&settings).unwrap_err();
    assert!(matches!(
        error,
        StagingError::Build(BuildError::Plan(PlanError::Dangling { .. }))
    ));
    assert!(
        error
            .to_string()
            .contains("did you mean `vm.ready:kubenode1`?"),
        "{error}"
    );

    settings.plan = PlanName::Steps;
    settings.steps = vec![site("a", &["b"]), site("b", &["a"])];
    let error = wiab_staging(&settings).unwrap_err();
    assert!(matches!(
        error,
        StagingError::Build(BuildError::Plan(PlanError::Cycle { .. }))
    ));

    settings.steps = vec![site("a", &[]), site("a", &[])];
    let error = wiab_staging(&settings).unwrap_err();
    assert!(matches!(
        error,
        StagingError::Build(BuildError::Plan(PlanError::Duplicate { .. }))
    ));
}

#[test]
fn wrong_settings_make_no_plan() {
    let mut settings = Settings::rehearsal();
    settings.vms.only = vec!["nobody".to_owned()];
    let StagingError::Settings(problems) = wiab_staging(&settings).unwrap_err() else {
        panic!("not the settings' fault");
    };
    assert_eq!(problems.len(), 1);
}

#[test]
fn packages_are_upgraded_only_if_asked_for_and_before_all_others() {
    let mut settings = Settings::rehearsal();
    let absent = plan(&settings);
    assert!(
        !absent
            .steps
            .iter()
            .any(|step| step.id.as_str() == "host.dist-upgrade")
    );
    settings.host.dist_upgrade = true;
    let asked = plan(&settings);
    let upgrade = step(&asked, "host.dist-upgrade");
    assert!(matches!(
        upgrade.undo,
        wiab_engine::outcome::UndoClass::Irreversible { .. }
    ));
    assert!(after(&asked, "host.packages").contains("host.dist-upgrade"));
    settings.host.install_packages = false;
    let problems = settings.problems();
    assert_eq!(problems[0].key, "packages.dist_upgrade");
}

#[test]
fn lists_are_only_changed_where_the_pool_is_in_the_home() {
    let mut settings = Settings::rehearsal();
    let has = |settings: &Settings| {
        let plan = plan(settings);
        plan.steps.iter().any(|step| step.id.as_str() == "host.acl")
    };
    for elsewhere in [
        "/var/lib/libvirt/images",
        "/home/demolition/pool",
        "/srv/home/demo/pool",
    ] {
        settings.vms.pool = elsewhere.to_owned();
        assert!(!has(&settings), "{elsewhere}");
    }
    settings.vms.pool = "/home/demo/vm/pool/".to_owned();
    let plan = plan(&settings);
    let wanted = r#""dirs":["/home/demo","/home/demo/vm","/home/demo/vm/pool"]"#;
    assert!(step(&plan, "host.acl").inputs.contains(wanted));
    assert!(after(&plan, "host.acl").is_superset(&BTreeSet::from(["host.packages", "img.pool"])));
    assert!(after(&plan, "img.base").contains("host.acl"));
    assert!(after(&plan, "vm.seed:kubenode1").contains("host.acl"));
    assert!(step(&plan, "host.packages").inputs.contains(r#""acl""#));
    let mut existing = existing();
    existing.vms.pool = settings.vms.pool;
    assert!(!has(&existing));
}

#[test]
fn a_new_password_is_the_database_s_and_the_cluster_s_before_wire_server_gets_it() {
    let mut settings = Settings::rehearsal();
    let back = |settings: &Settings| step(&plan(settings), "helm.wire-server").inputs.clone();
    assert!(!back(&settings).contains("back_unwaited"));
    settings.rotation = Some(wiab_plans::Rotation {
        label: "x".to_owned(),
        secrets: vec!["postgresql_wire".to_owned()],
    });
    let plan = plan(&settings);
    assert!(after(&plan, "rot.pg-password").contains("rot.seal"));
    assert!(after(&plan, "rot.pg-secrets").contains("rot.pg-password"));
    assert!(after(&plan, "helm.wire-server").contains("rot.pg-secrets"));
    // On the way back the pods get the former password after they are asked for.
    assert!(back(&settings).contains(r#""back_unwaited":true"#));
    assert!(!step(&plan, "helm.webapp").inputs.contains("back_unwaited"));
}
