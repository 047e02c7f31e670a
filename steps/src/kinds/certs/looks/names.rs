//! What name servers say of the names: that of the cluster, that of this machine, and public ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::super::super::preflight::dns_ask::{Answers, Asked, ask, ask_host, upwards};
use super::super::is_ssh;
use super::{Scene, Seen};
use crate::certs::{Answer, Findings, View};

/// Where nodes and pods ask for names, with nodelocaldns.
const NODE_LOCAL: &str = "169.254.25.10";

/// The server that complaints name: `lookup n on 10.233.0.3:53`.
fn server(scene: &Scene<'_>) -> String {
    let text = scene.list.to_string();
    let named = text.split("lookup ").skip(1).find_map(|rest| {
        let (_, rest) = rest.get(..300).unwrap_or(rest).split_once(" on ")?;
        let (address, _) = rest.split_once(":53")?;
        address.parse::<std::net::Ipv4Addr>().ok()
    });
    named.map_or_else(|| NODE_LOCAL.to_owned(), |address| address.to_string())
}

fn all(set: Option<&BTreeSet<String>>) -> Vec<String> {
    set.into_iter().flatten().cloned().collect()
}

/// The nearest CAA records from a name upwards.
fn caa(records: &BTreeMap<String, BTreeSet<String>>, name: &str) -> Vec<String> {
    let above = upwards(name);
    let nearest = above.iter().find_map(|name| records.get(name));
    all(nearest)
}

fn seen(scene: &Scene<'_>, view: &View, answers: &Answers) -> Seen {
    let mut body = String::new();
    let mut wrong = Vec::new();
    let answers = scene.names.iter().map(|name| Answer {
        view: view.clone(),
        name: name.clone(),
        a: all(answers.a.get(name)),
        aaaa: all(answers.aaaa.get(name)),
        caa: caa(&answers.caa, name),
    });
    let answers: Vec<Answer> = answers.collect();
    for answer in &answers {
        let (a, aaaa, caa) = (
            answer.a.join(" "),
            answer.aaaa.join(" "),
            answer.caa.join(", "),
        );
        let _ = writeln!(body, "{} A [{a}] AAAA [{aaaa}] CAA [{caa}]", answer.name);
        if answer.a != [scene.host_ip.to_owned()] || !answer.aaaa.is_empty() {
            wrong.push(format!(
                "{} is [{}]",
                answer.name,
                [a, aaaa].join(" ").trim()
            ));
        }
    }
    let summary = match wrong.as_slice() {
        [] => format!(
            "{view}: all {} names are {} alone",
            answers.len(),
            scene.host_ip
        ),
        wrong => format!("{view}: {}", wrong.join(", ")),
    };
    Seen {
        summary,
        body,
        findings: Findings {
            answers,
            ..Findings::default()
        },
    }
}

/// Asks the server that cert-manager asks, from the first node.
pub(super) async fn cluster(scene: &Scene<'_>) -> Result<Seen, String> {
    let node = scene.ground.nodes.first().ok_or("there is no node")?;
    let ip = node.ip().map_err(|failure| failure.why)?;
    let (server, mut questions) = (server(scene), Vec::new());
    for name in &scene.names {
        questions.extend([name.as_str(), "A", name, "AAAA"]);
    }
    let at = format!("@{server}");
    let mut argv = vec!["dig", "+noall", "+answer", "+time=2", "+tries=1", &at];
    argv.extend(questions);
    let output = scene.run(Ok(scene.ground.login.cmd(ip, &argv))).await?;
    match output.code {
        0 => Ok(seen(
            scene,
            &View::Cluster,
            &Answers::of_dig(&output.text()),
        )),
        127 => Err(format!("`dig` is not installed on {}", node.name)),
        code if is_ssh(code) => Err(format!("{} does not answer on ssh", node.name)),
        code => {
            let why = format!(
                "{server}, asked on {}, does not answer (code {code})",
                node.name
            );
            Ok(Seen {
                summary: why.clone(),
                body: output.text(),
                findings: Findings {
                    silent: vec![(View::Cluster, why)],
                    ..Findings::default()
                },
            })
        }
    }
}

pub(super) async fn machine(scene: &Scene<'_>) -> Result<Seen, String> {
    let answers = ask_host(scene.sh, &scene.names).await;
    let answers = answers.map_err(|failure| failure.why)?;
    Ok(seen(scene, &View::Machine, &answers))
}

/// Asks public servers, one after the other.
pub(super) async fn public(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut whole = Seen::default();
    let mut said = Vec::new();
    for server in &scene.ground.resolvers {
        let asked = ask(scene.sh, server, &scene.names, Some(&scene.ground.domain)).await;
        let why = match asked {
            Ok(Asked::Answered(answers)) => {
                let one = seen(scene, &View::Public(server.clone()), &answers);
                said.push(one.summary);
                let _ = write!(whole.body, "{server}\n{}", one.body);
                whole.findings.take(one.findings);
                continue;
            }
            Ok(Asked::Silent(why)) => why,
            Ok(Asked::NoTool) => return Err("neither `dig` nor `host` is installed".to_owned()),
            Err(failure) => failure.why,
        };
        said.push(format!("{server}: {why}"));
        whole.findings.unseen.push((format!("dns {server}"), why));
    }
    if whole.findings.answers.is_empty() {
        return Err(said.join("; "));
    }
    whole.summary = said.join("; ");
    Ok(whole)
}
