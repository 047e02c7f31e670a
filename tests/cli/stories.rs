//! The three stories of the README about certificates, as somebody plays them on the simulated machine.

use super::harness::Site;

/// Nothing adds the hairpin rule beforehand, and the checks do not look at the names.
const CONFIG: &str =
    "host = \"sim\"\n\n[hairpin]\npolicy = \"off\"\n\n[preflight]\nskip = [\"dns\"]\n";
const NO_RECORD: &[&str] = &["apply", "--yes", "--set", "sim.trouble=dns"];

fn has(text: &str, parts: &[&str]) {
    // A screen breaks its lines where the width ends.
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in parts {
        assert!(flat.contains(part.trim()), "no `{part}` in:\n{text}");
    }
}

#[test]
fn certificates_explain_themselves_heal_and_tell_when_they_would_not_be_renewed() {
    let site = Site::with(CONFIG);
    let fresh = site.run(&["certs"]);
    assert_eq!(fresh.code, 1, "{fresh:#?}");
    has(
        &fresh.stderr,
        &["there is no cluster on this machine yet", "wiab apply"],
    );

    // A record is missing: which one is said, in the run and afterwards.
    let failed = site.run(NO_RECORD);
    assert_eq!(failed.code, 101, "{}", failed.stderr);
    has(
        &failed.stderr,
        &["cert.wait:web failed", "webapp.staging.example.org"],
    );
    let record = ["webapp.staging.example.org", "203.0.113.10"];
    let told = site.ok(&["journal", "why", "certs"]).stdout;
    has(&told, &record);
    assert!(told.lines().count() <= 24, "{told}");
    let pending = site.ok(&["certs"]).stdout;
    has(&pending, &["pending", "renewal would fail"]);

    // Somebody who has only the exported run finds it, too.
    site.ok(&["journal", "export", "latest", "-o", "run.wiab-run"]);
    let elsewhere = Site::empty();
    fs_err::copy(site.path("run.wiab-run"), elsewhere.path("run.wiab-run")).unwrap();
    let told = elsewhere
        .ok(&["journal", "why", "certs", "run.wiab-run"])
        .stdout;
    has(&told, &record);
    has(&told, &["chain whole", "cause "]);

    // With the record there, the rest heals itself, and what was temporary is gone.
    site.ok(&["apply", "--resume"]);
    let told = site
        .ok(&["journal", "why", "certs", "latest", "--full"])
        .stdout;
    has(
        &told,
        &[
            "cure for hairpin: add the hairpin rule until the certificate is issued",
            "cure for hairpin worked",
            "owed from now on: the hairpin rule",
            "settled: ",
        ],
    );
    assert!(site.status().get("owed").is_none());

    renewal_follows_the_rule(&site);
}

/// Without the rule renewal would fail; the policy that keeps it mends that.
fn renewal_follows_the_rule(site: &Site) {
    let without = site.ok(&["certs"]).stdout;
    has(
        &without,
        &[
            "staging-example-org-csr",
            "valid",
            "webapp.staging.example.org",
            "letsencrypt-http01 (acme-v02.api.letsencrypt.org)",
            "renewal would fail: ",
            "(hairpin)",
            "hairpin.policy = off",
            "it is not in force",
        ],
    );
    assert_eq!(site.run(&["certs", "--exit-code"]).code, 1);
    site.ok(&["apply", "--yes", "--set", "hairpin.policy=auto"]);
    let with = site.ok(&["certs", "--exit-code", "--set", "hairpin.policy=auto"]);
    has(
        &with.stdout,
        &["renewal would work", "it stays for renewal; it is in force"],
    );
    let json = site.ok(&["certs", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["type"], "certs");
    let first = &json["certificates"][0];
    assert_eq!(first["state"], "valid");
    let day = |key: &str| first[key].as_str().unwrap()[..10].to_owned();
    assert_eq!(
        (day("not_before"), day("renewal"), day("not_after")),
        (
            "2026-01-01".into(),
            "2026-03-17".into(),
            "2026-04-01".into()
        ),
        "day 75 of 90"
    );
    assert_eq!(json["renewal"]["works"], true);
}

#[test]
fn a_trouble_that_does_not_exist_is_refused() {
    let site = Site::with("host = \"sim\"\n");
    let done = site.run(&["plan", "--set", "sim.trouble=rain"]);
    assert_eq!(done.code, 78, "{done:#?}");
    has(
        &done.stderr,
        &["no trouble `rain`", "dns, ipv6, caa, port80"],
    );
}
