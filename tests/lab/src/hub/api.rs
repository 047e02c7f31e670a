//! The API server, asked through `kubectl proxy` on the loopback: plain HTTP, nothing to log in with.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::http;
use crate::error::{LabError, Result};

/// Where the proxy listens.
pub(crate) const PROXY: &str = "127.0.0.1:8001";
const PATIENCE: Duration = Duration::from_secs(30);

/// The kinds of objects that the hub handles, and where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    group: &'static str,
    plural: &'static str,
}

impl Kind {
    const fn new(group: &'static str, plural: &'static str) -> Self {
        Self { group, plural }
    }
}

pub(crate) const NODE: Kind = Kind::new("api/v1", "nodes");
pub(crate) const POD: Kind = Kind::new("api/v1", "pods");
pub(crate) const SERVICE: Kind = Kind::new("api/v1", "services");
pub(crate) const SECRET: Kind = Kind::new("api/v1", "secrets");
pub(crate) const EVENT: Kind = Kind::new("api/v1", "events");
pub(crate) const LEASE: Kind = Kind::new("apis/coordination.k8s.io/v1", "leases");
pub(crate) const INGRESS: Kind = Kind::new("apis/networking.k8s.io/v1", "ingresses");
pub(crate) const CERTIFICATE: Kind = Kind::new("apis/cert-manager.io/v1", "certificates");
pub(crate) const REQUEST: Kind = Kind::new("apis/cert-manager.io/v1", "certificaterequests");
pub(crate) const ISSUER: Kind = Kind::new("apis/cert-manager.io/v1", "clusterissuers");
pub(crate) const ORDER: Kind = Kind::new("apis/acme.cert-manager.io/v1", "orders");
pub(crate) const CHALLENGE: Kind = Kind::new("apis/acme.cert-manager.io/v1", "challenges");

/// A text in a document; empty if it is absent.
pub(crate) fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The name of an object.
pub(crate) fn name(json: &Value) -> &str {
    text(json, "/metadata/name")
}

/// The namespace of an object.
pub(crate) fn namespace(json: &Value) -> &str {
    text(json, "/metadata/namespace")
}

/// The items of a list in a document.
pub(crate) fn items<'a>(json: &'a Value, pointer: &str) -> &'a [Value] {
    json.pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn path(kind: Kind, namespace: &str, name: &str) -> String {
    let space = if namespace.is_empty() {
        String::new()
    } else {
        format!("/namespaces/{namespace}")
    };
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("/{name}")
    };
    format!("/{}{space}/{}{name}", kind.group, kind.plural)
}

/// One question; status and document.
fn ask(method: &str, path: &str, media: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let mut stream = TcpStream::connect(PROXY)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut head = http::head(&mut stream)?
        .ok_or_else(|| LabError::check("the API server's proxy says nothing"))?;
    let answer = http::body(&mut stream, &mut head, true)?;
    Ok((
        head.status(),
        serde_json::from_slice(&answer).unwrap_or_default(),
    ))
}

fn refused(method: &str, path: &str, status: u16, answer: &Value) -> LabError {
    LabError::check(format!(
        "{method} {path}: {status} {}",
        text(answer, "/message")
    ))
}

/// An object; `None` if it, or its kind, does not exist.
pub(crate) fn get(kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>> {
    let path = path(kind, namespace, name);
    match ask("GET", &path, "application/json", None)? {
        (200, object) => Ok(Some(object)),
        (404, _) => Ok(None),
        (status, answer) => Err(refused("GET", &path, status, &answer)),
    }
}

/// All objects of a kind, in all namespaces.
pub(crate) fn list(kind: Kind) -> Result<Vec<Value>> {
    let found = get(kind, "", "")?;
    Ok(found.map_or_else(Vec::new, |list| items(&list, "/items").to_vec()))
}

/// Makes an object; whether it is new.
pub(crate) fn create(kind: Kind, object: &Value) -> Result<bool> {
    let path = path(kind, namespace(object), "");
    match ask("POST", &path, "application/json", Some(object))? {
        (200..=299, _) => Ok(true),
        (409, _) => Ok(false),
        (status, answer) => Err(refused("POST", &path, status, &answer)),
    }
}

/// Merges a change into an object, or into its status; what is gone meanwhile is left alone.
pub(crate) fn patch(
    kind: Kind,
    namespace: &str,
    name: &str,
    part: &str,
    change: &Value,
) -> Result<()> {
    let path = format!("{}{part}", path(kind, namespace, name));
    match ask("PATCH", &path, "application/merge-patch+json", Some(change))? {
        (200..=299 | 404 | 409, _) => Ok(()),
        (status, answer) => Err(refused("PATCH", &path, status, &answer)),
    }
}

/// The part of an object that [`patch`] changes: its status.
pub(crate) const STATUS: &str = "/status";

/// Removes an object at once; what is gone already is fine.
pub(crate) fn delete(kind: Kind, namespace: &str, name: &str) -> Result<()> {
    let path = path(kind, namespace, name);
    let how = serde_json::json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
    match ask("DELETE", &path, "application/json", Some(&how))? {
        (200..=299 | 404 | 409, _) => Ok(()),
        (status, answer) => Err(refused("DELETE", &path, status, &answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_objects() {
        assert_eq!(path(NODE, "", "a"), "/api/v1/nodes/a");
        assert_eq!(path(POD, "", ""), "/api/v1/pods");
        assert_eq!(
            path(ORDER, "default", "x"),
            "/apis/acme.cert-manager.io/v1/namespaces/default/orders/x"
        );
    }
}
