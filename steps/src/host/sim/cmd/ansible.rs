//! `ansible-playbook`: says what the real one says, and leaves the effect to the playbook.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::files;
use super::super::state::{Draft, Entity};
use super::domain::guests;
use super::played::{Run, TaskFailure, played};
use super::plays::{Book, PlayText, book};
use super::{Call, QUICK_MS, Reply, option, options};

/// What ansible takes to begin.
const START_MS: u64 = 3_000;
/// Exit codes of ansible.
const FAILED: i32 = 2;
const UNREACHABLE: i32 = 4;

/// A machine of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inventoried {
    pub(super) name: String,
    pub(super) ip: String,
}

/// A playbook that goes wrong once it runs; its name is the playbook's file name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaybookFault {
    /// A part of the name of the task that fails.
    pub(crate) task: String,
    /// On which machine.
    pub(crate) host: String,
    /// What the module says.
    pub(crate) msg: String,
    /// Whether the machine cannot be reached, rather than the task failing.
    pub(crate) unreachable: bool,
}

impl Entity for PlaybookFault {
    const KIND: &'static str = "playbook-fault";
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let with_value = [
        "-i",
        "--inventory",
        "-e",
        "--extra-vars",
        "--tags",
        "-t",
        "--skip-tags",
        "-l",
        "--limit",
        "--private-key",
        "--ssh-common-args",
        "-f",
        "--forks",
    ];
    let (flags, books) = options(&call.args, &with_value);
    let tags = option(&flags, &["--tags", "-t"]);
    let Some(path) = books.first() else {
        return call.complain(2, "error: the following arguments are required: playbook");
    };
    let file = |path: &str| files::at(draft, &call.path(draft, path));
    if file(path).is_none() {
        let text = format!("ERROR! the playbook: {path} could not be found\n");
        return Reply::fail(1, text).took(QUICK_MS);
    }
    let inventory = option(&flags, &["-i", "--inventory"]).unwrap_or("/etc/ansible/hosts");
    let Some(inventory) = file(inventory) else {
        let text = format!(
            "[WARNING]: Unable to parse {inventory} as an inventory source\n[WARNING]: No inventory was parsed, only implicit localhost is available\n"
        );
        return Reply::ok(text).took(START_MS);
    };
    let name = path.strip_prefix("ansible/").unwrap_or(path);
    let all = machines(&inventory.text());
    let Some(book) = book(name, tags) else {
        return call.complain(1, &format!("the playbook {name} is not simulated"));
    };
    let playing = Playing {
        name,
        tags,
        book,
        vars: variables(&flags),
    };
    perform(draft, call, &all, &playing)
}

/// Variables given as JSON objects.
fn variables(flags: &[(&str, &str)]) -> BTreeMap<String, String> {
    let given = flags
        .iter()
        .filter(|(flag, _)| matches!(*flag, "-e" | "--extra-vars"));
    given
        .filter_map(|(_, text)| serde_json::from_str::<BTreeMap<String, String>>(text).ok())
        .flatten()
        .collect()
}

struct Playing<'a> {
    name: &'a str,
    tags: Option<&'a str>,
    book: &'static Book,
    vars: BTreeMap<String, String>,
}

fn perform(
    draft: &mut Draft<'_>,
    call: &Call<'_>,
    all: &[Inventoried],
    playing: &Playing<'_>,
) -> Reply {
    let guests = guests(draft);
    let injected = draft.get::<PlaybookFault>(playing.name);
    let away = |host: &Inventoried| {
        let lost = |fault: &PlaybookFault| fault.unreachable && fault.host == host.name;
        injected.as_ref().is_some_and(lost)
            || !guests
                .iter()
                .any(|guest| guest.address == host.ip && guest.reachable)
    };
    let targets: Vec<Inventoried> = all
        .iter()
        .filter(|host| {
            playing
                .book
                .plays
                .iter()
                .any(|play| play.aims_at(&host.name))
        })
        .cloned()
        .collect();
    let answering: Vec<Inventoried> = targets.iter().filter(|host| !away(host)).cloned().collect();
    let missing: Vec<Inventoried> = targets.iter().filter(|host| away(host)).cloned().collect();

    let mut scratch = Draft::new(draft.base());
    let run = Run {
        playbook: playing.name,
        tags: playing.tags,
        hosts: &answering,
        vars: &playing.vars,
        call,
    };
    let mut failure = injected
        .clone()
        .filter(|fault| !fault.unreachable)
        .map(|fault| TaskFailure {
            task: fault.task,
            host: fault.host,
            msg: fault.msg,
        });
    let done = played(&mut scratch, &run);
    let (whole, half) = scratch.finish();
    if failure.is_some() || !missing.is_empty() {
        draft.absorb(half.unwrap_or_default());
        draft.mark_half();
    } else {
        failure = done.err();
        draft.absorb_with_half(whole, half);
    }
    let mut talk = Talk::new(&targets);
    let ended = talk.all(playing.book, &missing, failure.as_ref());
    let code = talk.recap(&targets);
    let took_ms = if ended {
        playing.book.took_ms
    } else {
        playing.book.took_ms / 2
    };
    Reply {
        code,
        stdout: talk.text.into_bytes(),
        stderr: Vec::new(),
        took_ms: START_MS + took_ms,
    }
}

/// The machines of an inventory: a name, and its address on the next line.
fn machines(inventory: &str) -> Vec<Inventoried> {
    let mut found = Vec::new();
    let mut name = "";
    for line in inventory.lines() {
        let line = line.trim();
        if let Some(ip) = line.strip_prefix("ansible_host:") {
            found.push(Inventoried {
                name: name.to_owned(),
                ip: ip.trim().trim_matches('"').to_owned(),
            });
        } else if let Some(key) = line.strip_suffix(':') {
            name = key.trim_matches('"');
        }
    }
    found
}

/// Counts of one machine: ok, changed, unreachable, failed.
type Counts = [u32; 4];

/// What is printed.
struct Talk {
    text: String,
    counts: Vec<(String, Counts)>,
}

impl Talk {
    fn new(hosts: &[Inventoried]) -> Self {
        let counts = hosts.iter().map(|host| (host.name.clone(), [0; 4]));
        Self {
            text: String::new(),
            counts: counts.collect(),
        }
    }

    fn heading(&mut self, title: &str) {
        let _ = writeln!(
            self.text,
            "\n{title} {}",
            "*".repeat(79_usize.saturating_sub(title.len()).max(3))
        );
    }

    /// All plays; `false` when one of them fails.
    fn all(&mut self, book: &Book, missing: &[Inventoried], failure: Option<&TaskFailure>) -> bool {
        for play in book.plays {
            self.heading(&format!("PLAY [{}]", play.name));
            for (index, task) in std::iter::once(&"Gathering Facts")
                .chain(play.tasks)
                .enumerate()
            {
                let kind = if task.starts_with("RUNNING HANDLER ") {
                    ""
                } else {
                    "TASK "
                };
                self.heading(&match kind {
                    "" => format!(
                        "RUNNING HANDLER [{}]",
                        task.trim_start_matches("RUNNING HANDLER ")
                    ),
                    _ => format!("TASK [{task}]"),
                });
                let failing = failure
                    .filter(|failure| task.contains(&failure.task) && play.aims_at(&failure.host));
                self.task(play, index, missing, failing);
                if failing.is_some() {
                    return false;
                }
            }
            if missing.iter().any(|host| play.aims_at(&host.name)) {
                return false;
            }
        }
        true
    }

    fn task(
        &mut self,
        play: &PlayText,
        index: usize,
        missing: &[Inventoried],
        failing: Option<&TaskFailure>,
    ) {
        for (name, counts) in &mut self.counts {
            if !play.aims_at(name) {
                continue;
            }
            let gone = missing.iter().find(|host| host.name == *name);
            let _ = if let Some(host) = gone {
                if index > 0 {
                    continue;
                }
                counts[2] += 1;
                let answer = json!({"changed": false, "msg": format!("Failed to connect to the host via ssh: ssh: connect to host {} port 22: No route to host", host.ip), "unreachable": true});
                writeln!(self.text, "fatal: [{name}]: UNREACHABLE! => {answer}")
            } else if let Some(failure) = failing.filter(|failure| failure.host == *name) {
                counts[3] += 1;
                let answer = json!({"changed": false, "msg": failure.msg});
                writeln!(self.text, "fatal: [{name}]: FAILED! => {answer}")
            } else if index % 2 == 1 {
                counts[0] += 1;
                counts[1] += 1;
                writeln!(self.text, "changed: [{name}]")
            } else {
                counts[0] += 1;
                writeln!(self.text, "ok: [{name}]")
            };
        }
    }

    /// The recap; answers the exit code.
    fn recap(&mut self, hosts: &[Inventoried]) -> i32 {
        self.heading("PLAY RECAP");
        let mut code = 0;
        for (name, [ok, changed, unreachable, failed]) in &self.counts {
            let _ = writeln!(
                self.text,
                "{name:<26} : ok={ok:<4} changed={changed:<4} unreachable={unreachable:<4} failed={failed:<4} skipped=0    rescued=0    ignored=0"
            );
            code |= if *failed > 0 { FAILED } else { 0 };
            code |= if *unreachable > 0 { UNREACHABLE } else { 0 };
        }
        let _ = hosts;
        code
    }
}
