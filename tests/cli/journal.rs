//! The journal's verbs.

use super::harness::{CHAIN, Site};

#[test]
fn a_run_is_listed_shown_and_moved() {
    let site = Site::with(CHAIN);
    assert_eq!(site.ok(&["journal", "list"]).stdout, "no runs yet\n");
    site.ok(&["apply", "--yes"]);
    let run = site.latest();
    let list = site.ok(&["journal", "list"]).stdout;
    assert!(
        list.contains(&run) && list.contains("completed") && list.contains("3/3"),
        "{list}"
    );
    let log = site.ok(&["journal", "log", &run[..4]]).stdout;
    assert!(log.contains("site.c | ~ changed"), "{log}");
    let step = site.ok(&["journal", "log", &run, "site.a"]).stdout;
    assert!(
        step.contains("site.a | ~ changed") && !step.contains("site.b"),
        "{step}"
    );
    let show = site.ok(&["journal", "show", &run]).stdout;
    assert!(
        show.contains("RunOpened") && show.contains("command_line: wiab apply --yes"),
        "{show}"
    );
    let then = site
        .ok(&["journal", "show", &run, "--at", "6", "--json"])
        .stdout;
    let then: serde_json::Value = serde_json::from_str(&then).unwrap();
    assert_eq!(then["outcome"], "broken-off");
    let early = site.run(&["journal", "show", &run, "--at", "0"]);
    assert_eq!(early.code, 1);
    site.ok(&["journal", "export", &run, "-o", "run.wiabrun"]);
    assert_eq!(
        site.run(&["journal", "export", &run, "-o", "run.wiabrun"])
            .code,
        1
    );
    let other = Site::with(CHAIN);
    fs_err::copy(site.path("run.wiabrun"), other.path("run.wiabrun")).unwrap();
    other.ok(&["journal", "import", "run.wiabrun"]);
    assert!(
        other
            .ok(&["journal", "log", &run])
            .stdout
            .contains("site.c | ~ changed")
    );
    assert_eq!(other.run(&["journal", "import", "run.wiabrun"]).code, 1);
    assert_eq!(other.run(&["apply", "--resume", &run]).code, 1);
}

#[test]
fn damage_is_found_and_repaired_from_the_copies() {
    let site = Site::with(CHAIN);
    site.ok(&["apply", "--yes"]);
    let run = site.latest();
    assert!(
        site.ok(&["journal", "verify"])
            .stdout
            .ends_with("nothing is wrong\n")
    );
    let db = site.path("state/wiab-sim/journal/journal.sled/db");
    let db = if db.exists() { db } else { find(&site, "db") };
    let mut bytes = fs_err::read(&db).unwrap();
    for byte in bytes.iter_mut().filter(|byte| **byte == b'e') {
        *byte = b'E';
    }
    fs_err::write(&db, bytes).unwrap();
    let damaged = site.run(&["apply", "--yes"]);
    assert_eq!(damaged.code, 74, "{damaged:#?}");
    assert!(
        damaged.stderr.contains("wiab journal recover"),
        "{damaged:#?}"
    );
    let read = site.ok(&["journal", "log", &run]);
    assert!(
        read.stderr
            .starts_with("warning: the journal's database was not read"),
        "{read:#?}"
    );
    assert!(read.stdout.contains("site.c | ~ changed"));
    let verify = site.run(&["journal", "verify"]);
    assert_eq!(verify.code, 103, "{verify:#?}");
    assert!(
        verify.stderr.contains("Next:  wiab journal recover"),
        "{verify:#?}"
    );
    site.ok(&["journal", "recover"]);
    assert!(
        site.ok(&["journal", "verify"])
            .stdout
            .ends_with("nothing is wrong\n")
    );
    assert_eq!(site.latest(), run);
    site.ok(&["rollback", "--yes"]);
}

fn find(site: &Site, name: &str) -> std::path::PathBuf {
    let files = site.snapshot();
    let found = files
        .iter()
        .find(|(path, _)| path.ends_with(name) && path.is_file());
    found.unwrap().0.clone()
}

#[test]
fn output_that_was_captured_is_shown_harmlessly() {
    let config = CHAIN.replace("echo one > /tmp/a", "echo said; echo one > /tmp/a");
    let site = Site::with(&config);
    site.ok(&["apply", "--yes"]);
    let step = site.ok(&["journal", "log", "latest", "site.a"]).stdout;
    assert!(step.contains("  | said"), "{step}");
}
