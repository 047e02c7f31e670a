//! Certificates that heal themselves, and the rehearsal that comes before them, in runs of the whole plan.

use wiab_engine::event::{CureOutcome, Event};
use wiab_engine::outcome::Outcome;
use wiab_plans::{HairpinPolicy, Settings};
use wiab_steps::host::sim::{Machine, Phase, Points};

use super::{Site, Trouble};

/// Nobody adds the hairpin rule beforehand.
fn without_rule() -> Site {
    let mut settings = Settings::rehearsal();
    settings.hairpin.policy = HairpinPolicy::Off;
    Site::new(&settings, Machine::fresh())
}

fn watched(points: &Points) -> Trouble {
    Trouble {
        tap: Some(points.clone()),
        ..Trouble::default()
    }
}

/// Cured, paid, and gone.
fn healed(site: &Site) {
    let events = site.log.events();
    let tried =
        |event: &Event| matches!(event, Event::CureTried(tried) if tried.cause == "hairpin");
    assert!(events.iter().any(tried), "not cured");
    // Who dies beside the rule does not see that it works; the certificate is there all the same.
    let failed = |event: &Event| matches!(event, Event::CureEnded(ended) if ended.outcome != CureOutcome::Worked);
    assert!(!events.iter().any(failed), "the cure did not work");
    let (mut opened, mut settled) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::ObligationOpened(one) => opened.push(one.id),
            Event::ObligationSettled(one) => settled.push(one.id),
            _ => {}
        }
    }
    assert_eq!(opened, ["cert.hairpin-rule"]);
    assert_eq!(opened, settled);
    let left = site.machine.canonical_state().to_string();
    assert!(!left.contains("wiab_hairpin"), "the rule is still there");
}

#[test]
fn a_missing_hairpin_rule_is_added_for_the_time_of_issuance_wherever_wiab_dies() {
    let mut site = without_rule();
    let points = Points::record();
    let outcome = site.run(watched(&points));
    assert_eq!((outcome, site.failures()), (Outcome::Completed, Vec::new()));
    healed(&site);
    // The rule comes and goes by the last two scripts that nft loads.
    let seen = points.seen();
    let mut loads: Vec<u64> = seen
        .iter()
        .filter(|point| point.what.contains("nft -f -") && point.phase == Phase::AfterEffect)
        .map(|point| point.index)
        .collect();
    let last = loads.split_off(loads.len() - 2);
    for index in last {
        let mut site = without_rule();
        site.killed(Points::die_at(index));
        let outcome = site.run(Trouble::default());
        assert_eq!(
            (outcome, site.failures()),
            (Outcome::Completed, Vec::new()),
            "{index}"
        );
        healed(&site);
    }
}

#[test]
fn the_test_service_issues_first_and_mistakes_use_up_no_limit() {
    let mut settings = Settings::rehearsal();
    settings.certs.rehearse = true;
    let mut site = Site::new(&settings, Machine::fresh());
    let missing = |machine: Machine| machine.with_name("webapp.staging.example.org", &[], &[]);
    let outcome = site.run(Trouble {
        meddle: Some(("cert.rehearse", missing)),
        ..Trouble::default()
    });
    assert_eq!(outcome, Outcome::FailedKept);
    let failures = site.failures();
    let (step, failure) = failures.first().unwrap();
    assert_eq!(
        (step.as_str(), failure.code.as_str()),
        ("cert.rehearse", "cert.nosuchname")
    );
    assert!(failure.why.contains("uses up no limit"), "{failure:?}");
    let asked = |event: &Event| matches!(event, Event::StepStarted(started) if started.step.as_str() == "helm.nginx-ingress-services");
    assert!(!site.log.events().iter().any(asked), "asked in earnest");
    site.change(|machine| machine.with_name("webapp.staging.example.org", &["203.0.113.10"], &[]));
    let outcome = site.run(Trouble::default());
    assert_eq!((outcome, site.failures()), (Outcome::Completed, Vec::new()));
    assert!(site.log.events().iter().any(asked));
    let state = site.machine.canonical_state();
    let left: Vec<&String> = state
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.contains("wiab-rehearsal") && !name.contains("ConfigMap"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
