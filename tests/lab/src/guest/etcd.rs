//! etcd: members that say whether they are well, to whoever has a certificate.

use crate::http;
use crate::{Answer, text};

pub(crate) const PORT: u16 = 2379;
/// Addresses of all members, one a line.
const MEMBERS: &str = "/var/lib/etcd/member/peers";

/// `etcdctl … endpoint health --cluster`.
pub(crate) fn ctl(args: &[&str]) -> Answer {
    for name in ["--cacert", "--cert", "--key"] {
        let mut words = args.iter().skip_while(|word| **word != name);
        let file = words.nth(1).copied().unwrap_or_default();
        if std::fs::metadata(file).is_err() {
            return Answer::fail(
                128,
                format!("Error: open {file}: no such file or directory\n"),
            );
        }
    }
    if !args.ends_with(&["endpoint", "health", "--cluster"]) {
        return Answer::fail(128, "Error: this stand-in does not know that command\n");
    }
    if http::get("127.0.0.1", PORT, "/health").is_none() {
        return Answer::fail(
            1,
            "Error: failed to fetch endpoints from etcd cluster member list: context deadline exceeded\n",
        );
    }
    let mut answer = Answer::default();
    for ip in text(MEMBERS).lines().filter(|line| !line.is_empty()) {
        let line = if http::get(ip, PORT, "/health").is_some() {
            format!(
                "https://{ip}:{PORT} is healthy: successfully committed proposal: took = 8.1ms\n"
            )
        } else {
            answer.code = 1;
            format!(
                "https://{ip}:{PORT} is unhealthy: failed to commit proposal: context deadline exceeded\n"
            )
        };
        answer.out += &line;
    }
    answer
}
