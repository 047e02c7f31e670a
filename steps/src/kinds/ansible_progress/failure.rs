//! Why a playbook failed, in one sentence, and what to do about it.

use wiab_engine::outcome::Failure;

use super::{Counts, FAILED_MAX, Failed, Progress};

/// Bits and values of ansible's exit code.
const CODE_HOSTS_FAILED: i32 = 2;
const CODE_UNREACHABLE_OLD: i32 = 3;
const CODE_UNREACHABLE: i32 = 4;
const CODE_INTERRUPTED: i32 = 99;
const CODE_UNEXPECTED: i32 = 250;

impl Progress {
    /// The machines that did not fare well: `datanode2 failed=1 (ok=3, changed=1)`.
    fn casualties(&self) -> String {
        let bad = self
            .hosts
            .iter()
            .filter(|(_, counts)| counts.failed + counts.unreachable > 0);
        let texts: Vec<String> = bad
            .take(FAILED_MAX)
            .map(|(host, counts)| {
                let Counts {
                    ok,
                    changed,
                    unreachable,
                    failed,
                } = counts;
                format!(
                    "{host}: ok={ok} changed={changed} unreachable={unreachable} failed={failed}"
                )
            })
            .collect();
        texts.join("; ")
    }

    /// Whether the recap says that nothing was changed anywhere: all that happened is that machines did not answer.
    fn only_unreachable(&self) -> bool {
        self.in_recap
            && !self.hosts.is_empty()
            && self
                .hosts
                .values()
                .all(|counts| counts.changed == 0 && counts.failed == 0)
            && self.failed.iter().all(|failed| failed.unreachable)
    }

    /// Why a playbook ended with this code. `reach` makes a command that tests the way to a machine.
    pub(crate) fn failure(
        &self,
        playbook: &str,
        code: i32,
        reach: &dyn Fn(&str) -> Option<String>,
    ) -> Failure {
        if let Some(first) = self.failed.iter().find(|failed| !failed.unreachable) {
            return self.task_failed(playbook, code, first);
        }
        if let Some(first) = self.failed.first() {
            return self.unreachable(playbook, first, reach);
        }
        let stage = if self.task.is_empty() {
            String::new()
        } else {
            format!(" in task `{}`", self.task)
        };
        let why = format!("{playbook} ended with {code}{stage}: {}", meaning(code));
        match &self.error {
            Some(error) if self.tasks == 0 => Failure::clean(format!(
                "{playbook} did not begin (exit code {code}): {error}"
            ))
            .code("ansible.error")
            .hint("the release or its inventory is damaged; unpack the artifact again: wiab apply --only art"),
            Some(error) => Failure::dirty(format!("{why}: {error}")).code("ansible.error"),
            None if matches!(code, 1 | CODE_HOSTS_FAILED | CODE_UNREACHABLE) => {
                Failure::dirty(why).code("ansible.error")
            }
            None => Failure::unknown(why).code("ansible.error"),
        }
    }

    fn task_failed(&self, playbook: &str, code: i32, first: &Failed) -> Failure {
        let Failed {
            task, host, msg, ..
        } = first;
        let failure = Failure::dirty(format!(
            "{playbook}: task `{task}` failed on {host}: {msg} (exit code {code}; {})",
            self.casualties()
        ))
        .code("ansible.task");
        let lower = msg.to_lowercase();
        if [
            "dpkg frontend",
            "could not get lock",
            "dpkg/lock",
            "unable to acquire the dpkg",
        ]
        .iter()
        .any(|sign| lower.contains(sign))
        {
            return failure.retry().hint(format!(
                "another package manager works on {host}; wait for it, or stop it: sudo systemctl stop unattended-upgrades"
            ));
        }
        // `apt_key` does not count an expired key among those it added.
        let expired = ["expkeysig", "failed to add the key"];
        if expired.iter().any(|sign| lower.contains(sign)) {
            return failure.code("release.key-expired").hint(
                "the signing key of the release's package repository has expired: use a release with a renewed key ([artifact] hash), or set [artifact] accept_expired_key = true; then wiab apply anew"
            );
        }
        failure.hint(format!(
            "correct the cause on {host}, then wiab apply --resume; what ansible said is in the step's evidence"
        ))
    }

    fn unreachable(
        &self,
        playbook: &str,
        first: &Failed,
        reach: &dyn Fn(&str) -> Option<String>,
    ) -> Failure {
        let mut hosts: Vec<&str> = self
            .failed
            .iter()
            .map(|failed| failed.host.as_str())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        let why = format!(
            "{playbook}: {} cannot be reached over ssh: {}",
            hosts.join(", "),
            first.msg
        );
        let failure = if self.only_unreachable() {
            Failure::clean(why)
        } else {
            Failure::dirty(why)
        };
        let test = reach(&first.host).unwrap_or_else(|| format!("ssh {} true", first.host));
        failure.code("ansible.unreachable").retry().hint(format!(
            "test the way to {}: {test}; is the machine running (virsh list --all) and its address right?",
            first.host
        ))
    }
}

/// What ansible's exit code means.
fn meaning(code: i32) -> &'static str {
    match code {
        1 => "an error",
        CODE_HOSTS_FAILED => "a task failed on some machines",
        CODE_UNREACHABLE_OLD | CODE_UNREACHABLE => "some machines could not be reached",
        5 => "the playbook or the options cannot be read",
        6 => "tasks failed, and some machines could not be reached",
        8 => "a failure ended a play for all machines",
        CODE_INTERRUPTED | 130 => "it was interrupted",
        125 => "docker could not start the container",
        127 => "the container has no such program",
        137 => "it was killed; the kernel does so when memory runs out",
        143 => "it was asked to stop",
        CODE_UNEXPECTED => "an unexpected error inside ansible",
        _ => "ansible knows no such code",
    }
}
