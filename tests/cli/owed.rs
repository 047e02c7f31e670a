//! What is owed is told by every command until it is settled.

use super::crafted;
use super::harness::{CHAIN, Site};

const LINE: &str = "owed: a temporary rule in ip nat POSTROUTING, comment wire-hairpin-dnat-virbr0 (by cert.wait:web of run a1b2c3d4,";

#[test]
fn every_command_tells_what_is_owed_and_status_how_to_settle_it() {
    let site = crafted::site();
    site.write("wiab.toml", CHAIN);
    let silent: [&[&str]; 6] = [
        &["plan"],
        &["doctor"],
        &["journal", "list"],
        &["journal", "log", "latest"],
        &["graph", "--state", "latest"],
        &["rollback", "--plan"],
    ];
    for args in silent {
        let done = site.run(args);
        assert_eq!(done.stderr.matches(LINE).count(), 1, "{args:?}: {done:#?}");
        assert!(!done.stdout.contains("owed:"), "{args:?}: {done:#?}");
    }
    let status = site.ok(&["status"]);
    assert!(
        status.stdout.contains(
            "owed: a temporary rule in ip nat POSTROUTING, comment wire-hairpin-dnat-virbr0\n    \
             id       nat.wire-hairpin-dnat-virbr0\n    \
             since    2026-11-24 12:00:44Z, by cert.wait:web of run a1b2c3d4\n    \
             settle   wiab apply --resume, or delete the rule by hand\n"
        ),
        "{status:#?}"
    );
    assert_eq!(status.stderr.matches("owed:").count(), 0, "once is enough");
    let json = site.status();
    assert_eq!(json["owed"][0]["id"], "nat.wire-hairpin-dnat-virbr0");
    assert_eq!(json["owed"][0]["since"], "2026-11-24T12:00:44.000Z");
    let listed = site.ok(&["journal", "list", "--json"]).stdout;
    assert!(listed.contains("\"owed\":[{"), "{listed}");
    let run = site.ok(&["apply", "--new-run", "--yes", "--json"]);
    let lines: Vec<serde_json::Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let exit = lines.last().unwrap();
    assert_eq!(exit["exit"]["code"], 0, "what is owed changes no exit code");
    assert_eq!(exit["owed"][0]["step"], "cert.wait:web");
    let event = lines.iter().find(|line| line["type"] == "event").unwrap();
    assert!(event.get("owed").is_none());
}

#[test]
fn where_nothing_is_owed_nothing_is_said() {
    let site = Site::with(CHAIN);
    site.ok(&["apply", "--yes"]);
    let status = site.ok(&["status"]);
    assert!(!status.stdout.contains("owed") && !status.stderr.contains("owed"));
    assert!(site.status().get("owed").is_none());
}

#[test]
fn a_kept_head_proves_that_nothing_before_it_was_altered() {
    let site = Site::with(CHAIN);
    site.ok(&["apply", "--yes"]);
    let verify = site.ok(&["journal", "verify", "--json"]);
    let verify: serde_json::Value = serde_json::from_str(&verify.stdout).unwrap();
    let head = verify["head"]["hash"].as_str().unwrap().to_owned();
    assert_eq!(head.len(), 64);
    let text = site.ok(&["journal", "verify"]);
    assert!(text.stdout.contains(&format!("head {head} (event ")));
    assert!(text.stderr.contains("--head HASH"), "{text:#?}");

    site.ok(&["rollback", "--yes"]);
    let since = site.ok(&["journal", "verify", "--head", &head]).stdout;
    assert!(
        since.contains("nothing up to it was altered or left out"),
        "{since}"
    );
    let other = head.replace('0', "1");
    let lost = site.run(&["journal", "verify", "--head", &other]);
    assert_eq!(lost.code, 103, "{lost:#?}");
    assert!(lost.stdout.contains("the hash of no event here"));
    assert_eq!(site.run(&["journal", "verify", "--head", "zz"]).code, 64);

    site.ok(&["journal", "export", "latest", "-o", "run.wiab-run"]);
    let elsewhere = Site::empty();
    let file = elsewhere.path("run.wiab-run");
    fs_err::copy(site.path("run.wiab-run"), &file).unwrap();
    let done = elsewhere.ok(&["journal", "verify", "run.wiab-run"]).stdout;
    assert!(
        done.contains("head ") && done.ends_with("nothing is wrong\n"),
        "{done}"
    );
    let known = elsewhere.ok(&["journal", "verify", "run.wiab-run", "--head", &head]);
    assert!(
        known.stdout.contains("the kept head is event"),
        "{known:#?}"
    );
    let mut bytes = fs_err::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&file, bytes).unwrap();
    assert_eq!(
        elsewhere.run(&["journal", "verify", "run.wiab-run"]).code,
        1
    );
}
