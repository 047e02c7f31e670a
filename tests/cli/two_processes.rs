//! A second terminal while a run is under way, and signals.

use rustix::process::Signal;

use super::harness::{CHAIN, Site};

const HANG_B: &str = r#"{"faults":[{"match":"sh -c echo two*","do":"hang"}]}"#;

fn hanging() -> Site {
    // In real time a command that hangs stays so until somebody acts.
    let site = Site::with(CHAIN).var("WIAB_SIM_SPEED", "1");
    site.faults(HANG_B);
    site
}

#[test]
fn a_second_apply_is_told_who_works_and_status_sees_it() {
    let site = hanging();
    let mut first = site.start(&["apply", "--yes", "--progress", "plain"]);
    first.wait_for("site.b | ● absent, creating");
    let pid = first.pid();
    let second = site.run(&["apply", "--yes"]);
    assert_eq!(second.code, 75, "{second:#?}");
    let begins = format!("error: another wiab works on this installation: process {pid} of ");
    assert!(second.stderr.starts_with(&begins), "{}", second.stderr);
    assert!(second.stderr.contains(" since 20"), "{}", second.stderr);
    assert!(second.stderr.ends_with(
        "(`wiab apply --yes --progress plain`)\nhint: wiab status --follow   watches it\n"
    ));
    let status = site.status();
    assert_eq!(status["outcome"], "running");
    assert_eq!(status["steps"][0]["state"], "changed");
    assert_eq!(status["steps"][1]["state"], "running");
    assert!(
        site.ok(&["journal", "log", "latest"])
            .stdout
            .contains("site.a | ~ changed")
    );
    let mut follower = site.start(&["status", "--follow", "--json"]);
    follower.wait_for_output("\"event\":\"StepStarted\"");
    first.signal(Signal::INT);
    first.wait_for("Stopping: nothing new starts. Waiting for site.b.");
    first.signal(Signal::INT);
    let done = first.end();
    assert_eq!(done.code, 130, "{done:#?}");
    assert!(done.stderr.contains("wiab apply --resume"));
    follower.wait_for_output("\"outcome\":\"Interrupted\"");
    assert_eq!(follower.end().code, 0);
    site.faults("{}");
    let resumed = site.ok(&["apply", "--resume"]);
    assert!(
        resumed.stdout.contains("3 steps: 3 changed."),
        "{resumed:#?}"
    );
}

#[test]
fn sigterm_stops_and_says_143() {
    let site = hanging();
    let mut first = site.start(&["apply", "--yes", "--progress", "plain"]);
    first.wait_for("site.b | ● absent, creating");
    first.signal(Signal::TERM);
    first.wait_for("Stopping: nothing new starts.");
    first.signal(Signal::TERM);
    let done = first.end();
    assert_eq!(done.code, 143, "{done:#?}");
    assert_eq!(site.status()["outcome"], "interrupted");
}

#[test]
fn the_third_interrupt_leaves_at_once_and_the_run_resumes() {
    let site = hanging();
    let mut first = site.start(&["apply", "--yes", "--progress", "plain"]);
    first.wait_for("site.b | ● absent, creating");
    first.signal(Signal::HUP);
    first.signal(Signal::KILL);
    assert_eq!(first.end().code, -1);
    assert_eq!(site.status()["outcome"], "broken-off");
    site.faults("{}");
    let run = site.latest();
    let before = site.ok(&["journal", "show", "latest"]).stdout;
    let refused = site.run(&["apply", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert_eq!(
        refused.stderr,
        format!(
            "error: run {run} broke off in the middle of step `site.b`\n\
             hint: go on with it:   wiab apply --resume {run}\n      \
             take it back:    wiab rollback {run}\n      \
             leave it so:     wiab apply --new-run   begins a new run all the same\n"
        )
    );
    assert_eq!(site.ok(&["journal", "show", "latest"]).stdout, before);
    site.ok(&["apply", "--yes", "--new-run"]);
    assert_ne!(site.latest(), run);
}

#[test]
fn a_killed_rollback_can_be_tried_until_it_succeeds() {
    let mut kills = 0;
    for at in (1..400).step_by(9) {
        let site = Site::with(CHAIN);
        site.ok(&["apply", "--yes"]);
        site.faults(&format!(r#"{{"kill_at":{at}}}"#));
        let killed = site.run(&["rollback", "--yes"]);
        if killed.code == 0 {
            break;
        }
        assert_eq!(killed.code, 128 + 9, "{at}: {killed:#?}");
        kills += 1;
        site.faults("{}");
        for _ in 0..2 {
            site.ok(&["rollback", "--yes"]);
        }
        assert_eq!(site.status()["outcome"], "rolled-back", "{at}");
    }
    assert!(kills > 2, "only {kills} kill points");
}
