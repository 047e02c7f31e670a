//! The services: each listens on its own ports and answers about its own state.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{self, Reply};
use crate::{
    Answer, agent, cassandra, etcd, images, minio, postgres, rabbit, systemctl, text, time,
};

/// Configuration of Elasticsearch; its line `discovery.seed_hosts: [a, b]` names the nodes.
const ELASTIC: &str = "/etc/elasticsearch/elasticsearch.yml";
const ELASTIC_CLIENTS: u16 = 9200;
const ELASTIC_NODES: u16 = 9300;
const KUBELET: u16 = 10_250;
/// The machine that the API server and what stands in for the pods run on.
const HUB: std::net::Ipv4Addr = std::net::Ipv4Addr::new(198, 51, 100, 20);

fn fine(_: &str) -> Reply {
    (200, "ok\n".to_owned())
}

/// Elasticsearch counts the nodes that answer.
fn elastic(path: &str) -> Reply {
    if path != "/_cluster/health" {
        return (200, "{}\n".to_owned());
    }
    let config = text(ELASTIC);
    let line = config
        .lines()
        .find_map(|line| line.strip_prefix("discovery.seed_hosts:"));
    let hosts: Vec<Value> = line
        .and_then(|list| serde_json::from_str(list.trim()).ok())
        .unwrap_or_default();
    let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
    let up = hosts
        .iter()
        .filter(|ip| http::get(ip, ELASTIC_NODES, "/").is_some())
        .count();
    let status = if up == hosts.len() { "green" } else { "yellow" };
    let health = json!({"cluster_name": "elasticsearch-directory", "status": status, "number_of_nodes": up, "number_of_data_nodes": up});
    (200, format!("{health}\n"))
}

/// A port, and what is answered there.
type Port = (u16, fn(&str) -> Reply);

/// The ports of a service and what it answers there.
fn ports(service: &str) -> &'static [Port] {
    match service {
        "cassandra" => &[
            (cassandra::GOSSIP, cassandra::reply),
            (cassandra::CLIENTS, fine),
        ],
        "elasticsearch" => &[(ELASTIC_CLIENTS, elastic), (ELASTIC_NODES, fine)],
        "minio1" => &[(minio::PORT, minio::reply)],
        "minio2" => &[(9092, minio::reply)],
        "rabbitmq" => &[(rabbit::NODES, rabbit::reply), (rabbit::CLIENTS, fine)],
        "ntp" => &[(time::PORT, fine)],
        "etcd" => &[(etcd::PORT, fine)],
        "kubelet" => &[(KUBELET, fine)],
        _ => &[],
    }
}

/// Serves until it is killed.
pub(crate) fn forever(service: &str) -> Answer {
    let ports = ports(service);
    if service != "postgresql" && ports.is_empty() {
        return Answer::fail(64, format!("no service {service}\n"));
    }
    for (port, handle) in ports {
        if let Err(error) = listen(*port, |path, _| Some(handle(path))) {
            return Answer::fail(1, format!("port {port}: {error}\n"));
        }
    }
    if service == "postgresql"
        && let Err(error) = listen(postgres::PORT, postgres::reply)
    {
        return Answer::fail(1, format!("port {}: {error}\n", postgres::PORT));
    }
    if service == "kubelet" {
        // The cluster's own machine outside; it answers when it is there.
        std::thread::spawn(|| agent::run(&crate::host(), HUB.into(), || Some(images::listed())));
    }
    if let Err(error) = systemctl::ready() {
        return Answer::fail(1, format!("{service}: {error}\n"));
    }
    if service == "postgresql" {
        postgres::follow();
    }
    rest()
}

fn listen(
    port: u16,
    handle: impl Fn(&str, &mut TcpStream) -> Option<Reply> + Send + Sync + 'static,
) -> std::io::Result<()> {
    let listener = http::listen(port)?;
    std::thread::spawn(move || http::serve(&listener, handle));
    Ok(())
}

/// Is there, and does nothing.
#[expect(clippy::disallowed_methods, reason = "there is nothing to wait for")]
pub(crate) fn rest() -> Answer {
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}
