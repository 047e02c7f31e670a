//! Looks from the nodes: whether the public address and the authority are reached with packets, and the solver's image.

use std::collections::BTreeMap;

use super::super::{CONNECT_S, KubeNode, is_ssh};
use super::join::join;
use super::machine::end;
use super::{Scene, Seen};
use crate::certs::{End, Findings, HERE, Way};
use crate::host::Cmd;
use crate::host::Output;

/// Tries from each node: the rules choose another target for each.
const TRIES: usize = 4;
/// Part of the name of the solver's image.
const SOLVER: &str = "cert-manager-acmesolver";

/// Ends of the transfers of one curl, from lines `status exit seconds`.
fn transfers(output: &Output) -> Vec<(End, u64)> {
    let text = output.text();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (_, code, took) = (words.next()?, words.next()?, words.next());
        let seconds: f64 = took.and_then(|text| text.parse().ok()).unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a connection takes seconds"
        )]
        let took_ms = (seconds.clamp(0.0, 1_000.0) * 1_000.0) as u64;
        Some((end(code.parse().ok()?), took_ms))
    });
    let mut all: Vec<(End, u64)> = lines.collect();
    if all.is_empty() {
        all.push((end(output.code), 0));
    }
    all
}

fn ip(node: &KubeNode) -> Result<&str, String> {
    node.ip().map_err(|failure| failure.why)
}

async fn ways_from(scene: &Scene<'_>, node: &KubeNode) -> Result<Vec<Way>, String> {
    let url = format!("http://{}/?[1-{TRIES}]", scene.host_ip);
    let argv = [
        "curl",
        "-s",
        "-k",
        "-o",
        "/dev/null",
        "-H",
        "Connection: close",
        "--connect-timeout",
        CONNECT_S,
        "-w",
        "%{http_code} %{exitcode} %{time_total}\n",
        "--noproxy",
        "*",
        &url,
    ];
    let output = scene
        .run(Ok(scene.ground.login.cmd(ip(node)?, &argv)))
        .await?;
    if is_ssh(output.code) {
        return Err(format!("{} does not answer on ssh", node.name));
    }
    let tried = transfers(&output).into_iter().map(|(end, took_ms)| Way {
        from: node.name.clone(),
        to: String::new(),
        end,
        took_ms,
    });
    Ok(tried.collect())
}

/// Flows of the kernel's table from a node to the public address, and the node that each was forwarded to.
fn flows(text: &str, public: &str, nodes: &BTreeMap<&str, &str>) -> Vec<Way> {
    let flow = |line: &str| {
        let values = |key: &str| -> Vec<String> {
            let found = line
                .split_whitespace()
                .filter_map(|word| word.strip_prefix(key));
            found.map(str::to_owned).collect()
        };
        let (sources, targets) = (values("src="), values("dst="));
        let (from, to) = (sources.first()?, sources.get(1)?);
        if targets.first()? != public {
            return None;
        }
        let lost = line.contains("[UNREPLIED]") || line.contains("SYN_SENT");
        Some(Way {
            from: (*nodes.get(from.as_str())?).to_owned(),
            to: (*nodes.get(to.as_str())?).to_owned(),
            end: if lost { End::Lost } else { End::Answered },
            took_ms: 0,
        })
    };
    text.lines().filter_map(flow).take(64).collect()
}

/// Connects from every node to the public address, and asks the kernel where the packets went.
pub(super) async fn ways(scene: &Scene<'_>) -> Result<Seen, String> {
    let nodes = &scene.ground.nodes;
    let looks = nodes
        .iter()
        .map(|node| -> super::BoxFuture<'_, _> { Box::pin(ways_from(scene, node)) });
    let tried = join(&scene.sh.cx.clock, looks.collect()).await;
    let mut findings = Findings::default();
    let mut said = Vec::new();
    for (node, ways) in nodes.iter().zip(tried) {
        match ways {
            Ok(ways) => {
                let lost = ways.iter().filter(|way| way.end == End::Lost).count();
                let answered = ways.iter().filter(|way| way.end == End::Answered).count();
                said.push(format!(
                    "{}: {answered} answered, {lost} lost of {}",
                    node.name,
                    ways.len()
                ));
                findings.ways.extend(ways);
            }
            Err(why) => {
                said.push(format!("{}: {why}", node.name));
                findings
                    .unseen
                    .push((format!("ways from {}", node.name), why));
            }
        }
    }
    if findings.ways.is_empty() {
        return Err(said.join("; "));
    }
    let names: BTreeMap<&str, &str> = nodes
        .iter()
        .filter_map(|node| Some((node.ip.get()?.as_str(), node.name.as_str())))
        .collect();
    let table = [
        "conntrack",
        "-L",
        "-p",
        "tcp",
        "--orig-dst",
        scene.host_ip,
        "--orig-port-dst",
        "80",
    ];
    let mut body = said.join("\n");
    match scene.ok(Ok(Cmd::new(table).root())).await {
        Ok(output) => {
            findings.flows = flows(&output.text(), scene.host_ip, &names);
            body = format!("{body}\n{}", output.text());
        }
        Err(why) => findings.unseen.push(("pairs of nodes".to_owned(), why)),
    }
    Ok(Seen {
        summary: format!("{}:80 {}", scene.host_ip, said.join("; ")),
        body,
        findings,
    })
}

/// Where the issuer asks for certificates.
fn directory(scene: &Scene<'_>) -> String {
    let items = scene.list.get("items").and_then(|items| items.as_array());
    let server = items.into_iter().flatten().find_map(|item| {
        let server = item.pointer("/spec/acme/server")?.as_str()?;
        server.starts_with("https://").then(|| server.to_owned())
    });
    server.unwrap_or_else(|| "https://acme-v02.api.letsencrypt.org/directory".to_owned())
}

async fn asked(scene: &Scene<'_>, url: &str, node: Option<&KubeNode>) -> Result<Way, String> {
    let argv = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "--connect-timeout",
        "5",
        "--max-time",
        "10",
        "-w",
        "%{http_code} %{exitcode} %{time_total}\n",
        url,
    ];
    let cmd = match node {
        Some(node) => scene.ground.login.cmd(ip(node)?, &argv),
        None => Cmd::new(argv),
    };
    let output = scene.run(Ok(cmd)).await?;
    if node.is_some() && is_ssh(output.code) {
        return Err("no answer on ssh".to_owned());
    }
    let (mut end, took_ms) = transfers(&output).pop().unwrap_or((End::NotTried, 0));
    // A name that is not found, or a certificate that is not accepted, is no answer of the authority.
    if output.code == 6 || output.code == 60 {
        end = End::NotTried;
    }
    Ok(Way {
        from: node.map_or(HERE, |node| &node.name).to_owned(),
        to: String::new(),
        end,
        took_ms,
    })
}

/// Asks the authority for its directory, from every node and from this machine.
pub(super) async fn authority(scene: &Scene<'_>) -> Result<Seen, String> {
    let url = directory(scene);
    let nodes: Vec<Option<&KubeNode>> = scene.ground.nodes.iter().map(Some).chain([None]).collect();
    let looks = nodes
        .iter()
        .map(|node| -> super::BoxFuture<'_, _> { Box::pin(asked(scene, &url, *node)) });
    let tried = join(&scene.sh.cx.clock, looks.collect()).await;
    let mut findings = Findings::default();
    let mut said = Vec::new();
    for (node, way) in nodes.iter().zip(tried) {
        let from = node.map_or(HERE, |node| &node.name);
        match way {
            Ok(way) => {
                said.push(format!("{from} {} after {} ms", way.end, way.took_ms));
                findings.egress.push(way);
            }
            Err(why) => said.push(format!("{from}: {why}")),
        }
    }
    Ok(Seen {
        summary: format!("{url}: {}", said.join(", ")),
        body: said.join("\n"),
        findings,
    })
}

async fn image(scene: &Scene<'_>, node: &KubeNode) -> Result<bool, String> {
    let argv = ["ctr", "-n", "k8s.io", "images", "ls", "-q"];
    let output = scene
        .ok(Ok(scene.ground.login.root(ip(node)?, &argv)))
        .await?;
    Ok(output.text().lines().any(|name| name.contains(SOLVER)))
}

/// Whether the nodes have the solver's image.
pub(super) async fn images(scene: &Scene<'_>) -> Result<Seen, String> {
    let nodes = &scene.ground.nodes;
    let looks = nodes
        .iter()
        .map(|node| -> super::BoxFuture<'_, _> { Box::pin(image(scene, node)) });
    let found = join(&scene.sh.cx.clock, looks.collect()).await;
    let mut findings = Findings::default();
    let mut said = Vec::new();
    for (node, there) in nodes.iter().zip(found) {
        match there {
            Ok(there) => {
                said.push(format!(
                    "{} {}",
                    node.name,
                    if there { "has it" } else { "lacks it" }
                ));
                findings.images.push((node.name.clone(), there));
            }
            Err(why) => said.push(format!("{}: {why}", node.name)),
        }
    }
    if findings.images.is_empty() {
        return Err(said.join("; "));
    }
    Ok(Seen {
        summary: format!("image {SOLVER}: {}", said.join(", ")),
        body: said.join("\n"),
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_tell_which_pairs_fail() {
        let text = "tcp      6 117 SYN_SENT src=192.168.122.21 dst=203.0.113.10 sport=40312 dport=80 [UNREPLIED] src=192.168.122.22 dst=192.168.122.21 sport=31772 dport=40312 mark=0 use=1\n\
                    tcp      6 55 TIME_WAIT src=192.168.122.21 dst=203.0.113.10 sport=40313 dport=80 src=192.168.122.21 dst=192.168.122.1 sport=31772 dport=40313 [ASSURED] mark=0 use=1\n\
                    tcp      6 55 TIME_WAIT src=192.168.122.21 dst=198.51.100.1 sport=40313 dport=80 src=192.168.122.21 dst=192.168.122.1 sport=31772 dport=40313\n\
                    conntrack v1.4.6 (conntrack-tools): 2 flow entries have been shown.\n";
        let nodes = BTreeMap::from([
            ("192.168.122.21", "kubenode1"),
            ("192.168.122.22", "kubenode2"),
        ]);
        let found = flows(text, "203.0.113.10", &nodes);
        let found: Vec<(&str, &str, End)> = found
            .iter()
            .map(|way| (way.from.as_str(), way.to.as_str(), way.end))
            .collect();
        assert_eq!(
            found,
            [
                ("kubenode1", "kubenode2", End::Lost),
                ("kubenode1", "kubenode1", End::Answered)
            ]
        );
    }

    #[test]
    fn transfers_are_read_one_by_one() {
        let output = Output {
            code: 28,
            stdout: b"404 0 0.012\n000 28 4.001\n000 7 0.001\n".to_vec(),
            ..Output::default()
        };
        let ends: Vec<(End, u64)> = transfers(&output);
        assert_eq!(
            ends,
            [(End::Answered, 12), (End::Lost, 4_001), (End::Refused, 1)]
        );
    }
}
