//! The charts as a part of a plan: which releases, after what.

use std::collections::BTreeSet;

use wiab_engine::id::StepId;
use wiab_engine::plan::Plan;
use wiab_plans::{ChartNeeds, ChartSettings, Settings, charts};
use wiab_steps::kind::{Input, PlanBuilder};
use wiab_steps::kinds::command::Command;
use wiab_steps::kinds::tool::Toolbox;

/// Steps that stand for those before the charts.
const BEFORE: [&str; 6] = [
    "host.dirs",
    "k8s.verify",
    "k8s.seed-helm",
    "data.verify",
    "fw.verify",
    "hp.snat",
];

fn id(text: &str) -> StepId {
    StepId::new(text).unwrap()
}

fn plan(charts_of: ChartSettings) -> Plan {
    let settings = Settings {
        charts: charts_of,
        ..Settings::rehearsal()
    };
    assert_eq!(settings.problems(), []);
    let mut plan = PlanBuilder::new("charts");
    for name in BEFORE {
        let command = Command {
            run: vec!["true".to_owned()],
            probe: None,
            undo: None,
            timeout_ms: 1_000,
            root: false,
            idempotent: true,
        };
        plan.add(name, &[], &command);
    }
    let needs = ChartNeeds {
        tools: Toolbox {
            image: Input::Value("image:1".to_owned()),
            tree: Input::Value("/srv/tree".to_owned()),
            deploy: settings.deploy_dir(),
        },
        artifact: "test".to_owned(),
        values_dir: id("host.dirs"),
        cluster: id("k8s.verify"),
        images: vec![id("k8s.seed-helm")],
        data: vec![id("data.verify")],
        secrets: Vec::new(),
        traffic: vec![id("fw.verify"), id("hp.snat")],
    };
    charts(&mut plan, &settings, &needs);
    plan.finish().unwrap()
}

/// Everything that a step comes after, however far before it.
fn before(plan: &Plan, name: &str) -> BTreeSet<String> {
    let step = plan.steps.iter().find(|step| step.id.as_str() == name);
    let step = step.unwrap_or_else(|| panic!("no step {name}"));
    let mut all = BTreeSet::new();
    for after in &step.after {
        all.insert(after.to_string());
        all.extend(before(plan, after.as_str()));
    }
    all
}

#[test]
fn each_chart_comes_after_what_it_really_needs() {
    let plan = plan(ChartSettings::default());
    let wants: &[(&str, &[&str], &[&str])] = &[
        (
            "helm.wire-server",
            &[
                "helm.cassandra-external",
                "helm.elasticsearch-external",
                "helm.minio-external",
                "helm.rabbitmq-external",
                "helm.postgresql-external",
                "helm.fake-aws",
                "helm.smtp",
                "helm.databases-ephemeral",
                "data.verify",
                "helm.values:wire-server",
            ],
            &["helm.webapp", "helm.ingress-nginx-controller", "fw.verify"],
        ),
        (
            "helm.webapp",
            &["k8s.verify", "k8s.seed-helm"],
            &["helm.wire-server", "data.verify"],
        ),
        (
            "helm.cert-manager",
            &["ns.cert-manager"],
            &["helm.ingress-nginx-controller"],
        ),
        (
            "helm.nginx-ingress-services",
            &[
                "cm.webhook-ready",
                "helm.ingress-nginx-controller",
                "fw.verify",
                "hp.snat",
            ],
            &["helm.wire-server"],
        ),
        (
            "helm.sftd",
            &["node.annotate", "helm.nginx-ingress-services"],
            &["helm.wire-server"],
        ),
        ("helm.coturn", &["node.annotate"], &["fw.verify"]),
        (
            "helm.reaper",
            &["helm.wire-server", "helm.databases-ephemeral"],
            &["fw.verify"],
        ),
    ];
    for (name, after, beside) in wants {
        let all = before(&plan, name);
        for other in *after {
            assert!(all.contains(*other), "{name} must come after {other}");
        }
        for other in *beside {
            assert!(!all.contains(*other), "{name} need not wait for {other}");
        }
    }
}

#[test]
fn the_settings_say_which_charts() {
    let names = |settings: ChartSettings| -> BTreeSet<String> {
        let plan = plan(settings);
        plan.steps.iter().map(|step| step.id.to_string()).collect()
    };
    let usual = names(ChartSettings::default());
    assert!(usual.contains("helm.smtp") && !usual.contains("helm.demo-smtp"));
    assert!(!usual.contains("helm.smallstep-accomp"));
    let other = names(ChartSettings {
        skip: vec!["reaper".to_owned()],
        smtp: "demo-smtp".to_owned(),
        calling_node: String::new(),
        smallstep_accomp: true,
        ..ChartSettings::default()
    });
    assert!(other.contains("helm.demo-smtp") && !other.contains("helm.smtp"));
    assert!(other.contains("helm.smallstep-accomp") && !other.contains("helm.reaper"));
    for gone in ["helm.sftd", "helm.coturn", "node.annotate"] {
        assert!(!other.contains(gone), "{gone}");
    }
    let wrong = Settings {
        charts: ChartSettings {
            skip: vec!["webap".to_owned()],
            smtp: "mail".to_owned(),
            calling_node: "assethost".to_owned(),
            timeout_s: 1,
            ..ChartSettings::default()
        },
        ..Settings::rehearsal()
    };
    let keys: Vec<String> = wrong
        .problems()
        .into_iter()
        .map(|problem| problem.key)
        .collect();
    assert_eq!(
        keys,
        [
            "charts.skip",
            "charts.smtp",
            "charts.calling_node",
            "charts.timeout_s"
        ]
    );
}
