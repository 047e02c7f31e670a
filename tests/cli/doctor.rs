//! `wiab doctor`: everything that is in the way, with its remedy, before anything is changed.

use super::harness::Site;

/// A simulated machine that lacks more than one thing.
const SHORT: &str =
    "host = \"sim\"\nhost_ip = \"198.51.100.9\"\n\n[vms.machines.kubenode1]\nmemory_mib = 22016\n";

const FOUND: &str = "\
✔ pre.inputs        staging.example.org at 198.51.100.9
✔ pre.os            ubuntu 22.04
✘ pre.resources
    ✘ memory: 6.5 GiB are missing: the VMs need 67.5 GiB and the host 3.0 GiB, there are 64.0 GiB; no room for datanode3
      remedy: add memory, or make the VMs smaller with vms.scale or vms.machines.NAME.memory_mib
? pre.net           internet over eth0; warned of public-address
    ? public-address: 198.51.100.9 is on no interface: the machine is behind a router with NAT
      remedy: the router must forward tcp 80, 443, 3478 and udp 3478, 32768-65535 to 203.0.113.10; calls fail without the udp ports
✔ pre.firewall      ssh on port 22, no rules of others
✘ pre.dns
";

#[test]
fn everything_in_the_way_is_told_at_once() {
    let site = Site::with(SHORT);
    let done = site.run(&["doctor"]);
    assert_eq!(done.code, 104, "{done:#?}");
    assert!(done.stdout.starts_with(FOUND), "{}", done.stdout);
    assert!(
        done.stdout.contains(
            "say 203.0.113.10, not 198.51.100.9 alone (says this machine, 1.1.1.1, 9.9.9.9)"
        ),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.ends_with("9 checks: 2 errors, 2 warnings\n"),
        "{}",
        done.stdout
    );
    let json = site.run(&["doctor", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["type"], "doctor");
    assert_eq!(
        (&document["errors"], &document["warnings"]),
        (&2.into(), &2.into())
    );
    assert_eq!(document["checks"][2]["findings"][0]["what"], "memory");
}

#[test]
fn apply_stops_before_the_first_change() {
    let site = Site::with(SHORT);
    let done = site.run(&["apply", "--yes"]);
    assert_eq!(done.code, 104, "{done:#?}");
    for text in [
        "error: the machine cannot take this plan\n",
        "memory: 6.5 GiB are missing",
        "dns-address: ",
        "hint: wiab doctor   looks again; nothing was changed\n",
    ] {
        assert!(done.stderr.contains(text), "{text}: {done:#?}");
    }
    assert_eq!(site.run(&["status"]).code, 1, "no run was begun");
    let skipped = ["resources", "dns"].join(",");
    let set = format!("preflight.skip={skipped}");
    let plan = site.ok(&["doctor", "--set", &set]);
    assert!(
        plan.stdout.ends_with("7 checks: 0 errors, 1 warning\n"),
        "{plan:#?}"
    );
}

#[test]
fn a_machine_that_can_take_it_passes() {
    let site = Site::empty();
    let done = site.ok(&["doctor", "--host", "sim"]);
    assert!(
        done.stdout.ends_with("9 checks: 0 errors, 0 warnings\n"),
        "{done:#?}"
    );
    assert_eq!(done.stderr, "Next:  wiab plan --host sim\n");
    let steps = Site::with("host = \"sim\"\nplan = \"steps\"\n");
    assert_eq!(steps.run(&["doctor"]).code, 65);
}
