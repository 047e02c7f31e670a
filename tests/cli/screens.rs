//! Streams, JSON, quiet, colour.

use super::harness::{CHAIN, Site};

#[test]
fn data_goes_to_stdout_and_the_rest_to_stderr() {
    let site = Site::with(CHAIN);
    let plan = site.ok(&["plan"]);
    assert!(
        plan.stdout
            .starts_with("wiab plan · steps · on sim · 3 steps"),
        "{plan:#?}"
    );
    assert_eq!(plan.stderr, "Next:  wiab apply\n");
    let quiet = site.ok(&["-q", "plan"]);
    assert_eq!((quiet.stdout, quiet.stderr.as_str()), (plan.stdout, ""));
    let silent = site.ok(&["-qq", "apply", "--yes"]);
    assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("", ""));
}

#[test]
fn quiet_hides_the_plan_and_columns_bound_it() {
    let site = Site::with(CHAIN).var("COLUMNS", "60");
    let plan = site.ok(&["plan"]).stdout;
    assert!(
        plan.lines().skip(1).all(|line| line.chars().count() <= 60),
        "{plan}"
    );
    let quiet = site.ok(&["-q", "apply", "--yes"]);
    assert!(
        quiet.stdout.starts_with("run ") && quiet.stdout.lines().count() == 1,
        "{quiet:#?}"
    );
    let loud = site.ok(&["-vv", "rollback", "--yes"]);
    assert!(loud.stderr.contains(" DEBUG "), "{loud:#?}");
}

#[test]
fn each_json_document_says_what_it_is() {
    let site = Site::with(CHAIN);
    site.ok(&["apply", "--yes"]);
    let cases: &[(&[&str], &str)] = &[
        (&["journal", "list"], "runs"),
        (&["journal", "log", "latest"], "events"),
        (&["journal", "log", "latest", "site.a"], "events"),
        (&["journal", "show", "latest"], "events"),
        (&["journal", "verify"], "verify"),
        (&["status"], "run"),
        (&["graph"], "graph"),
        (&["config", "show"], "config"),
        (&["plan"], "plan"),
        (&["plan", "--diff", "site.a"], "diff"),
        (&["help", "json"], "help"),
    ];
    for (args, want) in cases {
        let done = site.ok(&[args, &["--json"][..]].concat());
        let document: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(document["type"], *want, "{args:?}");
        assert_eq!(document["schema"], "1.0", "{args:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let site = Site::with(CHAIN);
    for args in [&["plan"][..], &["config", "show"], &["graph", "--json"]] {
        let done = site.run_into("/dev/full", args);
        assert_eq!(done.code, 74, "{args:?}: {done:#?}");
        assert!(
            done.stderr
                .contains("error: the output cannot be written: "),
            "{done:#?}"
        );
    }
}

#[test]
fn what_a_configuration_says_is_shown_and_not_obeyed() {
    let evil = CHAIN.replace(
        "[\"rm\", \"-f\", \"/tmp/a\"]",
        "[\"rm\", \"-f\", \"/tmp/a\\u001b[2J\\n\\u202ex\\u2066\"]",
    );
    assert_ne!(evil, CHAIN);
    let site = Site::with(&evil);
    let plan = site.ok(&["plan"]).stdout;
    site.ok(&["apply", "--yes"]);
    let rollback = site.ok(&["rollback", "--plan"]).stdout;
    for screen in [plan, rollback] {
        let obeyed = ['\u{1b}', '\u{202e}', '\u{2066}'];
        assert!(!screen.contains(obeyed), "{screen:?}");
        assert!(screen.contains("\\u{202e}x"), "{screen:?}");
    }
}

#[test]
fn json_lines_begin_with_a_version_and_end_with_the_exit() {
    let site = Site::with(CHAIN);
    let done = site.ok(&["apply", "--yes", "--json", "--json-into", "copy.jsonl"]);
    let lines: Vec<serde_json::Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["type"], "version");
    assert_eq!(lines[0]["schema"], "1.0");
    assert_eq!(lines[1]["type"], "plan");
    assert_eq!(lines[2]["event"], "RunOpened");
    let numbers: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["run_seq"].as_u64())
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(lines.last().unwrap()["exit"]["name"], "ok");
    assert_eq!(
        fs_err::read_to_string(site.path("copy.jsonl")).unwrap(),
        done.stdout
    );
    let failed = site.run(&["apply", "--resume", "--json"]);
    let last: serde_json::Value =
        serde_json::from_str(failed.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "error");
    assert_eq!(last["exit"]["code"], 1);
}

#[test]
fn colour_is_asked_for_or_absent() {
    let site = Site::with(CHAIN);
    assert!(!site.ok(&["plan"]).stdout.contains('\u{1b}'));
    assert!(
        site.ok(&["plan", "--color", "always"])
            .stdout
            .contains('\u{1b}')
    );
    let ascii = Site::with(CHAIN).var("LC_ALL", "C");
    assert!(ascii.ok(&["plan"]).stdout.is_ascii());
}

#[test]
fn help_topics_and_completion_are_there() {
    let site = Site::empty();
    let codes = site.ok(&["help", "exit-codes"]).stdout;
    for code in [
        "0  ok",
        "64  usage",
        "65  bad-plan",
        "74  journal-io",
        "75  locked",
        "101  failed-kept",
        "143  terminated",
    ] {
        assert!(codes.contains(code), "{code}: {codes}");
    }
    for topic in ["environment", "files", "json", "apply"] {
        assert!(!site.ok(&["help", topic]).stdout.is_empty());
    }
    assert!(
        site.ok(&["util", "completion", "bash"])
            .stdout
            .contains("_wiab")
    );
    assert!(
        site.ok(&["--help"])
            .stdout
            .contains("wiab apply --host sim --yes")
    );
}

#[test]
fn graphs_have_three_notations() {
    let site = Site::with(CHAIN);
    assert_eq!(
        site.ok(&["graph"]).stdout,
        "site.a\nsite.b  ← site.a\nsite.c  ← site.b\n"
    );
    assert!(
        site.ok(&["graph", "--as", "dot"])
            .stdout
            .contains("\"site.a\" -> \"site.b\";")
    );
    assert!(
        site.ok(&["graph", "--as", "mermaid"])
            .stdout
            .starts_with("flowchart LR\n")
    );
    site.ok(&["apply", "--yes"]);
    assert!(
        site.ok(&["graph", "--state", "latest"])
            .stdout
            .starts_with("~ site.a\n")
    );
}

#[test]
fn the_example_of_init_is_a_working_configuration() {
    let site = Site::empty();
    site.ok(&["init"]);
    let show = site.ok(&["config", "show", "--origin"]).stdout;
    assert!(
        show.contains("run.width = 8") && show.contains("# default"),
        "{show}"
    );
    site.ok(&["plan", "--host", "sim"]);
}

#[test]
fn a_fresh_clone_installs_on_the_simulated_machine() {
    let site = Site::empty();
    let done = site.ok(&["apply", "--host", "sim", "--yes"]);
    assert!(done.stdout.contains("completed"), "{done:#?}");
    let run = site.latest_of(&["--host", "sim"]);
    let back = site.ok(&[
        "rollback",
        "--host",
        "sim",
        "--yes",
        "--wipe-data",
        "--confirm",
        "sim",
    ]);
    assert!(
        back.stdout.contains(&format!("run {run} rolled back")),
        "{back:#?}"
    );
    site.ok(&["rollback", "--host", "sim", "--yes"]);
    for (path, bytes) in site.snapshot() {
        let outside = !path.starts_with(site.path("state/wiab-sim/sim"));
        let leaks = outside && String::from_utf8_lossy(&bytes).contains("PRIVATE KEY");
        assert!(!leaks, "{} holds a private key", path.display());
    }
}
