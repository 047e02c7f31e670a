//! Connections that try whether something answers: `curl` to nodes and to the public address, `openssl s_client`.

use super::super::acme;
use super::super::entity::Facts;
use super::super::state::Draft;
use super::super::surroundings::Surroundings;
use super::super::way::{self, HTTPS_NODE_PORT, Way};
use super::{Call, Reply, option, options};
use crate::certs::openssl_time;

/// An answer over the bridge.
const NEAR_MS: u64 = 5;
/// A handshake.
const TLS_MS: u64 = 30;

const WITH_VALUE: [&str; 14] = [
    "--noproxy",
    "-o",
    "--output",
    "-m",
    "--max-time",
    "--connect-timeout",
    "-H",
    "--header",
    "-w",
    "--write-out",
    "--resolve",
    "--retry",
    "--retry-delay",
    "--parallel-max",
];

/// The transfers of one call.
struct Transfers {
    host: String,
    /// What a web server says to the name, where somebody has decided that.
    status: Option<u16>,
    port: u16,
    count: usize,
    patience_ms: u64,
    /// Whether they run side by side.
    at_once: bool,
    format: String,
    /// Whether the first failure is the last transfer.
    fail_early: bool,
}

/// Milliseconds of a number of seconds with at most three digits behind the point.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part = part.get(..3).unwrap_or(part);
    let scale = 10_u64.pow(u32::try_from(3_usize.checked_sub(part.len())?).ok()?);
    Some(whole.parse::<u64>().ok()? * 1_000 + part.parse::<u64>().ok()? * scale)
}

/// Reads a call that only asks whether a web server answers at an IPv4 address; `None` for others.
fn transfers(draft: &Draft<'_>, args: &[&str]) -> Option<Transfers> {
    let (flags, urls) = options(args, &WITH_VALUE);
    let url = *urls.first()?;
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, default),
    };
    let named = format!("{scheme}://{host}/");
    let resolved = option(&flags, &["--resolve"]).and_then(|text| text.rsplit(':').next());
    let host = resolved.unwrap_or(host);
    host.parse::<std::net::Ipv4Addr>().ok()?;
    // `?[1-6]` stands for six addresses.
    let range = path
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let count = range.and_then(|(range, _)| range.split_once('-')?.1.parse().ok());
    let patience_ms = option(&flags, &["--connect-timeout"]).map_or(Some(127_000), milliseconds)?;
    Some(Transfers {
        host: host.to_owned(),
        status: Surroundings::of(draft).statuses.get(&named).copied(),
        port,
        count: count.unwrap_or(1).min(64),
        patience_ms,
        at_once: flags.iter().any(|(flag, _)| *flag == "-Z"),
        fail_early: flags.iter().any(|(flag, _)| *flag == "--fail-early"),
        format: option(&flags, &["-w", "--write-out"])
            .unwrap_or_default()
            .replace("\\n", "\n"),
    })
}

impl Transfers {
    fn run(&self, way: impl Fn(usize) -> Way) -> Reply {
        let answer = self.status.unwrap_or(404).to_string();
        let mut all = Reply::ok("");
        for nth in 0..self.count {
            let (status, code, took_ms) = match way(nth) {
                Way::Arrives { .. } => (answer.as_str(), 0, NEAR_MS),
                Way::Refused => ("000", 7, NEAR_MS),
                Way::Lost => ("000", 28, self.patience_ms),
            };
            let line = self
                .format
                .replace("%{http_code}", status)
                .replace(
                    "%{time_total}",
                    &format!("{}.{:03}", took_ms / 1_000, took_ms % 1_000),
                )
                .replace("%{exitcode}", &code.to_string());
            all.stdout.extend_from_slice(line.as_bytes());
            all.code = code;
            all.took_ms = if self.at_once {
                all.took_ms.max(took_ms)
            } else {
                all.took_ms + took_ms
            };
            if code != 0 && self.fail_early {
                break;
            }
        }
        all
    }
}

/// `curl` on a VM to an address that no VM has.
pub(super) fn from_vm(draft: &Draft<'_>, vm: &str, args: &[&str]) -> Option<Reply> {
    let transfers = transfers(draft, args)?;
    let vms = way::addresses(draft);
    (!vms.contains(&transfers.host)).then(|| {
        transfers.run(|nth| {
            let to = (transfers.host.as_str(), transfers.port);
            way::from_vm(draft, vm, to, nth, transfers.patience_ms)
        })
    })
}

/// `curl` on the host to a node, or to port 80 of an address that a router in front of it has.
pub(super) fn to_node(draft: &Draft<'_>, args: &[&str]) -> Option<Reply> {
    let transfers = transfers(draft, args)?;
    let vms = way::addresses(draft);
    let own = draft.get::<Facts>("").map(|facts| facts.address);
    if transfers.port == 80
        && own.is_some_and(|own| own != transfers.host)
        && !vms.contains(&transfers.host)
    {
        let back = acme::Outside::of(draft).loopback;
        return Some(transfers.run(|nth| {
            if back {
                way::from_outside(draft, 80, nth)
            } else {
                Way::Lost
            }
        }));
    }
    vms.contains(&transfers.host)
        .then(|| transfers.run(|_| way::to_vm(draft, &transfers.host, transfers.port)))
}

/// `openssl s_client -connect ADDRESS:PORT -servername NAME -verify_hostname NAME`
pub(super) fn openssl(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let with_value = ["-connect", "-servername", "-verify_hostname"];
    let Some(("s_client", rest)) = call.args.split_first().map(|(verb, rest)| (*verb, rest)) else {
        return call.complain(1, "only `openssl s_client` is simulated");
    };
    let (flags, _) = options(rest, &with_value);
    let target = option(&flags, &["-connect"]).unwrap_or_default();
    let (address, port) = target.split_once(':').unwrap_or((target, ""));
    let port = port.parse().unwrap_or(0);
    match way::to_vm(draft, address, port) {
        Way::Arrives {
            port: HTTPS_NODE_PORT,
            ..
        } => {}
        Way::Arrives { .. } | Way::Refused => {
            let text = "connect:errno=111\n";
            return Reply::fail(1, text).took(NEAR_MS);
        }
        Way::Lost => return Reply::fail(1, "connect:errno=110\n").took(127_000),
    }
    let name = option(&flags, &["-servername"]).unwrap_or_default();
    let shown = acme::served(draft, name);
    let wanted = option(&flags, &["-verify_hostname"]).unwrap_or(name);
    let paper = &shown.paper;
    let (code, why) = if !shown.trusted {
        (20, "unable to get local issuer certificate")
    } else if paper.not_after_ms <= draft.wall_ms() {
        (10, "certificate has expired")
    } else if !paper.names.iter().any(|known| known == wanted) {
        (62, "hostname mismatch")
    } else {
        (0, "ok")
    };
    let subject = paper.names.first().map_or("", String::as_str);
    let [from, until] = [paper.not_before_ms, paper.not_after_ms].map(openssl_time);
    Reply::ok(format!(
        "CONNECTED(00000003)\n---\nCertificate chain\n 0 s:CN = {subject}\n   i:{issuer}\n   a:PKEY: id-ecPublicKey, 384 (bit); \
         sigalg: RSA-SHA256\n   v:NotBefore: {from}; NotAfter: {until}\n---\nServer certificate\nsubject=CN = {subject}\n\n\
         issuer={issuer}\n\n---\nNew, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384\nVerify return code: {code} ({why})\n---\nDONE\n",
        issuer = paper.issuer
    ))
    .took(TLS_MS)
}

/// `ss` on a VM: what its pods listen on.
pub(super) fn sockets(draft: &Draft<'_>, vm: &str) -> Reply {
    let nodes = way::addresses(draft);
    let own = nodes
        .iter()
        .find(|address| way::node_at(draft, address).as_deref() == Some(vm));
    let mut text = "tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*\n".to_owned();
    if let Some(address) = own.filter(|_| way::runs_on(draft, "coturn", vm)) {
        for (protocol, state) in [("udp", "UNCONN"), ("tcp", "LISTEN")] {
            let line =
                format!("{protocol:<5} {state} 0      128    {address}:3478        0.0.0.0:*\n");
            text.push_str(&line);
        }
    }
    Reply::ok(text)
}
