//! What is understood of ansible's output, and that nothing in it can do harm.

use proptest::prelude::*;
use wiab_engine::outcome::{Residue, RetryAdvice};

use super::*;

fn read(text: &str) -> (Progress, Vec<String>) {
    let mut progress = Progress::default();
    let mut stages = Vec::new();
    for line in text.lines() {
        if let Heard::Stage(stage) = progress.line(line) {
            stages.push(stage);
        }
    }
    (progress, stages)
}

fn no_way(_: &str) -> Option<String> {
    None
}

const FINE: &str = "\
PLAY [cassandra] ***************************************************************

TASK [Gathering Facts] *********************************************************
ok: [datanode1]
\u{1b}[0;33mchanged: [datanode2]\u{1b}[0m

TASK [ansible-cassandra : set [x] in the configuration] ************************
changed: [datanode1] => (item=a)
skipping: [datanode2]

RUNNING HANDLER [ansible-cassandra : restart] **********************************
ok: [datanode1]

PLAY RECAP *********************************************************************
datanode1                  : ok=30   changed=11   unreachable=0    failed=0    skipped=9    rescued=0    ignored=0
datanode2                  : ok=28   changed=10   unreachable=0    failed=0    skipped=11   rescued=0    ignored=0
";

#[test]
fn plays_tasks_and_machines_are_told() {
    let (progress, stages) = read(FINE);
    assert_eq!(
        stages,
        [
            "cassandra",
            "cassandra › Gathering Facts",
            "cassandra › ansible-cassandra : set [x] in the configuration",
            "cassandra › ansible-cassandra : restart",
        ]
    );
    assert_eq!(progress.note(), "2 machines, 58 ok, 21 changed");
    assert_eq!(progress.tasks(), 3);
}

/// What is printed, the exit code, and the residue, advice, and parts of the message and hint that it leads to.
type Case<'a> = (&'a str, i32, Residue, RetryAdvice, &'a [&'a str], &'a str);

fn check(cases: &[Case<'_>]) {
    for (text, code, residue, advice, said, hint) in cases {
        let failure = read(text).0.failure("x.yml", *code, &no_way);
        assert_eq!(
            (failure.residue, failure.advice),
            (*residue, *advice),
            "{text}: {failure:?}"
        );
        for part in *said {
            assert!(failure.why.contains(part), "{part}: {failure:?}");
        }
        assert!(failure.hint.unwrap_or_default().contains(hint), "{hint}");
    }
}

#[test]
fn a_failure_names_task_machine_and_reason() {
    let task = "PLAY [minio] ***\nTASK [Create buckets] ***\nchanged: [datanode1]\nfatal: [datanode2]: FAILED! => {\"changed\": false, \"cmd\": \"mc mb x\", \"msg\": \"non-zero return code\", \"stderr\": \"first\\nmc: Unable to reach 10.0.0.1:9000\\n\", \"rc\": 1}\nPLAY RECAP ***\ndatanode1 : ok=2 changed=1 unreachable=0 failed=0\ndatanode2 : ok=1 changed=0 unreachable=0 failed=1\n";
    let locked = "TASK [install ntp] ***\nfatal: [datanode1]: FAILED! => {\"msg\": \"E: Could not get lock /var/lib/dpkg/lock-frontend\"}\n";
    let away = "PLAY [all] ***\nTASK [Gathering Facts] ***\nok: [datanode1]\nfatal: [datanode2]: UNREACHABLE! => {\"changed\": false, \"msg\": \"Failed to connect to the host via ssh: No route to host\", \"unreachable\": true}\nPLAY RECAP ***\ndatanode1 : ok=1 changed=0 unreachable=0 failed=0\ndatanode2 : ok=0 changed=0 unreachable=1 failed=0\n";
    let away_late = away.replace("ok=1 changed=0", "ok=1 changed=1");
    check(&[
        (
            task,
            2,
            Residue::Dirty,
            RetryAdvice::GiveUp,
            &[
                "x.yml: task `Create buckets` failed on datanode2: non-zero return code: mc: Unable to reach 10.0.0.1:9000",
                "datanode2: ok=1 changed=0 unreachable=0 failed=1",
                "exit code 2",
            ],
            "datanode2",
        ),
        (
            locked,
            2,
            Residue::Dirty,
            RetryAdvice::Retry,
            &["install ntp"],
            "another package manager works on datanode1",
        ),
        (
            away,
            4,
            Residue::Clean,
            RetryAdvice::Retry,
            &["datanode2 cannot be reached over ssh", "No route to host"],
            "ssh datanode2 true",
        ),
        (
            &away_late,
            4,
            Residue::Dirty,
            RetryAdvice::Retry,
            &["datanode2 cannot be reached"],
            "ssh datanode2 true",
        ),
    ]);
}

#[test]
fn a_failure_without_a_task_is_told_by_its_exit_code() {
    check(&[
        (
            "ERROR! the playbook: ansible/x.yml could not be found\n",
            1,
            Residue::Clean,
            RetryAdvice::GiveUp,
            &["did not begin", "could not be found"],
            "unpack the artifact again",
        ),
        (
            "",
            250,
            Residue::Unknown,
            RetryAdvice::GiveUp,
            &["unexpected error inside ansible"],
            "",
        ),
        (
            FINE,
            137,
            Residue::Unknown,
            RetryAdvice::GiveUp,
            &["memory runs out"],
            "",
        ),
        (
            "",
            1,
            Residue::Dirty,
            RetryAdvice::GiveUp,
            &["an error"],
            "",
        ),
    ]);
}

#[test]
fn an_ignored_failure_is_none() {
    let text = "TASK [a] ***\nfatal: [h]: FAILED! => {\"msg\": \"x\"}\n...ignoring\nTASK [b] ***\nfatal: [h]: FAILED! => {\"msg\": \"y\"}\n";
    let failure = read(text).0.failure("x.yml", 2, &no_way);
    assert!(
        failure.why.contains("task `b` failed on h: y"),
        "{failure:?}"
    );
}

/// Pieces that ansible's output consists of, and what breaks them.
fn pieces() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("PLAY [".to_owned()),
        Just("TASK [".to_owned()),
        Just("RUNNING HANDLER [".to_owned()),
        Just("] ***".to_owned()),
        Just("PLAY RECAP ***".to_owned()),
        Just("fatal: [".to_owned()),
        Just("]: FAILED! => {".to_owned()),
        Just("]: UNREACHABLE! => ".to_owned()),
        Just("{\"msg\": \"".to_owned()),
        Just("\"}".to_owned()),
        Just("ok: [".to_owned()),
        Just(" : ok=18446744073709551615 changed=".to_owned()),
        Just("...ignoring".to_owned()),
        Just("ERROR! ".to_owned()),
        Just("\u{1b}[".to_owned()),
        Just("\n".to_owned()),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_output_does_harm(parts in proptest::collection::vec(pieces(), 0..60), code in any::<i32>()) {
        let (progress, stages) = read(&parts.concat());
        for stage in stages {
            prop_assert!(stage.chars().count() <= 2 * NAME_CHARS_MAX + 8);
        }
        prop_assert!(progress.hosts.len() <= HOSTS_MAX && progress.failed.len() <= FAILED_MAX);
        let failure = progress.failure("x.yml", code, &no_way);
        prop_assert!(failure.why.chars().count() < 4_000);
        prop_assert!(!failure.why.chars().any(char::is_control), "{:?}", failure.why);
        prop_assert!(progress.note().len() < 200);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn very_much_output_is_bounded(hosts in 1_usize..400, chars in 1_usize..5_000) {
        let mut progress = Progress::default();
        let long = "x".repeat(chars);
        for host in 0..hosts {
            progress.line(&format!("TASK [{long}] ***"));
            progress.line(&format!("fatal: [{long}{host}]: FAILED! => {{\"msg\": \"{long}\"}}"));
        }
        let failure = progress.failure("x.yml", 2, &no_way);
        prop_assert!(failure.why.chars().count() < 4_000);
    }
}
