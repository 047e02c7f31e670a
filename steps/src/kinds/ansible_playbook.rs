//! `ansible.playbook/1`: one playbook of the release, run in its tool container.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, Residue, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::{Step, Tick};

use super::ansible_progress::{Heard, Progress};
use super::jobs::{job_state, last_line};
use super::plays::{Play, Site};
use super::tool::{INVENTORY, STATE};
use super::tool_run::{LOST, Long};
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Host, JobState, quote};
use crate::kind::{About, Input, Kind, Pace};

/// Label of the detached job.
const JOB: &str = "play";
/// The same of a playbook that undo runs.
const RESET: &str = "reset";

/// What the looks before and after it may take, in milliseconds.
const LOOK_MS: u64 = 5 * 60_000;

/// Unaltered output that can be read and watched, host keys that are checked, nothing written into the release's tree.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("ANSIBLE_FORCE_COLOR", "0"),
    ("ANSIBLE_NOCOLOR", "1"),
    ("ANSIBLE_NOCOWS", "1"),
    ("ANSIBLE_HOST_KEY_CHECKING", "True"),
    ("ANSIBLE_RETRY_FILES_ENABLED", "False"),
    ("ANSIBLE_STDOUT_CALLBACK", "default"),
    ("PYTHONUNBUFFERED", "1"),
];

/// A playbook on the machines of the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnsiblePlaybook {
    /// Which one, and how.
    pub play: Play,
    /// Where it runs, and on what.
    pub site: Site,
    /// Files with further variables, below the deploy directory. Secrets belong into such a file, never into the command.
    #[serde(default)]
    pub vars: Vec<String>,
    /// Options of the one `deb` line of the release's package repository: none, or `[trusted=yes]` while its expired key is
    /// put up with. Only [`Play::OfflineSources`] writes that line.
    #[serde(default)]
    pub apt_options: Option<Input<String>>,
}

impl AnsiblePlaybook {
    /// Program and arguments of a playbook inside the container.
    fn argv(&self, playbook: &str, further: &[&str]) -> Result<Vec<String>, Failure> {
        let ssh = format!(
            "-o UserKnownHostsFile={STATE}/ssh/known_hosts -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
        );
        let ssh = serde_json::json!({ "ansible_ssh_common_args": ssh }).to_string();
        let mut argv = vec![
            "ansible-playbook".to_owned(),
            "-i".to_owned(),
            format!("{INVENTORY}/inventory.yml"),
            "-e".to_owned(),
            format!("ansible_ssh_private_key_file={STATE}/ssh/id_ed25519"),
            "-e".to_owned(),
            ssh,
        ];
        if let Some(vars) = self.play.vars(self.apt()?) {
            argv.extend(["-e".to_owned(), vars.to_string()]);
        }
        for file in &self.vars {
            argv.extend(["-e".to_owned(), format!("@{STATE}/{file}")]);
        }
        argv.extend(further.iter().map(|word| (*word).to_owned()));
        argv.push(format!("ansible/{playbook}"));
        Ok(argv)
    }

    /// The options of the `deb` line, empty where there are none.
    fn apt(&self) -> Result<&str, Failure> {
        match &self.apt_options {
            Some(options) => known(options, "apt_options").map(String::as_str),
            None => Ok(""),
        }
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        Ok(self.play.look(sh, &self.site, self.apt()?).await?.probe())
    }

    /// Runs a playbook, or attaches to it, and reports as it goes.
    async fn run(
        &self,
        sh: Shell<'_>,
        label: &str,
        playbook: &str,
        further: &[&str],
    ) -> Result<Receipt, Failure> {
        let argv = self.argv(playbook, further)?;
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let long = Long {
            label,
            args: &words,
            env: &ENVIRONMENT,
            timeout_ms: self.play.timeout_ms(),
        };
        let progress = Mutex::new(Progress::default());
        let line = |text: &str| {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            sh.cx.progress.tick(Tick::Line(text.to_owned()));
            if let Heard::Stage(stage) = progress.line(text) {
                sh.cx.progress.tick(Tick::Stage(stage));
                sh.cx.progress.tick(Tick::Amount {
                    done: progress.tasks(),
                    total: None,
                    unit: "tasks",
                });
            }
        };
        let output = self.site.toolbox.follow(sh, &long, &line).await?;
        let progress = progress
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if output.ok() {
            return Ok(Receipt::note(progress.note()));
        }
        if output.code == 125 {
            return Err(Failure::dirty(format!(
                "docker could not start the container for {playbook}: {}",
                last_line(&output)
            ))
            .code("tool.docker")
            .hint("systemctl status docker; sudo docker ps -a"));
        }
        let reach = |host: &str| self.reach(host);
        Err(progress.failure(playbook, output.code, &reach))
    }

    /// A command by which the operator tests the way to a machine.
    fn reach(&self, host: &str) -> Option<String> {
        let host = self.site.host(host)?;
        Some(quote(&self.site.login.cmd(&host.ip, &["true"]).argv))
    }

    fn unseen(&self, found: &Probe) -> Failure {
        let seen = match found {
            Probe::Drifted { diff } => diff.lines().collect::<Vec<_>>().join(" "),
            Probe::Partial { what } => what.clone(),
            Probe::Absent | Probe::Satisfied(_) | Probe::Unknown { .. } | Probe::Running => {
                "nothing of it is there".to_owned()
            }
        };
        Failure::dirty(format!(
            "playbook {} succeeded, but {} is not as it should be: {seen}",
            self.play.playbook(),
            self.play.brings()
        ))
        .code("ansible.unseen")
        .hint("the playbook ignores some errors of its tasks: look for `ignored` and `failed` in the step's evidence, correct the cause, then wiab apply --resume")
    }
}

impl Kind for AnsiblePlaybook {
    const NAME: &'static str = "ansible.playbook/1";
    const ABOUT: About = About {
        purpose: "What the release sets up on the machines with ansible.",
        probe: "Looks at what the playbook brings, on the machines themselves, so that a finished one is not run again.",
        effect: "Runs the playbook in the release's tool container, or attaches to it where it still runs, and looks again.",
        undo: "Stops it where it still runs, and takes back what it brought as far as its recipe can.",
    };

    fn summary(&self) -> String {
        format!("run {} for {}", self.play.playbook(), self.play.brings())
    }

    fn undo_summary(&self) -> String {
        self.play.undo_summary().to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        self.play.undo_class()
    }

    fn lanes(&self) -> Vec<Lane> {
        self.play.lanes()
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::SHORT,
            timeout_ms: self.play.timeout_ms() + LOOK_MS,
            usual_ms: self.play.usual_ms(),
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for AnsiblePlaybook {
    type Image = Value;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if !sh.cx.resumed {
            return self.look(sh).await;
        }
        let state = job_state(sh, sh.cx.attempt, JOB).await?;
        if matches!(state, JobState::Running | JobState::Exited(0))
            || self.site.toolbox.under_way(sh, JOB).await? && !matches!(state, JobState::Exited(_))
        {
            return Ok(Probe::Running);
        }
        self.look(sh).await
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Value, Failure> {
        self.play.capture(sh, &self.site).await
    }

    async fn apply(&self, sh: Shell<'_>, image: &Value) -> Result<Receipt, Failure> {
        let mut ended = Ok(Receipt::default());
        let under_way = self.site.toolbox.under_way(sh, JOB).await?;
        if !under_way && let Probe::Satisfied(receipt) = self.look(sh).await? {
            return Ok(receipt);
        }
        if under_way || self.play.ready(sh, &self.site, self.apt()?, image).await? {
            ended = self
                .run(sh, JOB, self.play.playbook(), self.play.args())
                .await;
        }
        // Where nobody heard how it ended, what it did can still be seen.
        let done = match ended {
            Err(failure) if failure.code != LOST => Err(failure),
            ended => self.look_again(sh, ended).await,
        };
        // What prepares the machines has touched them, whatever the playbook did.
        done.map_err(|failure| Failure {
            residue: match failure.residue {
                Residue::Clean => Residue::Dirty,
                known => known,
            },
            ..failure
        })
    }

    async fn undo(&self, sh: Shell<'_>, image: &Value) -> Result<(), Failure> {
        self.site.toolbox.settle(sh, JOB).await?;
        if let Some((playbook, args)) = self.play.reset(sh, &self.site, image).await?
            && let Err(failure) = self.run(sh, RESET, playbook, args).await
        {
            // The next attempt of the undo begins anew.
            if matches!(sh.job_state(RESET).await?, JobState::Exited(_)) {
                sh.job_forget(RESET).await?;
            }
            return Err(failure);
        }
        self.play.undo(sh, &self.site, image).await?;
        sh.job_forget(RESET).await
    }
}

impl AnsiblePlaybook {
    /// Mends what the playbook left unfinished, and looks whether all is as wanted.
    async fn look_again(
        &self,
        sh: Shell<'_>,
        ended: Result<Receipt, Failure>,
    ) -> Result<Receipt, Failure> {
        if ended.is_ok() {
            self.play.finish(sh, &self.site).await?;
        }
        match (self.look(sh).await?, ended) {
            (Probe::Satisfied(seen), Ok(receipt)) => Ok(Receipt {
                note: receipt.note.or(seen.note),
                ..seen
            }),
            (Probe::Satisfied(seen), Err(_)) => Ok(seen),
            (_, Err(failure)) => Err(failure),
            (found, Ok(_)) => Err(self.unseen(&found)),
        }
    }
}
