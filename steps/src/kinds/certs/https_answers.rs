//! `https.answers/1`: a name is answered with its certificate, on every node and by the public address.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::login::Login;
use super::super::patience::Patience;
use super::super::{Act, bound, only_looked};
use super::{KubeNode, Reached, is_ssh, on_host, reached, try_web};
use crate::certs::parse_openssl;
use crate::host::shell::Shell;
use crate::host::{Cmd, Host, Output};
use crate::kind::{About, Input, Kind, Out, Pace};

/// Port of the ingress controller on every node.
const NODE_PORT: u16 = 31_773;
const POLL_MS: u64 = 5_000;
/// The ingress controller takes a new certificate within seconds.
const DEADLINE_MS: u64 = 60_000;
/// What the ingress controller shows without one.
const FAKE: &str = "Kubernetes Ingress Controller Fake Certificate";

const INGRESS: &str =
    "`wiab apply` looks at the ingress controller again (step helm.ingress-nginx-controller)";

/// One of the names of the installation, from end to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpsAnswers {
    /// The name: `webapp.wire.example.org`.
    pub name: String,
    /// The public address.
    pub host_ip: Ipv4Addr,
    /// The Kubernetes nodes.
    pub nodes: Vec<KubeNode>,
    /// How they are logged in to.
    pub login: Login,
    /// Whether the VMs reach the public address, so that port forwarding can be tried from one: output of `hairpin.needed/1`.
    /// The host itself never reaches it, by design.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Input<String>>,
    /// Whether the certificate is one of the authority's test service, which nobody trusts.
    #[serde(default)]
    pub staging: bool,
}

/// What a handshake showed.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    issuer: String,
    not_after: String,
    verdict: String,
}

/// Reads the report of `openssl s_client`.
fn shown(output: &Output) -> Option<Shown> {
    let text = output.text();
    let after = |mark: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.trim().split_once(mark)?.1.trim().to_owned()))
    };
    Some(Shown {
        issuer: after("issuer=")?,
        not_after: after("NotAfter:")?,
        verdict: after("Verify return code:")?,
    })
}

impl HttpsAnswers {
    /// Output: until when the certificate is valid.
    pub const NOT_AFTER: Out<Self> = Out::new("not_after");

    /// Looks once; the inner error is what is wrong.
    async fn look(&self, sh: Shell<'_>) -> Result<Result<Receipt, Failure>, Failure> {
        let mut not_after = String::new();
        for node in &self.nodes {
            let target = format!("{}:{NODE_PORT}", node.ip()?);
            let argv = [
                "openssl",
                "s_client",
                "-connect",
                &target,
                "-servername",
                &self.name,
                "-verify_hostname",
                &self.name,
            ];
            let cmd = Cmd::new(argv)
                .stdin("")
                .timeout_ms(20_000)
                .env("LC_ALL", "C");
            let Some(output) = sh.probe(&cmd).await? else {
                return Ok(Err(Failure::clean(
                    "`openssl` is not installed on the host",
                )
                .hint("install the package openssl, then `wiab apply --resume`")));
            };
            match self.judge(&output, &node.name, sh.cx.clock.wall_ms()) {
                Ok(end) => not_after = end,
                Err(failure) => return Ok(Err(failure)),
            }
            if let Err(failure) = self.by_node(sh, node).await? {
                return Ok(Err(failure));
            }
        }
        let mut note = format!("valid until {not_after}");
        if self.reachable() {
            if let Err(failure) = self.by_public_address(sh).await? {
                return Ok(Err(failure));
            }
            note = format!("{note}, also by {}", self.host_ip);
        }
        Ok(Ok(
            Receipt::note(note).with(Self::NOT_AFTER.name(), not_after)
        ))
    }

    fn reachable(&self) -> bool {
        let way = self.way.as_ref().and_then(Input::get);
        way.is_some_and(|way| way != "elsewhere")
    }

    /// A request to a node: TLS alone is answered by the ingress controller, whatever is behind it.
    async fn by_node(
        &self,
        sh: Shell<'_>,
        node: &KubeNode,
    ) -> Result<Result<(), Failure>, Failure> {
        let resolve = format!("{}:{NODE_PORT}:{}", self.name, node.ip()?);
        let url = format!("https://{}:{NODE_PORT}/", self.name);
        let argv = try_web(&["--resolve", &resolve], &url);
        let Some(output) = sh.probe(&on_host(argv)).await? else {
            return Ok(Err(Failure::clean("`curl` is not installed on the host")
                .hint("install the package curl, then `wiab apply --resume`")));
        };
        if !output.ok() {
            let why = format!(
                "{} is not answered on {}: curl ended with {}",
                self.name, node.name, output.code
            );
            return Ok(Err(Failure::clean(why)
                .hint(INGRESS)
                .code("https.no-answer")));
        }
        Ok(self.served(&output, &node.name))
    }

    /// An answer counts unless it says that nobody is there to give one.
    fn served(&self, output: &Output, from: &str) -> Result<(), Failure> {
        let text = output.text();
        let status = text.split_whitespace().next().unwrap_or_default();
        if !status.starts_with('5') {
            return Ok(());
        }
        let (service, step) = self.behind();
        let meaning = match status {
            "502" | "503" | "504" => format!(
                "the ingress controller answers, but {service} behind it does not: no pod of it is ready"
            ),
            _ => format!("{service} behind the ingress controller fails"),
        };
        Err(
            Failure::clean(format!("{} answers {status} on {from}: {meaning}", self.name))
                .hint(format!(
                    "look at its pods: kubectl get pods | grep {service}, kubectl describe pod NAME, kubectl logs NAME; `wiab apply` looks at its release again (step {step})"
                ))
                .code("https.server-error"),
        )
    }

    /// The service that answers the name, and the step that installs it.
    fn behind(&self) -> (&'static str, &'static str) {
        match self.name.split('.').next().unwrap_or_default() {
            "webapp" => ("webapp", "helm.webapp"),
            "account" => ("account-pages", "helm.account-pages"),
            "teams" => ("team-settings", "helm.team-settings"),
            "assets" => ("minio-external", "helm.minio-external"),
            "sftd" => ("sftd", "helm.sftd"),
            _ => ("nginz", "helm.wire-server"),
        }
    }

    /// The whole way from a VM: port forwarding, balancing, ingress.
    async fn by_public_address(&self, sh: Shell<'_>) -> Result<Result<(), Failure>, Failure> {
        let Some(node) = self.nodes.first() else {
            return Ok(Ok(()));
        };
        let resolve = format!("{}:443:{}", self.name, self.host_ip);
        let url = format!("https://{}/", self.name);
        let argv = try_web(&["--resolve", &resolve], &url);
        let output = sh.run(&self.login.cmd(node.ip()?, &argv)).await?;
        if output.ok() {
            return Ok(self.served(&output, &self.host_ip.to_string()));
        }
        if !is_ssh(output.code) && reached(output.code) == Reached::Yes {
            return Ok(Ok(()));
        }
        Ok(Err(Failure::clean(format!(
            "{} does not answer at {}:443, seen from {}",
            self.name, self.host_ip, node.name
        ))
        .hint("`wiab apply` looks at the firewall again (step fw.apply) and puts it back")
        .code("https.forwarding")))
    }

    /// The end of the certificate that a node showed, or what is wrong with it.
    fn judge(&self, output: &Output, node: &str, wall_ms: u64) -> Result<String, Failure> {
        let name = &self.name;
        let Some(shown) = shown(output) else {
            return Err(Failure::clean(format!(
                "{name} is not answered on {node}: {}",
                output.error_text()
            ))
            .hint(INGRESS)
            .code("https.no-answer"));
        };
        let wrong = |why: String| {
            Failure::clean(format!("{name} on {node}: {why}"))
                .hint("`wiab apply` looks at the certificate again (step cert.wait)")
                .code("https.certificate")
        };
        if shown.issuer.contains(FAKE) {
            return Err(wrong(format!(
                "browsers are shown the `{FAKE}`: there is no certificate for the name"
            )));
        }
        let end_ms = parse_openssl(&shown.not_after);
        if end_ms.is_none_or(|end_ms| end_ms <= wall_ms) {
            return Err(wrong(format!(
                "the certificate has ended at {}",
                shown.not_after
            )));
        }
        let tested = self.staging && shown.issuer.contains("(STAGING)");
        if !tested && !shown.verdict.starts_with("0 ") {
            return Err(wrong(format!(
                "the certificate of {} is not valid: {}",
                shown.issuer, shown.verdict
            )));
        }
        Ok(shown.not_after)
    }
}

impl HttpsAnswers {
    /// Looks until all is well, or for too long.
    async fn wait(&self, sh: Shell<'_>) -> Result<Receipt, Failure> {
        let patience = Patience::new(sh, DEADLINE_MS, POLL_MS);
        loop {
            match self.look(sh).await? {
                Ok(receipt) => return Ok(receipt),
                Err(_) if patience.rest().await => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}

impl Kind for HttpsAnswers {
    const NAME: &'static str = "https.answers/1";
    const ABOUT: About = About {
        purpose: "A name of the installation is answered over TLS with a certificate that browsers trust.",
        probe: "A handshake with every node for that name: chain, name, end, not the controller's fake certificate; a request \
                that no 5xx answers; and, where the VMs reach it, the same from a VM to the public address.",
        effect: "The same, up to a minute long; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check https://{}", self.name)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            usual_ms: 5_000,
            timeout_ms: 4 * DEADLINE_MS,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for HttpsAnswers {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.nodes.iter().any(|node| node.ip.get().is_none()) {
            return Ok(Probe::Absent);
        }
        // A machine that lets a connection hang answers nothing, either.
        Ok(match self.look(sh).await {
            Ok(Ok(receipt)) => Probe::Satisfied(receipt),
            Ok(Err(_)) | Err(_) => Probe::Absent,
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        self.wait(sh).await.map_err(only_looked)
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_is_no_answer_and_names_who_is_behind() {
        let kind = |name: &str| HttpsAnswers {
            name: format!("{name}.wire.example.org"),
            host_ip: Ipv4Addr::LOCALHOST,
            nodes: Vec::new(),
            login: Login {
                user: String::new(),
                key_path: String::new(),
                known_hosts: String::new(),
                accounts: std::collections::BTreeMap::new(),
            },
            way: None,
            staging: false,
        };
        let said = |status: &str| Output {
            stdout: format!("{status} 0\n").into_bytes(),
            ..Output::default()
        };
        for fine in ["200", "301", "403", "404"] {
            assert_eq!(kind("webapp").served(&said(fine), "kubenode1"), Ok(()));
        }
        for (name, status, service, step) in [
            ("webapp", "503", "webapp", "helm.webapp"),
            ("account", "502", "account-pages", "helm.account-pages"),
            ("teams", "504", "team-settings", "helm.team-settings"),
            ("nginz-https", "500", "nginz", "helm.wire-server"),
            ("nginz-ssl", "503", "nginz", "helm.wire-server"),
            ("assets", "503", "minio-external", "helm.minio-external"),
            ("sftd", "503", "sftd", "helm.sftd"),
        ] {
            let failure = kind(name).served(&said(status), "kubenode1").unwrap_err();
            assert!(
                failure
                    .why
                    .contains(&format!("answers {status} on kubenode1"))
            );
            assert!(failure.why.contains(service), "{failure:?}");
            assert!(failure.hint.unwrap().contains(&format!("(step {step})")));
        }
    }

    #[test]
    fn a_handshake_is_read() {
        let stdout = b"CONNECTED(00000003)\n 0 s:CN = a\n   i:C = US\n   v:NotBefore: Jan  1 00:00:00 2026 GMT; NotAfter: Apr  1 00:00:00 2026 GMT\nissuer=C = US, O = Let's Encrypt, CN = R12\n    Verify return code: 0 (ok)\n".to_vec();
        let found = shown(&Output {
            stdout,
            ..Output::default()
        });
        assert_eq!(
            found,
            Some(Shown {
                issuer: "C = US, O = Let's Encrypt, CN = R12".to_owned(),
                not_after: "Apr  1 00:00:00 2026 GMT".to_owned(),
                verdict: "0 (ok)".to_owned(),
            })
        );
        assert_eq!(shown(&Output::default()), None);
    }
}
