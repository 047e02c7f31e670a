//! Parts of the plan: `--only`, `--until`, `--skip`.

use super::harness::{CHAIN, Site};

/// The same chain, with a fourth step in another area.
const CHAIN_AND_TAIL: &str = r#"
[[step]]
id = "tail.d"
after = ["site.b"]
run = "echo four > /tmp/d"
probe = ["test", "-f", "/tmp/d"]
undo = ["rm", "-f", "/tmp/d"]
"#;

fn site() -> Site {
    Site::with(&format!("{CHAIN}{CHAIN_AND_TAIL}"))
}

#[test]
fn a_part_is_planned_applied_and_resumed_as_that_part() {
    let site = site();
    for (args, counts) in [
        (&["plan", "--only", "tail"][..], "1 to create"),
        (&["plan", "--until", "site.b"], "2 to create"),
        (&["plan", "--skip", "site.a,tail"], "2 to create"),
        (
            &["plan", "--until", "tail", "--skip", "site.a"],
            "2 to create",
        ),
    ] {
        let plan = site.ok(args);
        assert!(plan.stdout.contains(counts), "{args:?} {plan:#?}");
    }
    site.faults(
        r#"{"faults":[{"match":"sh -c echo two*","do":{"fail":{"code":3,"stderr":"no luck"}}}]}"#,
    );
    assert_eq!(site.run(&["apply", "--until", "tail", "--yes"]).code, 101);
    site.faults("{}");
    let resumed = site.ok(&["apply", "--resume"]);
    assert!(
        resumed.stdout.contains("3 steps: 3 changed."),
        "{resumed:#?}"
    );
    let rest = site.ok(&["plan"]);
    assert!(
        rest.stdout
            .contains("1 to create, 0 to change, 3 already right (made by earlier runs)"),
        "{rest:#?}"
    );
}

/// Settings leave areas of the certificates' plan out: no temporary way out, no look at the hairpin.
#[test]
fn the_plan_of_the_certificates_is_what_the_settings_leave_of_it() {
    for (policy, hairpin) in [("auto", true), ("off", false)] {
        let config = format!(
            "host = \"sim\"\nplan = \"certificates\"\n\n[hairpin]\npolicy = \"{policy}\"\n"
        );
        let graph = Site::with(&config).ok(&["graph"]).stdout;
        assert!(graph.contains("cert.wait:web"), "{graph}");
        assert_eq!(graph.contains("hp.snat"), hairpin, "{graph}");
        assert!(!graph.contains("egress"), "{graph}");
    }
}

#[test]
fn unknown_words_and_second_selections_are_refused() {
    let site = site();
    let unknown = site.run(&["plan", "--only", "sitee"]);
    assert_eq!(unknown.code, 64);
    assert!(
        unknown
            .stderr
            .contains("no step and no area `sitee`; did you mean `site`?"),
        "{unknown:#?}"
    );
    assert_eq!(
        site.run(&["plan", "--only", "tail", "--skip", "tail"]).code,
        65
    );
    let twice = site.run(&["apply", "--resume", "--only", "tail"]);
    assert_eq!(twice.code, 64);
    assert!(
        twice.stderr.contains("cannot be used with --resume"),
        "{twice:#?}"
    );
}

#[test]
fn a_part_whose_ground_is_missing_is_refused_before_anything_changes() {
    let site = Site::with("host = \"sim\"\n");
    let refused = site.run(&["apply", "--only", "vm.define", "--yes"]);
    assert_eq!(refused.code, 65, "{refused:#?}");
    assert!(
        refused
            .stderr
            .contains("uses outputs of steps outside of it that are not as wanted"),
        "{refused:#?}"
    );
    assert!(
        refused.stderr.contains("wiab apply --until "),
        "{refused:#?}"
    );
}
