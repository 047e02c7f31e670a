//! Follows certificates through their chains, from the request to the solver's pod, and notices trouble early.

use serde_json::Value;
use wiab_engine::outcome::Failure;
use wiab_engine::ports::Tick;

use super::super::tool::Toolbox;
use super::trigger::trigger;
use crate::certs::{Diagnosis, Look, NAMESPACE, Ready, classify, look, until};
use crate::host::shell::Shell;

/// Between two looks, at first.
const POLL_MS: u64 = 5_000;
/// Between two looks, later.
const SLOW_POLL_MS: u64 = 15_000;
/// How long it is looked at often, in milliseconds.
const OFTEN_MS: u64 = 120_000;
/// An issuance that failed so long ago failed before this attempt had a say.
const OLD_MS: u64 = 120_000;
/// How long a complaint that is not known may go away by itself, in milliseconds.
const UNKNOWN_MS: u64 = 30_000;
/// How long nothing may happen, in milliseconds.
const STILL_MS: u64 = 55_000;
/// Everything that takes part, in one question.
const KINDS: &str = "certificates.cert-manager.io,certificaterequests.cert-manager.io,orders.acme.cert-manager.io,\
                     challenges.acme.cert-manager.io,clusterissuers.cert-manager.io";
/// What cert-manager makes to answer challenges, in another.
const SOLVER: &str = "pods,services,ingresses.networking.k8s.io";
const SOLVER_LABEL: &str = "acme.cert-manager.io/http01-solver=true";

/// Something that does not go away by itself.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// The certificate that it is about.
    pub(super) certificate: String,
    /// How far it is.
    pub(super) look: Look,
    /// What is complained about; empty when merely nothing happens.
    pub(super) complaint: String,
    /// What that means.
    pub(super) found: Option<Diagnosis>,
    /// Everything as it was listed.
    pub(super) list: Value,
}

/// What following led to.
#[derive(Debug)]
pub(super) enum News {
    /// All certificates are there; in their order.
    Ready(Vec<Ready>),
    /// One of them is in trouble.
    Trouble(Box<Trouble>),
    /// The time is over.
    Late,
}

/// What is known of one certificate.
#[derive(Debug, Default)]
struct Track {
    /// The cause of the complaint that is waited out, and since when.
    sign: Option<(Option<crate::certs::Cause>, u64)>,
    /// The stage, and since when.
    stage: (String, u64),
    /// The request whose failure was answered by asking for another attempt.
    answered: Option<String>,
    /// Causes and stages that were reported: not again.
    told: Vec<String>,
}

/// Follows certificates.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    sh: Shell<'a>,
    toolbox: &'a Toolbox,
    names: Vec<&'a str>,
    tracks: Vec<Track>,
    begun_ms: u64,
    deadline_ms: u64,
    /// Whether an issuance that has failed may be asked for again.
    again: bool,
    shown: String,
    said: String,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        sh: Shell<'a>,
        toolbox: &'a Toolbox,
        names: Vec<&'a str>,
        deadline_ms: u64,
    ) -> Self {
        let tracks = names.iter().map(|_| Track::default()).collect();
        Self {
            sh,
            toolbox,
            names,
            tracks,
            begun_ms: sh.cx.clock.mono_ms(),
            deadline_ms,
            again: sh.cx.attempt > 1 || sh.cx.resumed,
            shown: String::new(),
            said: String::new(),
        }
    }

    /// Something was cured: what has failed is asked for again, and every complaint has its time anew.
    pub(super) fn cured(&mut self) {
        self.again = true;
        for track in &mut self.tracks {
            *track = Track::default();
        }
    }

    /// Goes on for that much longer at most.
    pub(super) fn hope(&mut self, ms: u64) {
        let waited_ms = self.sh.cx.clock.mono_ms().saturating_sub(self.begun_ms);
        self.deadline_ms = self.deadline_ms.min(waited_ms.saturating_add(ms));
    }

    /// What was heard last.
    pub(super) fn said(&self) -> &str {
        if self.said.is_empty() {
            &self.shown
        } else {
            &self.said
        }
    }

    /// Follows them until there is news.
    pub(super) async fn next(&mut self) -> Result<News, Failure> {
        let clock = self.sh.cx.clock.clone();
        loop {
            match list(self.sh, self.toolbox).await? {
                Ok(list) => {
                    if let Some(news) = self.consider(&list).await? {
                        return Ok(news);
                    }
                }
                Err(why) if why.contains("doesn't have a resource type") => {
                    return Err(
                        Failure::clean("cert-manager is not installed in the cluster")
                            .hint("`wiab apply` installs it (step helm.cert-manager)")
                            .code("cert.no-manager"),
                    );
                }
                Err(why) => self.show(&why),
            }
            let waited_ms = clock.mono_ms().saturating_sub(self.begun_ms);
            if waited_ms >= self.deadline_ms {
                return Ok(News::Late);
            }
            let pause_ms = if waited_ms < OFTEN_MS {
                POLL_MS
            } else {
                SLOW_POLL_MS
            };
            clock.sleep(pause_ms).await;
        }
    }

    fn show(&mut self, stage: &str) {
        if stage != self.shown {
            self.sh.cx.progress.tick(Tick::Stage(stage.to_owned()));
            stage.clone_into(&mut self.shown);
        }
    }

    async fn consider(&mut self, list: &Value) -> Result<Option<News>, Failure> {
        let wall_ms = self.sh.cx.clock.wall_ms();
        let looks: Vec<Look> = self.names.iter().map(|name| look(list, name)).collect();
        let ready = looks.iter().map(|look| valid(look, wall_ms).cloned());
        if let Some(ready) = ready.collect::<Option<Vec<Ready>>>() {
            return Ok(Some(News::Ready(ready)));
        }
        for (at, look) in looks.into_iter().enumerate() {
            if valid(&look, wall_ms).is_some() {
                continue;
            }
            self.show(&look.stage);
            if let Some(trouble) = self.weigh(at, look, list).await? {
                return Ok(Some(News::Trouble(Box::new(trouble))));
            }
        }
        Ok(None)
    }

    /// What a look without a certificate means.
    async fn weigh(
        &mut self,
        at: usize,
        look: Look,
        list: &Value,
    ) -> Result<Option<Trouble>, Failure> {
        let now_ms = self.sh.cx.clock.mono_ms();
        let Some((name, track)) = self.names.get(at).zip(self.tracks.get_mut(at)) else {
            return Ok(None);
        };
        let complaint = look.complaint.clone().unwrap_or_default();
        let found = classify(&complaint);
        let trouble = |look: Look, complaint: &str| Trouble {
            certificate: (*name).to_owned(),
            look,
            complaint: complaint.to_owned(),
            found: classify(complaint),
            list: list.clone(),
        };
        if let Some(request) = look.failed.clone() {
            if track.answered.as_ref() == Some(&request) {
                return Ok(None);
            }
            if track.answered.is_none() && may_ask_again(self.sh, self.again, &look, &complaint) {
                trigger(self.sh, self.toolbox, name, list).await?;
                track.answered = Some(request);
                self.show("asked cert-manager for another attempt");
                return Ok(None);
            }
            return Ok(Some(trouble(look, &complaint)));
        }
        if track.stage.0 != look.stage {
            track.stage = (look.stage.clone(), now_ms);
        }
        if complaint.is_empty() {
            track.sign = None;
            let still = now_ms.saturating_sub(track.stage.1) >= STILL_MS;
            if still && !track.told.contains(&look.stage) {
                track.told.push(look.stage.clone());
                return Ok(Some(trouble(look, "")));
            }
            return Ok(None);
        }
        self.said.clone_from(&complaint);
        let cause = found.map(|found| found.cause());
        let since_ms = match &track.sign {
            Some((known, since_ms)) if *known == cause => *since_ms,
            Some(_) | None => {
                track.sign = Some((cause, now_ms));
                now_ms
            }
        };
        let patience_ms = found.map_or(UNKNOWN_MS, |found| found.patience_ms());
        if now_ms.saturating_sub(since_ms) < patience_ms {
            return Ok(None);
        }
        // What was diagnosed without an end is not diagnosed again: it is hoped for.
        let told = cause.map_or("not known", crate::certs::Cause::code);
        if track.told.iter().any(|known| known == told) {
            return Ok(None);
        }
        track.told.push(told.to_owned());
        Ok(Some(trouble(look, &complaint)))
    }
}

/// The certificate, if it is there and not expired.
pub(super) fn valid(look: &Look, wall_ms: u64) -> Option<&Ready> {
    look.ready
        .as_ref()
        .filter(|ready| ready.not_after_ms > wall_ms)
}

/// Whether an issuance that has failed failed for a reason that may be gone: after a cure, or long ago.
fn may_ask_again(sh: Shell<'_>, again: bool, look: &Look, complaint: &str) -> bool {
    let wall_ms = sh.cx.clock.wall_ms();
    let refused = until(complaint).is_some_and(|(_, until_ms)| until_ms > wall_ms);
    let old = look.failed_ms.is_some_and(|at_ms| at_ms + OLD_MS < wall_ms);
    !refused && (old || again)
}

/// Looks once, at the solver's objects only while a challenge needs them; the inner error is why kubectl has no answer.
pub(super) async fn list(
    sh: Shell<'_>,
    toolbox: &Toolbox,
) -> Result<Result<Value, String>, Failure> {
    let chain = ["get", KINDS, "-n", NAMESPACE, "-o", "json"];
    let mut list = match ask(sh, toolbox, &chain).await? {
        Ok(list) => list,
        Err(why) => return Ok(Err(why)),
    };
    let solves = list.get("items").and_then(Value::as_array);
    let solves = solves.into_iter().flatten().any(|item| {
        item.get("kind").and_then(Value::as_str) == Some("Challenge")
            && item.pointer("/status/state").and_then(Value::as_str) != Some("valid")
    });
    if solves {
        let made = [
            "get",
            SOLVER,
            "-n",
            NAMESPACE,
            "-l",
            SOLVER_LABEL,
            "-o",
            "json",
        ];
        // Without them the chain still says most.
        let more = ask(sh, toolbox, &made).await?.unwrap_or_default();
        let more = more.get("items").and_then(Value::as_array).cloned();
        if let Some(items) = list.get_mut("items").and_then(Value::as_array_mut) {
            items.extend(more.into_iter().flatten());
        }
    }
    Ok(Ok(list))
}

async fn ask(
    sh: Shell<'_>,
    toolbox: &Toolbox,
    args: &[&str],
) -> Result<Result<Value, String>, Failure> {
    let Some(output) = sh.probe(&toolbox.kubectl(args)?).await? else {
        return Ok(Err("docker is not installed on the host".to_owned()));
    };
    if !output.ok() {
        let said = output.error_text();
        let last = said.lines().next_back().unwrap_or("kubectl failed");
        return Ok(Err(last.to_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("kubectl's JSON cannot be read: {error}")))
}
