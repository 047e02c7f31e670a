//! The ingress controller: HTTP and HTTPS for each node, by the cluster's ingresses, services, pods and secrets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::api::{self, INGRESS, POD, SECRET, SERVICE, items, name, namespace, text};
use super::kubelet::{chosen, containers};
use super::{Hub, http, pods, tls};
use crate::cmd::Cmd;
use crate::error::Result;
use crate::kube::NODES;
use crate::sys::Watch;

/// Ports on the nodes, and the first of those that they are led to.
pub(super) const PORTS: [(u16, u16); 2] = [(31_772, 41_000), (31_773, 42_000)];
/// How old the picture of the cluster may be, in seconds.
const PICTURE_S: u64 = 1;
const PATIENCE: Duration = Duration::from_secs(20);
/// Begins the paths by which the authority looks.
const CHALLENGE: &str = "/.well-known/acme-challenge/";
const MISSING: &str = "default backend - 404";

/// The hub's port for a node.
pub(super) fn port(first: u16, index: usize) -> u16 {
    first + u16::try_from(index).unwrap_or_default()
}

/// What the cluster says about web traffic.
#[derive(Debug, Default)]
struct Picture {
    ingresses: Vec<Value>,
    services: Vec<Value>,
    pods: Vec<Value>,
    pairs: BTreeMap<String, tls::Pair>,
}

#[derive(Debug)]
struct Ingress {
    hub: Arc<Hub>,
    fake: tls::Pair,
    picture: Mutex<Option<(Watch, Arc<Picture>)>>,
}

/// Serves for every node.
pub(super) fn serve(hub: &Arc<Hub>, address: IpAddr) -> Result<()> {
    let ingress = Arc::new(Ingress {
        hub: hub.clone(),
        fake: fake(hub)?,
        picture: Mutex::default(),
    });
    for index in 0..NODES.len() {
        for (local, first) in PORTS {
            let listener = TcpListener::bind((address, port(first, index)))?;
            let ingress = ingress.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let ingress = ingress.clone();
                    // A client that breaks off is its own affair.
                    std::thread::spawn(move || ingress.connection(stream, local == 31_773).is_ok());
                }
            });
        }
    }
    Ok(())
}

/// The certificate for names that have none.
fn fake(hub: &Hub) -> Result<tls::Pair> {
    let at = |name: &str| hub.order.work.join(name).display().to_string();
    Cmd::new([
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365",
    ])
    .args([
        "-subj",
        "/O=Acme Co/CN=Kubernetes Ingress Controller Fake Certificate",
    ])
    .args(["-addext", "subjectAltName=DNS:ingress.local"])
    .args([
        "-keyout".to_owned(),
        at("fake.key"),
        "-out".to_owned(),
        at("fake.crt"),
    ])
    .run()?;
    tls::pair(
        &fs_err::read(at("fake.crt"))?,
        &fs_err::read(at("fake.key"))?,
    )
}

impl Ingress {
    fn connection(&self, stream: TcpStream, secure: bool) -> Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let picture = self.picture()?;
        if secure {
            let choice = tls::Choice {
                names: picture.pairs.clone(),
                other: self.fake.clone(),
            };
            self.request(&mut tls::accept(stream, choice)?, &picture)
        } else {
            self.request(&mut &stream, &picture)
        }
    }

    fn request(&self, stream: &mut (impl Read + Write), picture: &Picture) -> Result<()> {
        let Some(head) = http::head(stream)? else {
            return Ok(());
        };
        let path = head.target().split('?').next().unwrap_or("/");
        let (status, body) = self.page(picture, &head.host(), path);
        Ok(http::answer(stream, status, body.as_bytes())?)
    }

    /// The picture of the cluster, taken anew when it is too old.
    fn picture(&self) -> Result<Arc<Picture>> {
        let mut held = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, picture)) = held.as_ref()
            && !since.over(PICTURE_S)
        {
            return Ok(picture.clone());
        }
        let mut picture = Picture {
            ingresses: api::list(INGRESS)?,
            services: api::list(SERVICE)?,
            pods: api::list(POD)?,
            pairs: BTreeMap::new(),
        };
        picture.pairs = pairs(&picture.ingresses)?;
        let picture = Arc::new(picture);
        *held = Some((Watch::start(), picture.clone()));
        Ok(picture)
    }

    fn page(&self, picture: &Picture, host: &str, path: &str) -> (&'static str, String) {
        let Some((ingress, backend)) = picture.backend(host, path) else {
            return ("404 Not Found", MISSING.to_owned());
        };
        let Some(pod) = picture.pod(namespace(ingress), &backend) else {
            return (
                "503 Service Temporarily Unavailable",
                "no endpoints\n".to_owned(),
            );
        };
        match path.strip_prefix(CHALLENGE) {
            Some(token) if is_solver(pod) => match self.solved(pod, token) {
                Some(key) => ("200 OK", key),
                None => ("404 Not Found", "not found\n".to_owned()),
            },
            _ => ("200 OK", format!("{backend} of {}\n", name(pod))),
        }
    }

    /// What a solver answers: its own token's key, or what the client of the authority has laid down.
    fn solved(&self, pod: &Value, token: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !token.chars().all(plain) {
            return None;
        }
        if argument(pod, "--token=") == Some(token) {
            return argument(pod, "--key=").map(str::to_owned);
        }
        let laid = self
            .hub
            .order
            .work
            .join("web")
            .join(CHALLENGE.trim_matches('/'));
        fs_err::read_to_string(laid.join(token)).ok()
    }
}

/// An argument of a solver.
fn argument<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let args = containers(pod).first()?.get("args")?.as_array()?;
    args.iter()
        .find_map(|word| word.as_str()?.strip_prefix(name))
}

fn is_solver(pod: &Value) -> bool {
    let label = pod.pointer("/metadata/labels/acme.cert-manager.io~1http01-solver");
    label.is_some()
}

/// The certificates of all ingresses, by the names that they are for.
fn pairs(ingresses: &[Value]) -> Result<BTreeMap<String, tls::Pair>> {
    let mut pairs = BTreeMap::new();
    for ingress in ingresses {
        for part in items(ingress, "/spec/tls") {
            let secret = api::get(SECRET, namespace(ingress), text(part, "/secretName"))?;
            let data = |key: &str| {
                let text = secret.as_ref()?.pointer(key)?.as_str()?;
                STANDARD.decode(text).ok()
            };
            let (Some(chain), Some(key)) = (data("/data/tls.crt"), data("/data/tls.key")) else {
                continue;
            };
            // What cannot be read is served as if it were not there.
            let Ok(pair) = tls::pair(&chain, &key) else {
                continue;
            };
            let hosts = items(part, "/hosts").iter().filter_map(Value::as_str);
            pairs.extend(hosts.map(|host| (host.to_owned(), pair.clone())));
        }
    }
    Ok(pairs)
}

impl Picture {
    /// The ingress and the service for a host and path: the longest path wins.
    fn backend(&self, host: &str, path: &str) -> Option<(&Value, String)> {
        let mut best: Option<(usize, &Value, String)> = None;
        for ingress in &self.ingresses {
            let rules = items(ingress, "/spec/rules");
            for rule in rules.iter().filter(|rule| text(rule, "/host") == host) {
                for one in items(rule, "/http/paths") {
                    let wanted = text(one, "/path");
                    let fits = match text(one, "/pathType") {
                        "Exact" => path == wanted,
                        _ => path.starts_with(wanted),
                    };
                    let longer = best
                        .as_ref()
                        .is_none_or(|(length, ..)| wanted.len() > *length);
                    if fits && longer {
                        let service = text(one, "/backend/service/name").to_owned();
                        best = Some((wanted.len(), ingress, service));
                    }
                }
            }
        }
        best.map(|(_, ingress, service)| (ingress, service))
    }

    /// A ready pod of a service.
    fn pod(&self, in_namespace: &str, service: &str) -> Option<&Value> {
        let own = |one: &&Value| namespace(one) == in_namespace && name(one) == service;
        let service = self.services.iter().find(own)?;
        let selector = service.pointer("/spec/selector")?;
        let pods = chosen(&self.pods, in_namespace, selector);
        pods.into_iter().find(|pod| pods::is_ready(pod))
    }
}
