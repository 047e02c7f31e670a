//! `cert.rehearsed/1`: the authority's test service issues a certificate for all names before the real one is asked for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::super::tool::Toolbox;
use super::super::{Act, bound};
use super::cure::{self, Cures};
use super::follow::{self, Wanted, follow};
use super::looks::Ground;
use super::verdict::Case;
use super::watch::{list, valid};
use crate::certs::{MANAGER_NAMESPACE, NAMESPACE, look};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind, Pace};

/// Name of issuer, certificate, secrets and mark. None of them is touched by the charts.
const NAME: &str = "wiab-rehearsal";
/// Where the test service is.
const SERVER: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// A certificate of the test service for all names, which proves the way, and is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertRehearsed {
    /// Where kubectl runs.
    pub toolbox: Toolbox,
    /// All names of the installation.
    pub names: Vec<String>,
    /// The mail address of the account.
    pub email: String,
    /// The certificates that are asked for in earnest: once they are there, nothing is to be rehearsed.
    pub certificates: Vec<String>,
    /// The public address of the host.
    pub host_ip: String,
    /// What was found out about the way from the VMs to it: output of `hairpin.needed/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Input<String>>,
    /// What can be looked at in case of trouble.
    pub ground: Ground,
    /// What may be done about trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cures: Option<Cures>,
    /// How long it may take, in milliseconds.
    pub deadline_ms: u64,
}

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The mark of an earlier rehearsal: its names.
    mark: Option<String>,
    cures: Option<cure::Image>,
}

impl CertRehearsed {
    fn objects(&self) -> String {
        let issuer = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": NAME},
            "spec": {"acme": {
                "email": self.email, "server": SERVER, "privateKeySecretRef": {"name": NAME},
                "solvers": [{"http01": {"ingress": {"class": "nginx"}}}],
            }},
        });
        let certificate = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "dnsNames": self.names, "secretName": NAME,
                "issuerRef": {"name": NAME, "kind": "ClusterIssuer"},
            },
        });
        json!({"apiVersion": "v1", "kind": "List", "items": [issuer, certificate]}).to_string()
    }

    fn marked(names: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": {"names": names},
        })
        .to_string()
    }

    fn wanted(&self) -> String {
        self.names.join(",")
    }

    async fn put(&self, sh: Shell<'_>, objects: String) -> Result<(), Failure> {
        let cmd = self.toolbox.kubectl(&["apply", "-f", "-"])?;
        sh.ok(&cmd.stdin(objects)).await.map(drop)
    }

    /// The names of the last rehearsal that went well.
    async fn mark(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        let get = [
            "get",
            "configmap",
            NAME,
            "-n",
            NAMESPACE,
            "--ignore-not-found",
            "-o",
            "json",
        ];
        let Some(output) = sh.probe(&self.toolbox.kubectl(&get)?).await? else {
            return Ok(None);
        };
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let names = found.pointer("/data/names").and_then(Value::as_str);
        Ok(names.filter(|_| output.ok()).map(str::to_owned))
    }

    /// Removes everything but the mark; what is not there is fine.
    async fn clean(&self, sh: Shell<'_>) -> Result<(), Failure> {
        // The secrets of what is still there would be made again.
        for (kind, namespace) in [
            ("certificates.cert-manager.io", NAMESPACE),
            ("secrets", NAMESPACE),
            ("clusterissuers.cert-manager.io", NAMESPACE),
            ("secrets", MANAGER_NAMESPACE),
        ] {
            let delete = ["delete", kind, NAME, "-n", namespace, "--ignore-not-found"];
            let output = sh.run(&self.toolbox.kubectl(&delete)?).await?;
            let said = output.error_text();
            // Without cert-manager there is nothing of its kinds.
            if !output.ok() && !said.contains("doesn't have a resource type") {
                return Err(Failure::dirty(format!(
                    "the rehearsal's {kind} cannot be deleted: {said}"
                ))
                .retry());
            }
        }
        Ok(())
    }

    /// Whether the certificates are there that are asked for in earnest; and whether anything of a rehearsal is left.
    async fn seen(&self, sh: Shell<'_>) -> Result<(bool, bool), Failure> {
        let Ok(list) = list(sh, &self.toolbox).await? else {
            return Ok((false, false));
        };
        let wall_ms = sh.cx.clock.wall_ms();
        let ready = |name: &String| valid(&look(&list, name), wall_ms).is_some();
        let issued = !self.certificates.is_empty() && self.certificates.iter().all(ready);
        let items = list.get("items").and_then(Value::as_array);
        let ours = items
            .into_iter()
            .flatten()
            .any(|item| item.pointer("/metadata/name").and_then(Value::as_str) == Some(NAME));
        Ok((issued, ours || self.has_account(sh).await?))
    }

    /// Whether the key of the test account is there: the last thing to go.
    async fn has_account(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let get = [
            "get",
            "secret",
            NAME,
            "-n",
            MANAGER_NAMESPACE,
            "--ignore-not-found",
            "-o",
            "name",
        ];
        let output = sh.probe(&self.toolbox.kubectl(&get)?).await?;
        Ok(output.is_some_and(|output| output.ok() && !output.stdout.is_empty()))
    }
}

impl Kind for CertRehearsed {
    const NAME: &'static str = "cert.rehearsed/1";
    const ABOUT: About = About {
        purpose: "Mistakes never use up the authority's limits: its test service issues for all names first.",
        probe: "Looks for a mark in the cluster that tells the same names, or for the real certificates; and that nothing else of a \
                rehearsal is left.",
        effect: "Makes an issuer and a certificate of the test service, follows them as `cert.ready/1` does, deletes them, and \
                 leaves the mark. The charts' own issuer is not touched.",
        undo: "Deletes all of it, and what cures have left.",
    };

    fn summary(&self) -> String {
        format!(
            "rehearse the certificate of {} names with the test service",
            self.names.len()
        )
    }

    fn undo_summary(&self) -> String {
        "delete what the rehearsal has made".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        cure::lanes(self.cures.as_ref())
    }

    fn pace(&self) -> Pace {
        follow::pace(self.deadline_ms)
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for CertRehearsed {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.toolbox.image.get().is_none() || self.toolbox.tree.get().is_none() {
            return Ok(Probe::Absent);
        }
        let (issued, left) = self.seen(sh).await?;
        if left {
            return Ok(Probe::Partial {
                what: "a rehearsal has not ended".to_owned(),
            });
        }
        if issued {
            return Ok(Probe::Satisfied(Receipt::note(
                "the real certificates are there",
            )));
        }
        Ok(match self.mark(sh).await? {
            Some(names) if names == self.wanted() => Probe::Satisfied(Receipt::note("rehearsed")),
            Some(names) => Probe::Drifted {
                diff: format!("- rehearsed for {names}\n+ for {}", self.wanted()),
            },
            None => Probe::Absent,
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let cures = match &self.cures {
            Some(cures) => Some(cures.capture(sh).await?),
            None => None,
        };
        let mark = self.mark(sh).await?;
        Ok(Image { mark, cures })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let wanted = self.wanted();
        if self.mark(sh).await?.as_ref() != Some(&wanted) {
            self.put(sh, self.objects()).await?;
            let case = Case {
                sh,
                toolbox: &self.toolbox,
                ground: Some(&self.ground),
                host_ip: &self.host_ip,
                issuer: NAME,
                way: self.way.as_ref().and_then(Input::get).map(String::as_str),
            };
            let certificate = Wanted {
                names: vec![NAME],
                deadline_ms: self.deadline_ms,
            };
            follow(case, certificate, self.cures.as_ref())
                .await
                .map_err(in_rehearsal)?;
            self.put(sh, Self::marked(&wanted)).await?;
        }
        self.clean(sh).await?;
        let count = self.names.len();
        Ok(Receipt::note(format!(
            "the test service has issued for {count} names"
        )))
    }

    async fn undo(&self, sh: Shell<'_>, before: &Image) -> Result<(), Failure> {
        self.clean(sh).await?;
        match &before.mark {
            Some(names) if self.mark(sh).await?.as_ref() == Some(names) => {}
            Some(names) => self.put(sh, Self::marked(names)).await?,
            None => {
                let delete = [
                    "delete",
                    "configmap",
                    NAME,
                    "-n",
                    NAMESPACE,
                    "--ignore-not-found",
                ];
                sh.ok(&self.toolbox.kubectl(&delete)?).await?;
            }
        }
        match (&self.cures, &before.cures) {
            (Some(cures), Some(image)) => cures.undo(sh, image).await,
            (Some(cures), None) => cures.settle(sh, "taken back with the step").await,
            (None, _) => Ok(()),
        }
    }
}

/// Says that nothing was lost by it. The objects of the rehearsal stay, for people to look at and for the next attempt.
fn in_rehearsal(failure: Failure) -> Failure {
    Failure {
        why: format!(
            "rehearsal with the test service, which uses up no limit: {}",
            failure.why
        ),
        residue: wiab_engine::outcome::Residue::Dirty,
        ..failure
    }
}
