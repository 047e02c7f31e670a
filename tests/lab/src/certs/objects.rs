//! What the charts of an installation bring to the cluster, as far as certificates need it.

use serde_json::{Value, json};

/// The installation's domain.
pub(super) const DOMAIN: &str = "wire.test";
/// The names of the certificate, below the domain.
pub(super) const NAMES: [&str; 3] = ["nginz-https", "webapp", "account"];
/// The certificate, and its secret.
pub(super) const CERTIFICATE: &str = "wire-test-csr";
const SECRET: &str = "nginx-ingress-services-managed-tls-certificate";
const MANAGER: &str = "cert-manager-ns";

/// Group, kind and plural of cert-manager's objects, and whether they belong to a namespace.
const KINDS: [(&str, &str, &str, bool); 5] = [
    ("cert-manager.io", "Certificate", "certificates", true),
    (
        "cert-manager.io",
        "CertificateRequest",
        "certificaterequests",
        true,
    ),
    ("cert-manager.io", "ClusterIssuer", "clusterissuers", false),
    ("acme.cert-manager.io", "Order", "orders", true),
    ("acme.cert-manager.io", "Challenge", "challenges", true),
];

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn definition((group, kind, plural, namespaced): (&str, &str, &str, bool)) -> Value {
    let names = json!({
        "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_ascii_lowercase(),
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "names": names, "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

/// A workload of one container.
fn workload(kind: &str, namespace: &str, name: &str, image: &str) -> Value {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": image}]}},
        },
    })
}

/// cert-manager and its kinds.
pub(super) fn manager() -> String {
    let mut items: Vec<Value> = KINDS.map(definition).to_vec();
    items.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MANAGER}}));
    let image = "quay.io/jetstack/cert-manager-controller:v1.16.3";
    items.push(workload("Deployment", MANAGER, "cert-manager", image));
    list(&items)
}

/// The ingress controller, and something behind it.
pub(super) fn ingress() -> String {
    let labels = json!({"app": "webapp"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "webapp", "namespace": "default"},
        "spec": {"selector": labels, "ports": [{"port": 8080, "protocol": "TCP"}]},
    });
    let controller = "registry.k8s.io/ingress-nginx/controller:v1.10.6";
    list(&[
        workload(
            "DaemonSet",
            "default",
            "ingress-nginx-controller",
            controller,
        ),
        workload("Deployment", "default", "webapp", "quay.io/wire/webapp:1"),
        service,
    ])
}

/// The names of the certificate.
pub(super) fn hosts() -> Vec<String> {
    NAMES.map(|name| format!("{name}.{DOMAIN}")).to_vec()
}

/// The issuer, the certificate, and the ingress that uses it.
pub(super) fn services() -> String {
    let hosts = hosts();
    let backend = json!({"service": {"name": "webapp", "port": {"number": 8080}}});
    let rule = |host: &String| json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let rules: Vec<Value> = hosts.iter().map(rule).collect();
    let issuer = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "letsencrypt-http01"},
        "spec": {"acme": {
            "email": format!("admin@{DOMAIN}"), "server": "https://acme-v02.api.letsencrypt.org/directory",
            "privateKeySecretRef": {"name": "letsencrypt-http01-account-key"},
            "solvers": [{"http01": {"ingress": {"class": "nginx"}}}],
        }},
    });
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": CERTIFICATE, "namespace": "default"},
        "spec": {
            "dnsNames": hosts, "secretName": SECRET, "duration": "2160h0m0s", "renewBefore": "360h0m0s",
            "issuerRef": {"name": "letsencrypt-http01", "kind": "ClusterIssuer"},
        },
    });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "nginx-ingress", "namespace": "default"},
        "spec": {"tls": [{"secretName": SECRET, "hosts": hosts}], "rules": rules},
    });
    list(&[issuer, certificate, ingress])
}
