//! `postgresql.secrets/1`: PostgreSQL's passwords as the cluster's secrets, from the sealed set.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;
use zeroize::Zeroizing;

use super::secrets_sealed::read_set;
use super::{Act, bound, known};
use crate::host::shell::Shell;
use crate::host::{Host, Output};
use crate::kind::{About, Input, Kind};
use crate::secrets::{Kubectl, Name, SealedSet};

/// The namespace in which the charts and the playbooks look for them.
const NAMESPACE: &str = "default";

/// Name of the secret, role and database, component, and which password it holds. The names are those that the release's
/// playbook looks up; it makes passwords of its own only where they are missing.
const SECRETS: [(&str, &str, &str, Name); 2] = [
    (
        "repmgr-postgresql-secret",
        "repmgr",
        "repmgr",
        Name::PostgresqlRepmgr,
    ),
    (
        "wire-postgresql-external-secret",
        "wire-server",
        "wire",
        Name::PostgresqlWire,
    ),
];

/// Under which names the API server notes whose a value is: what the first one leaves out later would be deleted, so passwords
/// alone are set under another.
const MAKER: &str = "wiab";
const ROTATION: &str = "wiab-rotation";

/// PostgreSQL's passwords in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresqlSecrets {
    /// How kubectl is reached.
    pub kubectl: Kubectl,
    /// Path of the sealed set.
    pub sealed: Input<String>,
    /// Path of the sealed set before its passwords were rotated: those passwords in the cluster are then replaced, and undo
    /// puts them back. Without it another password is a question.
    #[serde(default)]
    pub rotated_from: Option<Input<String>>,
}

/// Which secrets were there, with a digest of the password of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    existed: Vec<(String, String)>,
}

/// How one secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    Other,
    Same,
}

impl PostgresqlSecrets {
    async fn set(&self, sh: Shell<'_>) -> Result<SealedSet, Failure> {
        self.set_at(sh, &self.sealed).await
    }

    async fn set_at(&self, sh: Shell<'_>, path: &Input<String>) -> Result<SealedSet, Failure> {
        let path = known(path, "sealed")?;
        read_set(sh, path)
            .await?
            .ok_or_else(|| Failure::clean(format!("{path} is missing: no passwords to hand over")))
    }

    /// What the cluster holds; `None` while it does not answer.
    async fn live(&self, sh: Shell<'_>) -> Result<Result<Zeroizing<Vec<u8>>, Failure>, Failure> {
        let mut args = vec!["get", "secrets"];
        args.extend(SECRETS.map(|(name, ..)| name));
        args.extend(["--namespace", NAMESPACE, "--ignore-not-found", "-o", "json"]);
        let answer = sh.secret(&self.kubectl.cmd(&args)?).await?;
        Ok(match answer {
            Some(output) if output.ok() => Ok(Zeroizing::new(output.stdout)),
            other => Err(silent(other.as_ref())),
        })
    }

    async fn standings(&self, sh: Shell<'_>) -> Result<[Standing; 2], Failure> {
        let (set, live) = (self.set(sh).await?, self.live(sh).await??);
        let items = items(&live);
        Ok(
            SECRETS.map(|(secret, _, _, name)| match password(&items, secret) {
                None => Standing::Missing,
                Some(found) if found.as_slice() == set.get(name).as_bytes() => Standing::Same,
                Some(_) => Standing::Other,
            }),
        )
    }

    /// Whether every other password in the cluster is the one from before the rotation.
    async fn only_old(&self, sh: Shell<'_>, standings: &[Standing; 2]) -> Result<bool, Failure> {
        let Some(before) = &self.rotated_from else {
            return Ok(false);
        };
        let (set, live) = (self.set_at(sh, before).await?, self.live(sh).await??);
        let items = items(&live);
        let mut other = SECRETS
            .iter()
            .zip(standings)
            .filter(|(_, standing)| **standing == Standing::Other);
        Ok(other.all(|((secret, _, _, name), _)| {
            let found = password(&items, secret);
            found.is_some_and(|found| found.as_slice() == set.get(*name).as_bytes())
        }))
    }

    /// Creates secrets, or sets the password alone of those that are there.
    async fn write(
        &self,
        sh: Shell<'_>,
        set: &SealedSet,
        wanted: &[bool; 2],
        manager: &str,
    ) -> Result<(), Failure> {
        let whole = manager == MAKER;
        let documents: Vec<Value> = SECRETS
            .iter()
            .zip(wanted)
            .filter(|(_, wanted)| **wanted)
            .map(|((secret, role, component, name), _)| {
                document(secret, role, component, set.get(*name), whole)
            })
            .collect();
        if documents.is_empty() {
            return Ok(());
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
        // On the server's side, so that no annotation keeps a second copy.
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            manager,
            "-f",
            "-",
        ];
        let cmd = self.kubectl.cmd(&args)?.stdin(list.to_string());
        sh.ok(&cmd).await.map(drop)
    }
}

fn document(secret: &str, role: &str, component: &str, password: &str, whole: bool) -> Value {
    let password = STANDARD.encode(password);
    if !whole {
        return json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": secret, "namespace": NAMESPACE},
            "data": {"password": password},
        });
    }
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": secret, "namespace": NAMESPACE,
            "labels": {"app": "postgresql", "component": component, "managed-by": "wiab"},
        },
        "data": {
            "username": STANDARD.encode(role), "database": STANDARD.encode(role), "password": password,
        },
    })
}

/// The objects of kubectl's answer: nothing, one, or a list.
fn items(answer: &[u8]) -> Vec<Value> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match answer.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![answer],
    }
}

fn password(items: &[Value], secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    let named =
        |item: &&Value| item.pointer("/metadata/name").and_then(Value::as_str) == Some(secret);
    let encoded = items
        .iter()
        .find(named)?
        .pointer("/data/password")?
        .as_str()?;
    Some(Zeroizing::new(STANDARD.decode(encoded).unwrap_or_default()))
}

fn digest(password: &[u8]) -> String {
    blake3::hash(password).to_hex().to_string()
}

fn silent(answer: Option<&Output>) -> Failure {
    let why = answer.map_or_else(
        || "kubectl is not installed".to_owned(),
        |output| {
            output
                .error_text()
                .lines()
                .next_back()
                .unwrap_or_default()
                .to_owned()
        },
    );
    Failure::clean(format!("the cluster does not answer: {why}"))
        .retry()
        .hint("wiab plan --only k8s   tells what is missing")
}

impl Kind for PostgresqlSecrets {
    const NAME: &'static str = "postgresql.secrets/1";
    const ABOUT: About = About {
        purpose: "PostgreSQL, its playbook and the charts use the passwords of the sealed set.",
        probe: "Reads both secrets of the cluster and compares the passwords; shows none.",
        effect: "Creates what is missing, through standard input; another password is a question unless it is being rotated.",
        undo: "Deletes the secrets that this run created, or puts the passwords before the rotation back.",
    };

    fn summary(&self) -> String {
        "hand PostgreSQL's passwords to the cluster".to_owned()
    }

    fn undo_summary(&self) -> String {
        "delete the cluster's secrets that it created".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for PostgresqlSecrets {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Ok(standings) = self.standings(sh).await else {
            // No sealed set or no cluster yet.
            return Ok(Probe::Absent);
        };
        let named = |wanted: Standing| -> Vec<&str> {
            let pairs = SECRETS.iter().zip(standings);
            pairs
                .filter(|(_, standing)| *standing == wanted)
                .map(|(secret, _)| secret.0)
                .collect()
        };
        let (missing, other) = (named(Standing::Missing), named(Standing::Other));
        Ok(match (missing.len(), other.as_slice()) {
            (0, []) => {
                Probe::Satisfied(Receipt::note("both passwords are those of the sealed set"))
            }
            (2, []) => Probe::Absent,
            (_, []) => Probe::Partial {
                what: format!("{} is missing", missing.join(", ")),
            },
            (_, other) => Probe::Drifted {
                diff: format!(
                    "~ {}: another password than in the sealed set",
                    other.join(", ")
                ),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let items = items(&self.live(sh).await??);
        let existed = SECRETS.iter().filter_map(|(secret, ..)| {
            let found = password(&items, secret)?;
            Some(((*secret).to_owned(), digest(&found)))
        });
        Ok(Image {
            existed: existed.collect(),
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        let standings = self.standings(sh).await?;
        if standings.contains(&Standing::Other) && !self.only_old(sh, &standings).await? {
            return Err(Failure::clean(
                "the cluster holds another PostgreSQL password than the sealed set",
            )
            .ask()
            .hint("find out which one PostgreSQL accepts, make the other agree with it, then decide `retry`")
            .code("postgresql.password"));
        }
        let set = self.set(sh).await?;
        let missing = standings.map(|standing| standing == Standing::Missing);
        self.write(sh, &set, &missing, MAKER).await?;
        let other = standings.map(|standing| standing == Standing::Other);
        self.write(sh, &set, &other, ROTATION).await?;
        Ok(Receipt::note("both passwords are those of the sealed set"))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        let Ok(live) = self.live(sh).await? else {
            // Gone together with the machines.
            return Ok(());
        };
        let items = items(&live);
        let kept = |secret: &str| {
            let mut known = image.existed.iter();
            known.find_map(|(name, digest)| (name == secret).then_some(digest.as_str()))
        };
        if let Some(before) = &self.rotated_from {
            let set = self.set_at(sh, before).await?;
            let wanted = SECRETS.map(|(secret, _, _, name)| {
                let old = set.get(name).as_bytes();
                let replaced =
                    password(&items, secret).is_some_and(|found| found.as_slice() != old);
                replaced && kept(secret) == Some(digest(old).as_str())
            });
            self.write(sh, &set, &wanted, ROTATION).await?;
        }
        let mut args = vec!["delete", "secrets"];
        let ours = SECRETS.iter().map(|(secret, ..)| *secret);
        args.extend(
            ours.filter(|secret| kept(secret).is_none() && password(&items, secret).is_some()),
        );
        if args.len() == 2 {
            return Ok(());
        }
        args.extend(["--namespace", NAMESPACE, "--ignore-not-found"]);
        sh.ok(&self.kubectl.cmd(&args)?).await.map(drop)
    }
}
