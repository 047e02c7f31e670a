//! What is looked at when a certificate does not come. All looks run at once, each is bounded, none changes anything, and
//! one that fails is evidence, too: that this could not be seen, and why.

mod cluster;
mod join;
mod machine;
mod names;
mod nodes;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::Failure;
use wiab_engine::ports::BoxFuture;

use super::super::login::Login;
use super::super::nft_hairpin::NftHairpin;
use super::super::tool::Toolbox;
use super::KubeNode;
use crate::certs::{Cause, End, Findings, HERE, Way};
use crate::host::shell::Shell;
use crate::host::{Cmd, Output};

/// Longest look, in milliseconds: all go on at once, and connections that get no answer, several from each node, take longest.
const LOOK_MS: u64 = 35_000;
/// Most bytes of one piece of evidence.
const BODY_BYTES_MAX: usize = 24 << 10;

/// Where the certificates are asked for: what can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ground {
    /// The domain of all names.
    pub domain: String,
    /// The Kubernetes nodes.
    pub nodes: Vec<KubeNode>,
    /// How they are logged in to.
    pub login: Login,
    /// The hairpin rule, were it there.
    pub rule: NftHairpin,
    /// Public name servers.
    pub resolvers: Vec<String>,
}

/// A piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kinds) struct Evidence {
    /// What was looked at: `nft`, `dns`, `log`.
    pub(in crate::kinds) topic: String,
    /// What was seen, in one line.
    pub(in crate::kinds) summary: String,
    /// Everything that was seen; bounded.
    pub(in crate::kinds) body: String,
}

/// What one look saw.
#[derive(Debug, Default)]
struct Seen {
    summary: String,
    body: String,
    findings: Findings,
}

/// The error is why nothing could be seen.
type Look<'a> = BoxFuture<'a, Result<Seen, String>>;

/// Everything that a look may use.
pub(in crate::kinds) struct Scene<'a> {
    pub(in crate::kinds) sh: Shell<'a>,
    pub(in crate::kinds) toolbox: &'a Toolbox,
    pub(in crate::kinds) ground: &'a Ground,
    pub(in crate::kinds) host_ip: &'a str,
    /// The names that the certificates are for.
    pub(in crate::kinds) names: Vec<String>,
    /// The chain, as it was listed last.
    pub(in crate::kinds) list: &'a Value,
    /// The certificates that are waited for.
    pub(in crate::kinds) certificates: Vec<&'a str>,
}

impl Scene<'_> {
    /// Runs a looking command; any failure is why nothing was seen.
    async fn run(&self, cmd: Result<Cmd, Failure>) -> Result<Output, String> {
        let cmd = cmd.map_err(|failure| failure.why)?.timeout_ms(LOOK_MS);
        let program = cmd.argv.first().cloned().unwrap_or_default();
        match self.sh.probe(&cmd).await {
            Ok(Some(output)) => Ok(output),
            Ok(None) => Err(format!("`{program}` is not installed on this machine")),
            Err(failure) => Err(failure.why),
        }
    }

    /// The same, which must end with 0.
    async fn ok(&self, cmd: Result<Cmd, Failure>) -> Result<Output, String> {
        let output = self.run(cmd).await?;
        if output.ok() {
            return Ok(output);
        }
        let said = match output.error_text() {
            text if text.is_empty() => output.text(),
            text => text,
        };
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        let last = last.unwrap_or("no reason was given");
        Err(format!("code {}: {last}", output.code))
    }

    async fn json(&self, cmd: Result<Cmd, Failure>) -> Result<Value, String> {
        let output = self.ok(cmd).await?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("the JSON cannot be read: {error}"))
    }
}

/// The beginning of a text.
fn bounded(text: String) -> String {
    if text.len() <= BODY_BYTES_MAX {
        return text;
    }
    let mut end = BODY_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let left = text.len() - end;
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}\n… {left} bytes left out …\n")
}

/// Measures with packets whether a cause is gone; what was seen, either way.
pub(in crate::kinds) async fn measure(scene: &Scene<'_>, cause: Cause) -> Result<String, String> {
    let seen = match cause {
        Cause::Egress | Cause::SolverDown => nodes::authority(scene).await?,
        _ => nodes::ways(scene).await?,
    };
    let mut tries = seen.findings.ways.iter().chain(&seen.findings.egress);
    // This machine reaches the authority or not, whatever the nodes do.
    let fails = |way: &Way| match (cause, way.end) {
        (_, End::Answered) => false,
        // With the rules there may be something else on the way.
        (Cause::NotForwarded, end) => end == End::Refused,
        (_, End::Refused | End::Lost | End::NotTried) => way.from != HERE,
    };
    if tries.any(fails) {
        return Err(seen.summary);
    }
    Ok(seen.summary)
}

/// Looks at everything, at once.
pub(in crate::kinds) async fn gather(scene: &Scene<'_>) -> (Findings, Vec<Evidence>) {
    let looks: Vec<(&str, Look<'_>)> = vec![
        (
            "objects",
            Box::pin(std::future::ready(Ok(cluster::objects(scene)))),
        ),
        ("events", Box::pin(cluster::events(scene))),
        ("log", Box::pin(cluster::log(scene))),
        ("pods", Box::pin(cluster::pods(scene))),
        ("address", Box::pin(machine::address(scene))),
        ("kernel", Box::pin(machine::kernel(scene))),
        ("nft", Box::pin(machine::rules(scene))),
        ("ingress", Box::pin(machine::ingress(scene))),
        ("outside", Box::pin(machine::outside(scene))),
        ("ways", Box::pin(nodes::ways(scene))),
        ("authority", Box::pin(nodes::authority(scene))),
        ("images", Box::pin(nodes::images(scene))),
        ("dns cluster", Box::pin(names::cluster(scene))),
        ("dns machine", Box::pin(names::machine(scene))),
        ("dns public", Box::pin(names::public(scene))),
    ];
    let (topics, looks): (Vec<&str>, Vec<Look<'_>>) = looks.into_iter().unzip();
    let seen = join::join(&scene.sh.cx.clock, looks).await;
    let mut findings = Findings {
        host_ip: scene.host_ip.to_owned(),
        ..Findings::default()
    };
    let mut evidence = Vec::new();
    for (topic, seen) in topics.into_iter().zip(seen) {
        let (summary, body) = match seen {
            Ok(seen) => {
                findings.take(seen.findings);
                (seen.summary, seen.body)
            }
            Err(why) => {
                findings.unseen.push((topic.to_owned(), why.clone()));
                (format!("could not be seen: {why}"), String::new())
            }
        };
        evidence.push(Evidence {
            topic: topic.to_owned(),
            summary,
            body: bounded(body),
        });
    }
    (findings, evidence)
}
