//! Apply, resume, roll back, decide: on the simulated machine.

use super::harness::{CHAIN, Site};

const FAIL_B: &str =
    r#"{"faults":[{"match":"sh -c echo two*","do":{"fail":{"code":3,"stderr":"no luck"}}}]}"#;

#[test]
fn a_plan_is_applied_once_and_taken_back() {
    let site = Site::with(CHAIN);
    assert_eq!(site.run(&["plan", "--exit-code"]).code, 2);
    let done = site.ok(&["apply", "--yes"]);
    assert!(done.stdout.contains("3 steps: 3 changed."), "{done:#?}");
    let run = site.latest();
    assert!(
        done.stderr
            .ends_with(&format!("Next:  take it back        wiab rollback {run}\n"))
    );
    assert_eq!(site.run(&["plan", "--exit-code"]).code, 0);
    let again = site.ok(&["apply", "--yes"]);
    assert!(
        again
            .stderr
            .ends_with("Nothing to do: everything is as wanted. No run was begun.\n")
    );
    assert_eq!(site.latest(), run);
    let back = site.ok(&["rollback", "--yes"]);
    assert!(back.stdout.contains("3 steps: 3 undone."), "{back:#?}");
    assert_eq!(site.run(&["plan", "--exit-code"]).code, 2);
    for args in [&["rollback", "--yes"][..], &["rollback", &run, "--plan"]] {
        let again = site.ok(args);
        assert_eq!(
            (again.stdout, again.stderr.as_str()),
            (format!("run {run} is already rolled back\n"), "")
        );
    }
    site.ok(&["rollback", "--all", "--yes"]);
}

#[test]
fn a_failure_is_explained_and_resumed() {
    let site = Site::with(CHAIN);
    site.faults(FAIL_B);
    let failed = site.run(&["apply", "--yes"]);
    let run = site.latest();
    assert_eq!(failed.code, 101, "{failed:#?}");
    let want = format!(
        "✘ site.b failed\n    cause    `sh` ended with 3: no luck\n    \
         left     something half done; resume completes it, rollback removes it\n    \
         log      wiab journal log {run} site.b\n\
         Next:  fix and resume      wiab apply --resume {run}\n       \
         take it all back    wiab rollback {run}\n       \
         decide by hand      wiab decide {run} site.b --accept|--retry|--skip --note \"…\"\n"
    );
    assert!(failed.stderr.ends_with(&want), "{}", failed.stderr);
    site.faults("{}");
    let resumed = site.ok(&["apply", "--resume"]);
    assert!(
        resumed.stdout.contains("3 steps: 3 changed."),
        "{resumed:#?}"
    );
    let a = site.ok(&["journal", "log", "latest", "site.a"]);
    assert_eq!(
        a.stdout.matches("| ● started").count(),
        1,
        "a finished step ran twice: {}",
        a.stdout
    );
    let nothing = site.run(&["apply", "--resume", &run]);
    assert_eq!(nothing.code, 1);
    assert!(nothing.stderr.starts_with(&format!(
        "error: nothing to resume: run {run} is completed\n"
    )));
}

#[test]
fn a_failure_can_take_everything_back() {
    let site = Site::with(CHAIN);
    site.faults(FAIL_B);
    let failed = site.run(&["apply", "--yes", "--on-failure", "rollback"]);
    assert_eq!(failed.code, 100, "{failed:#?}");
    assert_eq!(site.status()["outcome"], "rolled-back");
}

#[test]
fn a_killed_run_resumes_without_doing_anything_twice() {
    let mut kills = 0;
    for at in 1..400 {
        let site = Site::with(CHAIN);
        site.faults(&format!(r#"{{"kill_at":{at}}}"#));
        let killed = site.run(&["apply", "--yes"]);
        if killed.code != 128 + 9 {
            assert_eq!(killed.code, 0, "{killed:#?}");
            break;
        }
        kills += 1;
        site.faults("{}");
        if site
            .run(&["journal", "list", "--json"])
            .stdout
            .contains("\"runs\":[]")
        {
            // Killed during the survey: there is nothing to resume.
            continue;
        }
        let resumed = site.run(&["apply", "--resume"]);
        // Killed while the lease was given back: everything was done already.
        let done = resumed.stderr.contains("is completed\n");
        assert!(done || resumed.code == 0, "{at}: {resumed:#?}");
        assert_eq!(site.run(&["plan", "--exit-code"]).code, 0, "{at}");
        assert_eq!(
            site.ok(&["journal", "verify"]).stdout.lines().last(),
            Some("nothing is wrong")
        );
    }
    assert!(kills > 10, "only {kills} kill points");
    println!("{kills} kill points");
}

#[test]
fn a_killed_run_can_be_taken_back_instead() {
    let mut taken_back = 0;
    for at in (20..400).step_by(7) {
        let site = Site::with(CHAIN);
        site.faults(&format!(r#"{{"kill_at":{at}}}"#));
        let killed = site.run(&["apply", "--yes"]);
        if killed.code != 128 + 9 {
            break;
        }
        site.faults("{}");
        let back = site.run(&["rollback", "--yes"]);
        if back.code != 0 {
            // Nothing was done yet.
            assert!(
                back.stderr.contains("there are no runs yet")
                    || back.stderr.contains("nothing to take back")
            );
        } else {
            taken_back += 1;
        }
        let plan = site.run(&["plan", "--json"]);
        let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
        assert_eq!(plan["counts"]["create"], 3, "{at}: {back:#?}");
    }
    assert!(
        taken_back > 2,
        "only {taken_back} rollbacks had anything to do"
    );
}

#[test]
fn a_changed_plan_stops_the_resume_until_it_is_told_what_to_do() {
    let site = Site::with(CHAIN);
    site.faults(FAIL_B);
    site.run(&["apply", "--yes"]);
    site.faults("{}");
    let run = site.latest();
    let changed = CHAIN
        .replace("echo one", "echo ONE")
        .replace("site.c", "site.d");
    site.write("wiab.toml", &changed);
    let before = site.ok(&["journal", "show", "latest"]).stdout;
    let stopped = site.run(&["apply", "--resume"]);
    assert_eq!(stopped.code, 65);
    assert_eq!(
        stopped.stderr,
        format!(
            "error: the configuration has changed since run {run} began\n  \
             site.a  edited   changed\n  \
             site.c  gone     waiting\n  \
             site.d  new      not in the stored plan\n  \
             1 unchanged\n\
             hint: undo the change in the configuration, then  wiab apply --resume {run}\n      \
             run finished steps that were edited again:  wiab apply --resume {run} --if-changed redo\n      \
             keep them as they stand:                    wiab apply --resume {run} --if-changed adopt\n"
        )
    );
    assert_eq!(site.ok(&["journal", "show", "latest"]).stdout, before);
    let adopted = site.ok(&["apply", "--resume", "--if-changed", "adopt"]);
    assert!(
        adopted.stdout.contains("3 steps: 3 changed."),
        "{adopted:#?}"
    );
}

#[test]
fn a_saved_plan_is_done_exactly_or_refused() {
    let site = Site::with(CHAIN);
    let saved = site.ok(&["plan", "--out", "p.wiab"]);
    assert!(
        saved
            .stderr
            .ends_with("Saved to p.wiab.  To do exactly this:  wiab apply p.wiab\n")
    );
    let done = site.ok(&["apply", "p.wiab"]);
    assert!(done.stdout.contains("3 steps: 3 changed."));
    let stale = site.run(&["apply", "p.wiab"]);
    assert_eq!(stale.code, 65);
    assert_eq!(
        stale.stderr,
        "error: the saved plan is stale: the host has changed since\n  \
         site.a: was absent, is as wanted\n  site.b: was absent, is as wanted\n  site.c: was absent, is as wanted\n\
         hint: wiab plan --out FILE   makes a new one; nothing was changed\n"
    );
}

#[test]
fn decisions_are_events_with_an_author() {
    let site = Site::with(CHAIN);
    site.faults(FAIL_B);
    site.run(&["apply", "--yes"]);
    site.faults("{}");
    let refused = site.run(&["decide", "latest", "site.a", "--skip", "--note", "x"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .stderr
            .starts_with("error: step `site.a` is changed; it needs no decision\n")
    );
    let typo = site.run(&["decide", "latest", "site.bb", "--skip", "--note", "x"]);
    assert!(
        typo.stderr.ends_with("hint: did you mean `site.b`?\n"),
        "{typo:#?}"
    );
    let decided = site.ok(&["decide", "latest", "site.b", "--skip", "--note", "not here"]);
    assert!(
        decided
            .stdout
            .ends_with("site.b decided: skip (not here)\n")
    );
    let resumed = site.ok(&["apply", "--resume"]);
    assert!(
        resumed.stdout.contains("2 changed, 1 decided by hand"),
        "{resumed:#?}"
    );
    let preview = site.ok(&["rollback", "--plan"]).stdout;
    assert!(
        preview.contains("site.b  stays: it was skipped by decision\n")
            && preview.ends_with("2 steps to take back, 1 left alone.\n"),
        "{preview}"
    );
    let log = site.ok(&["journal", "show", "latest", "--json"]).stdout;
    assert!(!log.contains("\"actor\":\"\""), "{log}");
    assert!(
        log.contains("\"event\":\"OperatorDecided\"") && log.contains("\"note\":\"not here\""),
        "{log}"
    );
}

#[test]
fn a_run_can_be_given_up_and_parts_taken_back() {
    let site = Site::with(CHAIN);
    site.faults(FAIL_B);
    site.run(&["apply", "--yes"]);
    site.faults("{}");
    site.ok(&["decide", "latest", "--abandon", "--note", "enough"]);
    assert_eq!(site.status()["outcome"], "abandoned");
    assert_eq!(site.run(&["apply", "--resume"]).code, 1);
    site.ok(&["apply", "--yes"]);
    let blocked = site.run(&["rollback", "--to", "site.zz", "--yes"]);
    assert_eq!(blocked.code, 1);
    let part = site.ok(&["rollback", "--to", "site.b", "--yes"]);
    assert!(part.stdout.contains("1 undone"), "{part:#?}");
    let all = site.ok(&["rollback", "--all", "--yes"]);
    assert_eq!(site.run(&["plan", "--exit-code"]).code, 2, "{all:#?}");
}

#[test]
fn an_undo_that_fails_parks_until_somebody_decides() {
    let site = Site::with(CHAIN);
    site.ok(&["apply", "--yes"]);
    let run = site.latest();
    site.faults(
        r#"{"faults":[{"match":"rm -f /tmp/b","times":null,"do":{"fail":{"code":1,"stderr":"busy"}}}]}"#,
    );
    let parked = site.run(&["rollback", "--yes"]);
    assert_eq!(parked.code, 102, "{parked:#?}");
    assert!(
        parked.stderr.contains("site.b needs a decision:"),
        "{}",
        parked.stderr
    );
    let next = format!(
        "Next:  decide by hand      wiab decide {run} site.b --retry-undo|--accept|--skip --note \"…\"\n"
    );
    assert!(parked.stderr.contains(&next), "{}", parked.stderr);
    assert_eq!(site.status()["parked"][0]["step"], "site.b");
    let wrong = site.run(&["decide", &run, "site.b", "--retry", "--note", "x"]);
    assert!(
        wrong
            .stderr
            .contains("decide with --retry-undo, --accept or --skip"),
        "{wrong:#?}"
    );
    site.faults("{}");
    let decided = site.ok(&[
        "decide",
        &run,
        "site.b",
        "--retry-undo",
        "--note",
        "not busy any more",
    ]);
    assert_eq!(decided.stderr, format!("Next:  wiab rollback {run}\n"));
    let back = site.ok(&["rollback", &run, "--yes"]);
    assert!(back.stdout.contains("3 steps: 3 undone."), "{back:#?}");
}

#[test]
fn everything_is_installed_once_rotated_and_taken_back() {
    let site = Site::with("host = \"sim\"\n");
    let count = || {
        let plan = site.ok(&["plan"]).stdout;
        let line = plan.lines().find(|line| line.starts_with("Plan: "));
        line.unwrap().to_owned()
    };
    let before = count();
    let done = site.ok(&["apply", "--yes"]);
    assert!(done.stdout.contains(" completed · "), "{done:#?}");
    let again = site.ok(&["apply", "--yes"]);
    assert!(again.stderr.contains("No run was begun."), "{again:#?}");
    let refused = site.run(&["secrets", "rotate", "mls_ed25519", "--yes"]);
    assert_eq!(refused.code, 64, "{refused:#?}");
    let rotated = site.ok(&["secrets", "rotate", "--yes"]);
    assert!(rotated.stdout.contains("5 changed"), "{rotated:#?}");
    let plan = site.run(&["plan", "--exit-code"]);
    assert_eq!(plan.code, 0, "{plan:#?}");
    let rotated = site.ok(&["secrets", "rotate", "postgresql_wire", "--yes"]);
    assert!(
        rotated
            .stderr
            .contains("old ones cannot open new connections")
    );
    assert!(rotated.stdout.contains(" changed"), "{rotated:#?}");
    let plan = site.run(&["plan", "--exit-code"]);
    assert_eq!(plan.code, 0, "{plan:#?}");
    site.ok(&[
        "rollback",
        "--all",
        "--yes",
        "--wipe-data",
        "--confirm",
        "sim",
    ]);
    assert_eq!(count(), before);
}
