//! The failures that cannot happen any more: the run completes, and the harm is not there.

use serde_json::json;
use wiab_engine::event::Event;
use wiab_engine::outcome::Outcome;
use wiab_plans::{ARTIFACT_HASH, Settings};
use wiab_steps::host::sim::{Action, Fault, Machine, Phase, Point, Points};

use super::{Site, Trouble};

/// A release from before the scripts of the present procedure.
const OLDER: &str = "e5e1919173f6fe2b56034a57e2dc59e8343e8b8e";

/// Number and test of each.
const CASES: [(u8, fn()); 10] = [
    (4, no_variable_is_ignored),
    (6, no_older_image_is_used),
    (7, a_second_run_changes_nothing),
    (9, a_half_finished_release_is_recovered),
    (10, server_and_clients_agree_on_the_protocol),
    (14, a_lock_that_is_let_go_is_waited_for),
    (15, an_application_that_does_not_serve_is_noticed),
    (18, writes_since_a_failover_stay),
    (19, a_restart_of_the_host_is_survived),
    (23, a_playbook_that_goes_on_is_not_started_again),
];

fn fresh() -> Site {
    Site::new(&Settings::rehearsal(), Machine::fresh())
}

/// A finished installation.
fn installed() -> Site {
    let mut site = fresh();
    completes(&mut site, Trouble::default());
    site
}

fn completes(site: &mut Site, trouble: Trouble) {
    let outcome = site.run(trouble);
    assert_eq!((outcome, site.failures()), (Outcome::Completed, Vec::new()));
}

/// A new run with the same settings.
fn again(site: &mut Site) {
    let outcome = site.again(&Settings::rehearsal());
    assert_eq!((outcome, site.failures()), (Outcome::Completed, Vec::new()));
}

/// 4: a setting that is misspelt is refused, and none leaves an example in what is installed.
fn no_variable_is_ignored() {
    let misspelt = serde_json::from_value::<Settings>(json!({"domian": "wire.example.org"}));
    assert!(misspelt.unwrap_err().to_string().contains("domian"));
    let site = installed();
    let state = site.machine.canonical_state();
    let mut seen = 0;
    for (name, value) in state.as_object().unwrap() {
        let text = value.to_string();
        let ours = ["values", "KubeObject", "Release", "release"]
            .iter()
            .any(|part| name.contains(part));
        if !ours || name.contains("example.yaml") || name.contains(".d/") {
            continue;
        }
        seen += usize::from(text.contains("staging.example.org"));
        assert!(
            !text.contains("example.com") && !text.contains("example.dev"),
            "{name}: {text}"
        );
    }
    assert!(seen > 5, "{seen}");
}

/// 6: the tool image of an earlier release is neither used nor removed.
fn no_older_image_is_used() {
    let old = "quay.io/wire/wire-server-deploy:old";
    let machine = Machine::fresh()
        .with_packages(&["docker.io"])
        .with_docker_image(old, "old tools");
    let mut site = Site::new(&Settings::rehearsal(), machine);
    let points = Points::record();
    completes(&mut site, watched(&points));
    let seen = points.seen();
    let mut used = seen
        .iter()
        .filter(|point| point.what.contains("docker run"))
        .peekable();
    assert!(used.peek().is_some());
    assert!(used.all(|point| !point.what.contains(old)));
    let state = site.machine.canonical_state();
    assert!(
        state
            .as_object()
            .unwrap()
            .keys()
            .any(|name| name.ends_with(old))
    );
}

fn watched(points: &Points) -> Trouble {
    Trouble {
        tap: Some(points.clone()),
        ..Trouble::default()
    }
}

/// 7: neither secrets nor values change when everything is applied once more.
fn a_second_run_changes_nothing() {
    let mut site = installed();
    let before = site.machine.canonical_state();
    again(&mut site);
    let after = site.machine.canonical_state();
    for (name, value) in before.as_object().unwrap() {
        assert_eq!(after.get(name), Some(value), "{name}");
    }
    let changed = site
        .log
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::StepCaptured(captured) => Some(captured.step),
            _ => None,
        });
    assert_eq!(changed.collect::<Vec<_>>(), []);
}

/// 9: helm hangs and is stopped in the middle; what it leaves is recovered.
fn a_half_finished_release_is_recovered() {
    let mut site = fresh();
    let trouble = Trouble {
        faults: vec![Fault::once("*helm upgrade*webapp*", Action::Hang)],
        ..Trouble::default()
    };
    let outcome = site.run(trouble);
    let failed = site.log.events().into_iter().any(
        |event| matches!(event, Event::StepFailed(failed) if failed.step.as_str() == "helm.webapp"),
    );
    assert!(failed, "the fault hit nothing");
    if outcome != Outcome::Completed {
        completes(&mut site, Trouble::default());
    }
    let left = site.machine.canonical_state().to_string();
    assert!(left.contains("\"webapp\"") && !left.contains("pending-"));
}

/// 14: unattended upgrades end by themselves.
fn a_lock_that_is_let_go_is_waited_for() {
    let machine = Machine::fresh().with_apt_lock(812, "unattended-upgr", 200_000);
    completes(
        &mut Site::new(&Settings::rehearsal(), machine),
        Trouble::default(),
    );
}

/// 15: an installation that stopped to serve does not pass for a good one; what it lacks is brought again.
fn an_application_that_does_not_serve_is_noticed() {
    let mut site = installed();
    site.change(|machine| machine.with_node_images("kubenode1", &[]));
    again(&mut site);
    let images = site.machine.inside("kubenode1/images").unwrap();
    assert!(images.to_string().contains("wire/webapp:"), "{images}");
}

const CONTROL: &str = "/file//var/lib/postgresql/17/main/global/pg_control";
const STANDBY: &str = "/file//var/lib/postgresql/17/main/standby.signal";

/// The second node of PostgreSQL was promoted and has taken writes.
fn failed_over(machine: Machine) -> Machine {
    let control =
        json!({"text": "{\"system\":\"7432100000000000001\",\"timeline\":2,\"writes\":5}"});
    let mut machine = machine;
    for node in ["datanode1", "datanode2", "datanode3"] {
        let standby = (node != "datanode2").then(|| json!({"text": ""}));
        machine = machine
            .with_inside(&format!("{node}{CONTROL}"), Some(control.clone()))
            .with_inside(&format!("{node}{STANDBY}"), standby);
    }
    machine
}

/// 18: the playbook that would make the first node the primary again does not run.
fn writes_since_a_failover_stay() {
    let mut site = installed();
    site.change(failed_over);
    again(&mut site);
    for node in ["datanode1", "datanode2", "datanode3"] {
        for harm in ["data-wiped", "standby-forced-primary"] {
            assert_eq!(
                site.machine.inside(&format!("{node}/log/{harm}")),
                None,
                "{node} {harm}"
            );
        }
    }
    let control = site.machine.inside(&format!("datanode2{CONTROL}")).unwrap();
    assert!(control.to_string().contains("writes"), "{control}");
}

/// 19: the machines come back with the host, and everything on them; the next run finds nothing to do but to look.
fn a_restart_of_the_host_is_survived() {
    let mut site = installed();
    let before = site.machine.canonical_state();
    site.change(Machine::restarted);
    again(&mut site);
    let after = site.machine.canonical_state();
    for (name, value) in before.as_object().unwrap() {
        assert_eq!(after.get(name), Some(value), "{name}");
    }
}

/// 23: wiab is killed while a playbook runs on; the next process follows that one.
fn a_playbook_that_goes_on_is_not_started_again() {
    let record = Points::record();
    completes(&mut fresh(), watched(&record));
    let seen = record.seen();
    let job = |what: &str| what.starts_with("job-start ") && what.contains("cas.install");
    let starts = |seen: &[Point]| {
        seen.iter()
            .filter(|point| job(&point.what) && point.phase == Phase::AfterEffect)
            .count()
    };
    assert_eq!(starts(&seen), 1);
    let at = seen
        .iter()
        .find(|point| job(&point.what) && point.phase == Phase::BeforeReturn)
        .unwrap();
    let mut site = fresh();
    let first = Points::die_at(at.index);
    site.killed(first.clone());
    let second = Points::record();
    completes(&mut site, watched(&second));
    assert_eq!(starts(&first.seen()) + starts(&second.seen()), 1);
}

/// Not in the table: a release without the scripts that people are told to run.
fn no_script_of_the_release_is_needed() {
    let mut settings = Settings::rehearsal();
    settings.artifact.hash = Some(OLDER.to_owned());
    settings.charts.calling = false;
    let mut site = Site::new(&settings, Machine::fresh());
    let points = Points::record();
    completes(&mut site, watched(&points));
    for point in points.seen() {
        for script in [
            "helm-operations.sh",
            "offline-cluster.sh",
            "offline-secrets.sh",
            "offline-vm-setup.sh",
        ] {
            assert!(!point.what.contains(script), "{point}");
        }
    }
}

/// 10: what the server offers and what it accepts agree, whatever the release says.
fn server_and_clients_agree_on_the_protocol() {
    // The older one offers a protocol that it does not accept.
    for (hash, accepts) in [(ARTIFACT_HASH, true), (OLDER, false)] {
        let mut settings = Settings::rehearsal();
        settings.artifact.hash = Some(hash.to_owned());
        settings.charts.calling = hash != OLDER;
        let mut site = Site::new(&settings, Machine::fresh());
        completes(&mut site, Trouble::default());
        let state = site.machine.canonical_state();
        let file = &state[&format!(
            "file:{}/.wiab/values/wire-server.yaml",
            settings.deploy_dir()
        )];
        let text = file["data"]["text"].as_str().unwrap();
        assert!(
            text.contains(&format!("setEnableMLS: {accepts}")),
            "{hash}: {text}"
        );
        let mut flag = text.lines().skip_while(|line| line.trim() != "mls:");
        let flag = flag.find(|line| line.contains("status:")).unwrap();
        assert!(
            accepts || flag.trim() == "status: disabled",
            "{hash}: {flag}"
        );
    }
}

fn numbers() -> Vec<u8> {
    CASES.iter().map(|(number, _)| *number).collect()
}

#[test]
fn each_of_the_23_is_in_a_table() {
    let mut all = numbers();
    all.extend(super::provoked::numbers());
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..=23).collect::<Vec<u8>>());
}

#[test]
fn the_first_of_them_do_no_harm() {
    CASES.iter().step_by(2).for_each(|(_, check)| check());
}

#[test]
fn nor_do_the_others() {
    CASES
        .iter()
        .skip(1)
        .step_by(2)
        .for_each(|(_, check)| check());
    no_script_of_the_release_is_needed();
}
