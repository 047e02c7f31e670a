//! What each cause means, which step cures it, and what the operator can do: for people.

use super::cause::Cause;

/// What a cause means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// What it is.
    pub(super) cause: Cause,
    /// What it means, in one sentence without a full stop: `{host_ip}` is replaced.
    pub(super) meaning: &'static str,
    /// The step whose work cures it, or that looks at it.
    pub(super) step: &'static str,
    /// What to do: `{name}` and `{host_ip}` are replaced.
    pub(super) cure: &'static str,
    /// How long it may go away by itself, in milliseconds.
    pub(super) patience_ms: u64,
}

/// What the authority has decided does not change by waiting.
const DECIDED_MS: u64 = 0;
/// Packets that are lost stay lost; one retry of the self-check shows it.
const LOST_MS: u64 = 25_000;
/// The solver needs a moment to start, nginx one to load its rules.
const STARTING_MS: u64 = 35_000;

const ANEW: &str = "`wiab apply` looks at every step again and puts it back";

/// For a cause without a row, which a test forbids.
static UNKNOWN: Sign = Sign {
    cause: Cause::Backoff,
    meaning: "the cause is not known",
    step: "cert.wait",
    cure: "look at `kubectl describe certificate,order,challenge`; then `wiab apply --resume`",
    patience_ms: STARTING_MS,
};

/// The row of a cause.
pub(super) fn sign(cause: Cause) -> &'static Sign {
    let found = SIGNS.iter().find(|sign| sign.cause == cause);
    found.unwrap_or(&UNKNOWN)
}

pub(super) static SIGNS: &[Sign] = &[
    Sign {
        cause: Cause::RateLimited,
        meaning: "the certificate authority refuses further certificates or attempts for a while",
        step: "cert.wait",
        cure: "wait until the time that it names, then `wiab apply --resume`; to go on at once with certificates that no browser \
               trusts, set `[certs] staging = true` and run `wiab apply`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::Caa,
        meaning: "a CAA record of the domain forbids the certificate authority to issue",
        step: "pre.dns",
        cure: "add the record `0 issue \"letsencrypt.org\"` to the CAA records of the domain of {name}, then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::RejectedName,
        meaning: "the certificate authority does not issue for this domain",
        step: "pre.inputs",
        cure: "set `domain` to one that you own, then run `wiab apply`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::Contact,
        meaning: "the certificate authority does not accept the mail address",
        step: "pre.inputs",
        cure: "set `cert_email` to an address that receives mail, then run `wiab apply`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::Account,
        meaning: "the certificate authority does not accept the account",
        step: "cert.wait",
        cure: "the account's key is in the secret letsencrypt-http01-account-key of the namespace cert-manager-ns: when it belongs to a deactivated account, delete it with `kubectl -n cert-manager-ns delete secret letsencrypt-http01-account-key`, and cert-manager registers a new one; then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::AuthorityDns,
        meaning: "the certificate authority does not find the name in the public DNS",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} at every name server of the domain, check with \
               `wiab doctor`, then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::AuthorityUnauthorized,
        meaning: "the certificate authority is answered by another web server than this installation's",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} and remove AAAA records that point elsewhere, check with `wiab doctor`, \
               then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::AuthorityCannotConnect,
        meaning: "the certificate authority does not reach port 80 from the internet",
        step: "pre.dns",
        cure: "remove the AAAA record of {name} (the authority prefers it), and let TCP port 80 of {host_ip} through the firewall \
               in front of the host; check with `wiab doctor`, then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::AuthorityBusy,
        meaning: "the certificate authority has trouble of its own",
        step: "cert.wait",
        cure: "look at https://letsencrypt.status.io, wait a while, then `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Intercepted,
        meaning: "something between the cluster and the certificate authority shows a certificate of its own: a proxy that looks into TLS",
        step: "egress.open",
        cure: "exempt acme-v02.api.letsencrypt.org from the inspection of TLS, then `wiab apply --resume`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::Clock,
        meaning: "the clock of a node is wrong: to it the certificate of the authority is not valid",
        step: "dn.ntp",
        cure: "set the clocks of the host and the VMs (`timedatectl`), then `wiab apply`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::Webhook,
        meaning: "cert-manager's webhook does not answer",
        step: "helm.cert-manager",
        cure: "look at its pods with `kubectl -n cert-manager-ns get pods`; `wiab apply` waits for them again",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::IngressWebhook,
        meaning: "the ingress controller's webhook does not let the solver's ingress in",
        step: "helm.ingress-nginx-controller",
        cure: "look at `kubectl get pods -l app.kubernetes.io/name=ingress-nginx` and `kubectl get validatingwebhookconfigurations`; `wiab apply` waits for them again",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Denied,
        meaning: "the certificate request was denied in the cluster",
        step: "cert.wait",
        cure: "look at `kubectl describe certificaterequest` for who denied it (an approval policy), permit it, then `wiab apply --resume`",
        patience_ms: DECIDED_MS,
    },
    Sign {
        cause: Cause::Issuer,
        meaning: "the issuer of the certificates is missing or cannot solve challenges",
        step: "helm.nginx-ingress-services",
        cure: "look at `kubectl describe clusterissuer letsencrypt-http01`; `wiab apply` installs it again",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::ManagerDown,
        meaning: "cert-manager does not run, so nobody works on the certificate",
        step: "helm.cert-manager",
        cure: "look at `kubectl -n cert-manager-ns get pods` and their logs; `wiab apply` installs it again",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Egress,
        meaning: "the VMs do not reach the certificate authority on port 443",
        step: "egress.open",
        cure: "let the VMs out: set `[traffic] private_deployment = false`, or allow acme-v02.api.letsencrypt.org:443 in the firewall in front \
               of the host, then run `wiab apply`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::NoSuchName,
        meaning: "the name server that the cluster uses knows no such name",
        step: "pre.dns",
        cure: "add the A record {name} with {host_ip}; name servers remember a missing name for minutes; check with `wiab doctor`, \
               then `wiab apply --resume`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::ClusterDns,
        meaning: "the cluster's name service gets no answer from the name servers of the host",
        step: "k8s.verify",
        cure: "look at `kubectl -n kube-system get pods` (coredns, nodelocaldns) and at the name servers of the VMs' bridge, then \
               `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Ipv6Record,
        meaning: "the name has an IPv6 address (AAAA), which is not forwarded to the VMs",
        step: "pre.dns",
        cure: "remove the AAAA record of {name}, check with `wiab doctor`, then `wiab apply --resume`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::SolverDown,
        meaning: "the pod that answers the challenge does not run; its image cert-manager-acmesolver is missing on the nodes",
        step: "k8s.seed-helm",
        cure: "look at `kubectl get pods -l acme.cert-manager.io/http01-solver=true`; `wiab apply` loads missing images again",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Hairpin,
        meaning: "packets from the VMs to the public address do not come back (hairpin), or a firewall drops them",
        step: "hp.snat",
        cure: "set `[hairpin] policy = \"auto\"` and run `wiab apply`, which measures the way with packets and adds the rule if that \
               helps; if {host_ip} is an address of your router, the router must do it (NAT loopback)",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::BridgedHairpin,
        meaning: "packets from the VMs to the public address do not come back, and with net.bridge.bridge-nf-call-iptables = 1 they would never meet the hairpin rule",
        step: "hp.probe",
        cure: "run `sysctl -w net.bridge.bridge-nf-call-iptables=0` on the host and put it into /etc/sysctl.d, so that the rule is met; or let the ingress controller run on more than one node; then `wiab apply`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::RouterLoopback,
        meaning: "packets from the VMs to {host_ip} do not come back, and {host_ip} is no address of this machine: a rule on this machine would never be met",
        step: "hp.probe",
        cure: "let the router that owns {host_ip} lead it back in (NAT loopback, hairpin NAT), or give the names an inner address in the VMs' name server; then `wiab apply --resume`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::Filtered,
        meaning: "a firewall on this machine drops packets of the VMs",
        step: "fw.verify",
        cure: "look at `sudo nft list ruleset` for chains of others at the forward hook that drop, let the VMs' bridge pass there, then `wiab apply`",
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::NotForwarded,
        meaning: "what arrives at port 80 is not forwarded to the nodes",
        step: "fw.apply",
        cure: ANEW,
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::Refused,
        meaning: "nothing listens where the challenge arrives: the port forwarding or the ingress controller is missing",
        step: "fw.apply",
        cure: ANEW,
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::NoRoute,
        meaning: "a node to which the challenge is forwarded is not reachable",
        step: "fw.apply",
        cure: ANEW,
        patience_ms: LOST_MS,
    },
    Sign {
        cause: Cause::NotFound,
        meaning: "a web server answers that knows nothing of the challenge",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} and nothing else, check with `wiab doctor`, then `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Redirected,
        meaning: "the challenge is answered with a redirection",
        step: "helm.nginx-ingress-services",
        cure: "remove settings that force HTTPS from `values.d/nginx-ingress-services.yaml`, then run `wiab apply`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::OtherSite,
        meaning: "another web site answers under the name",
        step: "pre.dns",
        cure: "make the A record of {name} say {host_ip} and nothing else, check with `wiab doctor`, then `wiab apply --resume`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::BrokenOff,
        meaning: "connections break off: the ingress controller restarts, or traffic goes to a node that is down",
        step: "helm.ingress-nginx-controller",
        cure: "look at `kubectl get pods -l app.kubernetes.io/name=ingress-nginx`; then `wiab apply`",
        patience_ms: STARTING_MS,
    },
    Sign {
        cause: Cause::Backoff,
        meaning: "an earlier attempt has failed, and cert-manager waits before the next",
        step: "cert.wait",
        cure: "when the cause is gone: `wiab apply --resume`, which asks for another attempt at once",
        patience_ms: LOST_MS,
    },
];
