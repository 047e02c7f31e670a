//! `wiab journal why`: the story of a failure, from the journal alone.

use super::crafted;
use super::harness::{CHAIN, Site};

/// What the short form says about the crafted run.
const CERTS: &str = include_str!("expected/why-certs.txt");
/// What the long form says about it.
const CERTS_FULL: &str = include_str!("expected/why-certs-full.txt");

/// A directory with nothing but the exported run: a support engineer's.
fn elsewhere(site: &Site) -> Site {
    site.ok(&["journal", "export", "latest", "-o", "run.wiab-run"]);
    let other = Site::empty();
    fs_err::copy(site.path("run.wiab-run"), other.path("run.wiab-run")).unwrap();
    other
}

fn fits(screen: &str) {
    assert!(screen.lines().count() <= 24, "{screen}");
    for line in screen.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn one_screen_tells_why_the_certificates_were_not_issued() {
    let site = crafted::site();
    let told = site.ok(&["journal", "why", "certs"]).stdout;
    fits(&told);
    assert_eq!(told, CERTS, "{told}");
    let full = site.ok(&["journal", "why", "certs", "--full"]).stdout;
    assert_eq!(full, CERTS_FULL, "{full}");
}

#[test]
fn an_exported_run_is_enough_without_configuration_journal_or_host() {
    let other = elsewhere(&crafted::site());
    let before = other.snapshot();
    let told = other.ok(&["journal", "why", "certs", "run.wiab-run"]);
    fits(&told.stdout);
    assert_eq!(told.stderr, "");
    for part in [
        "from run.wiab-run: 19 events, chain whole\nhead ",
        "cause   packets of a node to the public address do not come back (hairpin)",
        "cure      create the record  webapp.example.org. A 203.0.113.10",
        "open      since 12:00:44: a temporary rule",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    let full = other.ok(&["journal", "why", "cert.wait:web", "run.wiab-run", "--full"]);
    assert!(full.stdout.contains("  | context deadline exceeded"));
    let json = other.ok(&["journal", "why", "certs", "run.wiab-run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["steps"][0]["step"], "cert.wait:web");
    assert_eq!(json["steps"][0]["cause"], "ca.dns");
    assert_eq!(json["steps"][0]["code"], "cert.ca.dns");
    assert_eq!(json["open"][0]["id"], "nat.wire-hairpin-dnat-virbr0");
    assert_eq!(json["open"][0]["settled_later"], false);
    // Nothing was written where it was read.
    assert_eq!(other.snapshot(), before);
    // The same through an import.
    other.ok(&["journal", "import", "run.wiab-run", "--host", "sim"]);
    let imported = other
        .ok(&["journal", "why", "certs", "a1b2", "--host", "sim"])
        .stdout;
    assert!(imported.contains("ca.dns"), "{imported}");
}

#[test]
fn any_failed_step_is_told_with_what_its_commands_said() {
    let site = Site::with(CHAIN);
    site.faults(
        r#"{"faults":[{"match":"sh -c echo two*","do":{"fail":{"code":3,"stderr":"the disk is gone"}}}]}"#,
    );
    assert_eq!(site.run(&["apply", "--yes"]).code, 101);
    let told = site.ok(&["journal", "why"]).stdout;
    fits(&told);
    assert!(told.contains("✘ site.b failed"), "{told}");
    assert!(told.contains("| the disk is gone"), "{told}");
    assert!(told.contains("wiab apply --resume"), "{told}");
    assert!(!told.contains("site.a"), "{told}");
    assert_eq!(
        told.lines().nth(1),
        site.ok(&["journal", "why", "site.b"]).stdout.lines().nth(1)
    );
    let near = site.run(&["journal", "why", "site.bb"]);
    assert_eq!(near.code, 1);
    assert!(near.stderr.contains("did you mean `site.b`?"), "{near:#?}");
}

#[test]
fn where_nothing_failed_that_is_the_answer() {
    let site = Site::with(CHAIN);
    assert_eq!(site.run(&["journal", "why"]).code, 1, "there is no run");
    site.ok(&["apply", "--yes"]);
    for what in [&["journal", "why"][..], &["journal", "why", "certs"]] {
        let told = site.ok(what).stdout;
        assert!(told.ends_with("nothing failed\n"), "{told}");
    }
    let step = site.ok(&["journal", "why", "site.a"]).stdout;
    assert!(step.contains("~ site.a is changed"), "{step}");
}
