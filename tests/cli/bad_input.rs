//! Every bad input: one cause, one remedy, a documented exit code, and nothing changed.

use super::harness::{CHAIN, Site};

struct Case {
    config: Option<&'static str>,
    args: &'static [&'static str],
    code: i32,
    stderr: &'static str,
}

const CASES: &[Case] = &[
    Case {
        config: None,
        args: &["plan"],
        code: 78,
        stderr: "error: there is no wiab.toml in this directory\n\
                 hint: wiab init              writes a commented one\n      \
                 wiab plan --host sim   tries everything on a simulated machine, without one\n",
    },
    Case {
        config: None,
        args: &["plan", "--config", "other.toml"],
        code: 78,
        stderr: "error: other.toml does not exist\nhint: check the path given with --config or WIAB_CONFIG\n",
    },
    Case {
        config: Some("name = wiab\n"),
        args: &["plan"],
        code: 78,
        stderr: "error: this is not TOML: string values must be quoted, expected literal string\n \
                 --> wiab.toml:1:8\n  |\n1 | name = wiab\n  |        ^^^^\n\
                 hint: correct this line; `wiab init` in another directory writes an example\n",
    },
    Case {
        config: Some("host = \"sim\"\n\n[vms]\nscael = 5\n"),
        args: &["apply", "--yes"],
        code: 78,
        stderr: "error: unknown key `vms.scael`\n --> wiab.toml:4:1\n  |\n4 | scael = 5\n  | ^^^^^\n\
                 hint: did you mean `vms.scale`?\n",
    },
    Case {
        config: Some(
            "host = \"sim\"\nplan = \"steps\"\n[[step]]\nid = \"a\"\nrun = \"true\"\nafter = [\"b\"]\n\
                      [[step]]\nid = \"b\"\nrun = \"true\"\nafter = [\"a\"]\n",
        ),
        args: &["apply", "--yes"],
        code: 65,
        stderr: "error: these steps wait for each other: b → a → b\n --> wiab.toml:8:6\n  |\n8 | id = \"b\"\n  |      ^^^\n\
                 hint: remove one of them from an `after`\n",
    },
    Case {
        config: Some(
            "host = \"sim\"\n[[step]]\nid = \"a\"\nrun = \"true\"\nafter = [\"net.wirebx\"]\n",
        ),
        args: &["plan"],
        code: 65,
        stderr: "error: step `a` comes after `net.wirebx`, which is not in the plan\n --> wiab.toml:5:10\n  |\n\
                 5 | after = [\"net.wirebx\"]\n  |          ^^^^^^^^^^^^\nhint: did you mean `net.wirebox`?\n",
    },
    Case {
        config: Some("host = \"sim\"\n[[step]]\nid = \"net.wirebox\"\nrun = \"true\"\n"),
        args: &["plan"],
        code: 65,
        stderr: "error: the plan has a step `net.wirebox` already\n --> wiab.toml:3:6\n  |\n3 | id = \"net.wirebox\"\n  |      ^^^^^^^^^^^^^\n\
                 hint: give this one another id\n",
    },
    Case {
        config: Some("host = \"sim\"\n[vms]\nonly = [\"kubenod1\"]\n"),
        args: &["plan"],
        code: 78,
        stderr: "error: `vms.only`: there is no VM `kubenod1`\n --> wiab.toml:3:8\n  |\n3 | only = [\"kubenod1\"]\n  |        ^^^^^^^^^^^^\nhint: did you mean `kubenode1`?",
    },
    Case {
        config: Some("domain = \"Wire\"\ncert_email = \"you@example.com\"\n"),
        args: &["plan"],
        code: 78,
        stderr: "error: `domain`: `Wire` is not a domain: use two or more labels of a-z, 0-9 and `-`, such as `wire.example.org`; \
                 write other letters in their `xn--` form\n --> wiab.toml:1:10\n  |\n1 | domain = \"Wire\"\n  |          ^^^^^^\n   \
                 = use the domain's own spelling\nerror: `cert_email`: Let's Encrypt refuses mail addresses at example.com\n \
                 --> wiab.toml:2:14\n  |\n2 | cert_email = \"you@example.com\"\n  |              ^^^^^^^^^^^^^^^^^\n   \
                 = use an address of your own\nerror: host_ip: this must be told (write it into wiab.toml, such as: host_ip = \"203.0.113.10\")\n\
                 hint: correct these 2 places, then run the command again\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["apply", "--yes", "--state-dir", "wiab.toml/state"],
        code: 74,
        stderr: "error: the state directory wiab.toml/state/wiab-sim cannot be written: not a directory (os error 20)\n\
                 hint: make it writable, or choose another one with --state-dir or WIAB_STATE_DIR\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["apply", "--resume"],
        code: 1,
        stderr: "error: nothing to resume: there are no runs yet\nhint: wiab apply   begins one\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["rollback", "--yes"],
        code: 1,
        stderr: "error: there are no runs yet\nhint: wiab apply   begins one\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["decide", "latest", "site.a", "--accept", "--note", "x"],
        code: 1,
        stderr: "error: there are no runs yet\nhint: wiab apply   begins one\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["journal", "log", "latest"],
        code: 1,
        stderr: "error: there are no runs yet\nhint: wiab apply   begins one\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["apply", "missing.wiab"],
        code: 65,
        stderr: "error: missing.wiab cannot be read: No such file or directory (os error 2)\n\
                 hint: make it again: wiab plan --out FILE\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["apply", "wiab.toml"],
        code: 65,
        stderr: "error: wiab.toml is not a saved plan: expected value at line 1 column 1\nhint: make it again: wiab plan --out FILE\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["plan", "--set", "run.widht=2"],
        code: 64,
        stderr: "error: unknown key `run.widht` in --set\nhint: did you mean `run.width`?\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["plan", "--set", "run.width=0"],
        code: 64,
        stderr: "error: --set: `run.width` must be a whole number from 1 to 256\nhint: for example: 8\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["plan", "--host", "ssh://"],
        code: 64,
        stderr: "error: --host: `host` must be \"local\", \"sim\", \"ssh\" or \"ssh://user@address:port\"\nhint: for example: ssh://op@box.example.org\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["help", "exit-code"],
        code: 64,
        stderr: "error: there is no help about `exit-code`\nhint: did you mean `wiab help exit-codes`?\n",
    },
    Case {
        config: Some(CHAIN),
        args: &["init"],
        code: 1,
        stderr: "error: wiab.toml exists already\nhint: edit it, or move it away first\n",
    },
];

#[test]
fn each_bad_input_is_answered_and_changes_nothing() {
    for case in CASES {
        let site = case.config.map_or_else(Site::empty, Site::with);
        let before = site.snapshot();
        let done = site.run(case.args);
        assert_eq!(done.code, case.code, "{:?}: {done:#?}", case.args);
        assert!(
            done.stderr.starts_with(case.stderr),
            "{:?}:\n{}\n{}",
            case.args,
            done.stderr,
            case.stderr
        );
        assert_eq!(site.snapshot(), before, "{:?} changed something", case.args);
    }
}

#[test]
fn clap_ends_with_64_and_its_own_words() {
    let site = Site::with(CHAIN);
    let cases: &[(&[&str], &str)] = &[
        (&["aply"], "a similar subcommand exists: 'apply'"),
        (
            &["apply", "--wdith", "3"],
            "a similar argument exists: '--width'",
        ),
        (
            &["decide", "latest", "site.a", "--note", "x"],
            "required arguments were not provided",
        ),
        (&["apply", "--if-changed", "redo"], "--resume"),
        (&[], "Usage: wiab"),
    ];
    for (args, want) in cases {
        let done = site.run(args);
        assert!(done.stderr.contains(want), "{args:?}: {done:#?}");
        let code = if args.is_empty() { 64 } else { done.code };
        assert_eq!(code, 64, "{args:?}");
    }
}

#[test]
fn without_a_terminal_nothing_is_asked_and_nothing_done() {
    let site = Site::with(CHAIN);
    for args in [&["apply"][..], &["apply", "--no-input"]] {
        let done = site.run(args);
        assert_eq!(done.code, 64);
        assert_eq!(
            done.stderr,
            "error: `Apply this plan?` cannot be asked: this is not a terminal, or --no-input is set\nhint: add --yes to answer yes\n"
        );
        assert!(!site.path("state/wiab-sim/journal").exists());
    }
}

#[test]
fn an_unknown_variable_is_named_and_a_wrong_value_refused() {
    let site = Site::with(CHAIN).var("WIAB_RUN_WIDHT", "3");
    let done = site.ok(&["config", "show"]);
    assert_eq!(
        done.stderr,
        "warning: the variable WIAB_RUN_WIDHT is not known and was ignored\n"
    );
    let site = Site::with(CHAIN).var("WIAB_RUN_WIDTH", "many");
    let done = site.run(&["config", "show"]);
    assert_eq!(done.code, 78);
    assert_eq!(
        done.stderr,
        "error: WIAB_RUN_WIDTH: `run.width` must be a whole number from 1 to 256\nhint: for example: 8\n"
    );
}

#[test]
fn a_changed_saved_plan_is_refused() {
    let site = Site::with(CHAIN);
    site.ok(&["plan", "--out", "p.wiab"]);
    let text = fs_err::read_to_string(site.path("p.wiab")).unwrap();
    let edits = [
        ("echo one", "echo 666"),
        ("\"undo\": \"Reversible\"", "\"undo\": \"NothingToUndo\""),
        ("\"summary\": \"", "\"summary\": \"harmless "),
        ("\"installation\": \"wiab\"", "\"installation\": \"other\""),
        ("\"wiab\": \"", "\"wiab\": \"9"),
    ];
    for (old, new) in edits {
        assert!(text.contains(old), "{old} is not in {text}");
        site.write("p.wiab", &text.replacen(old, new, 1));
        let before = site.snapshot();
        let done = site.run(&["apply", "p.wiab"]);
        assert_eq!(
            (done.code, done.stderr.as_str()),
            (
                65,
                "error: p.wiab was edited after it was made\nhint: make it again: wiab plan --out FILE\n"
            ),
            "{old}"
        );
        assert_eq!(site.snapshot(), before);
    }
    site.write("p.wiab", &text);
    let other = site.run(&["apply", "p.wiab", "--set", "name=other"]);
    assert_eq!(other.code, 65, "{other:#?}");
    assert!(
        other
            .stderr
            .starts_with("error: the saved plan is for the installation `wiab`, not `other`\n"),
        "{other:#?}"
    );
}
