//! The table of complaints of cert-manager 1.16 and of Let's Encrypt. The first row that fits counts: those of the authority
//! and of the issuer come before those of the self-check, whose phrases are more general.

use super::classify::{Cause, Sign};

/// What the authority has decided does not change by waiting.
const DECIDED_MS: u64 = 0;
/// Packets that are lost stay lost; one retry of the self-check shows it.
const LOST_MS: u64 = 25_000;
/// The solver needs a moment to start, nginx one to load its rules.
const STARTING_MS: u64 = 50_000;

const ANEW: &str = "`wiab apply` looks at every step again and puts it back";

pub(super) static SIGNS: &[Sign] = &[
    Sign {
        cause: Cause::RateLimited,
        all: &["ratelimited"],
        none: &[],
        meaning: "the certificate authority refuses further certificates or attempts for a while",
        step: "cert.wait",
        cure: "wait until the time that it names, then `wiab apply --resume`; to go on at once with certificates that no browser \
               trusts, set `[certs] staging = true` and run `wiab apply`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::Caa,
        all: &["acme:error:caa"],
        none: &[],
        meaning: "a CAA record of the domain forbids the certificate authority to issue",
        step: "pre.dns",
        cure: "add the record `0 issue \"letsencrypt.org\"` to the CAA records of the domain of {name}, then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::RejectedName,
        all: &["acme:error:rejectedidentifier"],
        none: &[],
        meaning: "the certificate authority does not issue for this domain",
        step: "pre.inputs",
        cure: "set `domain` to one that you own, then run `wiab apply`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::Contact,
        all: &["acme:error:invalidcontact"],
        none: &[],
        meaning: "the certificate authority does not accept the mail address",
        step: "pre.inputs",
        cure: "set `cert_email` to an address that receives mail, then run `wiab apply`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::AuthorityDns,
        all: &["acme:error:dns"],
        none: &[],
        meaning: "the certificate authority does not find the name in the public DNS",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} at every name server of the domain, check with \
               `wiab doctor`, then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::AuthorityUnauthorized,
        all: &["acme:error:unauthorized"],
        none: &[],
        meaning: "the certificate authority is answered by another web server than this installation's",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} and remove AAAA records that point elsewhere, check with `wiab doctor`, \
               then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::AuthorityCannotConnect,
        all: &["acme:error:connection"],
        none: &[],
        meaning: "the certificate authority does not reach port 80 from the internet",
        step: "pre.dns",
        cure: "remove the AAAA record of {name} (the authority prefers it), and let TCP port 80 of {host_ip} through the firewall \
               in front of the host; check with `wiab doctor`, then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::Webhook,
        all: &["failed calling webhook", "cert-manager"],
        none: &[],
        meaning: "cert-manager's webhook does not answer",
        step: "helm.cert-manager",
        cure: "look at its pods with `kubectl -n cert-manager-ns get pods`; `wiab apply` waits for them again",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Egress,
        all: &["failed to register acme account"],
        none: &["acme:error:"],
        meaning: "the VMs do not reach the certificate authority on port 443",
        step: "egress.open",
        cure: "let the VMs out: set `[traffic] private_deployment = false`, or allow acme-v02.api.letsencrypt.org:443 in the firewall in front \
               of the host, then run `wiab apply`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::NoSuchName,
        all: &["lookup ", "no such host"],
        none: &[],
        meaning: "the name server that the cluster uses knows no such name",
        step: "pre.dns",
        cure: "add the A record {name} with {host_ip}; name servers remember a missing name for minutes; check with `wiab doctor`, \
               then `wiab apply --resume`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::ClusterDns,
        all: &["lookup ", "server misbehaving"],
        none: &[],
        meaning: "the cluster's name service gets no answer from the name servers of the host",
        step: "k8s.verify",
        cure: "look at `kubectl -n kube-system get pods` (coredns, nodelocaldns) and at the name servers of the VMs' bridge, then \
               `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::ClusterDns,
        all: &["lookup ", ":53", "i/o timeout"],
        none: &[],
        meaning: "the cluster's name service does not answer",
        step: "k8s.verify",
        cure: "look at `kubectl -n kube-system get pods` (coredns, nodelocaldns) and at the name servers of the VMs' bridge, then \
               `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::SolverDown,
        all: &["wrong status code '503'"],
        none: &[],
        meaning: "the pod that answers the challenge does not run; its image cert-manager-acmesolver is missing on the nodes",
        step: "k8s.seed-helm",
        cure: "look at `kubectl get pods -l acme.cert-manager.io/http01-solver=true`; `wiab apply` loads missing images again",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::NotFound,
        all: &["wrong status code '404'"],
        none: &[],
        meaning: "a web server answers that knows nothing of the challenge",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} and nothing else, check with `wiab doctor`, then `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Redirected,
        all: &["wrong status code '30"],
        none: &[],
        meaning: "the challenge is answered with a redirection",
        step: "helm.nginx-ingress-services",
        cure: "remove settings that force HTTPS from `values.d/nginx-ingress-services.yaml`, then run `wiab apply`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Redirected,
        all: &["self check", "tls: "],
        none: &[],
        meaning: "the challenge is redirected to a server whose certificate is not valid",
        step: "helm.nginx-ingress-services",
        cure: "remove settings that force HTTPS from `values.d/nginx-ingress-services.yaml`, then run `wiab apply`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::OtherSite,
        all: &["did not get expected response when querying endpoint"],
        none: &[],
        meaning: "another web site answers under the name",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} and nothing else, check with `wiab doctor`, then `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Refused,
        all: &["self check", "connection refused"],
        none: &[],
        meaning: "nothing listens where the challenge arrives: the port forwarding or the ingress controller is missing",
        step: "fw.apply",
        cure: ANEW,
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::NoRoute,
        all: &["self check", "no route to host"],
        none: &[],
        meaning: "a node to which the challenge is forwarded is not reachable",
        step: "fw.apply",
        cure: ANEW,
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::Hairpin,
        all: &["self check", "context deadline exceeded"],
        none: &[],
        meaning: "packets from the VMs to the public address do not come back (hairpin), or a firewall drops them",
        step: "hp.snat",
        cure: "set `[hairpin] policy = \"auto\"` and run `wiab apply`, which measures the way with packets and adds the rule if that \
               helps; if {host_ip} is an address of your router, the router must do it (NAT loopback)",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::Hairpin,
        all: &["self check", ":80: i/o timeout"],
        none: &["lookup "],
        meaning: "packets from the VMs to the public address do not come back (hairpin), or a firewall drops them",
        step: "hp.snat",
        cure: "set `[hairpin] policy = \"auto\"` and run `wiab apply`, which measures the way with packets and adds the rule if that \
               helps; if {host_ip} is an address of your router, the router must do it (NAT loopback)",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::BrokenOff,
        all: &["self check", "connection reset by peer"],
        none: &[],
        meaning: "connections break off: the ingress controller restarts, or traffic goes to a node that is down",
        step: "helm.ingress-nginx-controller",
        cure: "look at `kubectl get pods -l app.kubernetes.io/name=ingress-nginx`; then `wiab apply`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::BrokenOff,
        all: &["self check", "eof"],
        none: &[],
        meaning: "connections break off: the ingress controller restarts, or traffic goes to a node that is down",
        step: "helm.ingress-nginx-controller",
        cure: "look at `kubectl get pods -l app.kubernetes.io/name=ingress-nginx`; then `wiab apply`",
        patience_ms: STARTING_MS,
    },
];
