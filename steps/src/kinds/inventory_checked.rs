//! `inventory.checked/1`: the machines are as the inventory says, before any playbook believes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, Residue, UndoClass};
use wiab_engine::ports::Step;

use super::fleet::{self, Finding, FleetHost, failure, look};
use super::login::Login;
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind, Pace};
use crate::values::inventory::{GROUPS, INTERFACES, Role};
use crate::yaml::{Document, Origin, YamlPath};

/// The written inventory, held against the machines themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryChecked {
    /// Path of the inventory.
    pub inventory: String,
    /// The machines that must be in it.
    pub names: Vec<String>,
    /// How they are logged in to.
    pub login: Login,
}

impl InventoryChecked {
    async fn document(&self, sh: Shell<'_>) -> Result<Option<Document>, Failure> {
        let Some(bytes) = sh.read(&self.inventory, false).await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let document = Document::parse(&text, Origin::file(self.inventory.clone()));
        document.map(Some).map_err(|error| {
            Failure::clean(error.to_string()).hint("correct values.d/inventory.yaml and run again")
        })
    }

    /// The machines as ansible will see them: addresses from the file, interfaces of the services, one entry per name.
    fn hosts(document: &Document) -> Vec<FleetHost> {
        let mut hosts = Vec::new();
        for (group, role) in GROUPS {
            let path = YamlPath::root().key(group).key("hosts");
            let Some(Value::Object(members)) = document.get(&path) else {
                continue;
            };
            for (name, vars) in members {
                let text = |key: &str| vars.get(key).and_then(Value::as_str);
                let ip = text("ansible_host").unwrap_or_default().to_owned();
                let names: BTreeSet<String> = INTERFACES
                    .iter()
                    .filter(|_| role == Role::Data)
                    .filter_map(|(group, variable)| {
                        let shared = YamlPath::root().key(group).key("vars").key(variable);
                        let shared = || document.get(&shared)?.as_str().map(str::to_owned);
                        text(variable).map(str::to_owned).or_else(shared)
                    })
                    .collect();
                let mut interfaces: Vec<Option<String>> = names.into_iter().map(Some).collect();
                if interfaces.is_empty() {
                    interfaces.push(None);
                }
                hosts.extend(interfaces.into_iter().map(|interface| FleetHost {
                    name: name.clone(),
                    role,
                    ip: ip.clone(),
                    interface,
                }));
            }
        }
        hosts
    }

    /// Machines that are missing, or that nobody knows.
    fn strangers(&self, hosts: &[FleetHost]) -> Vec<Finding> {
        let finding = |name: &str, what: &str| Finding {
            host: name.to_owned(),
            point: 7,
            what: what.to_owned(),
            remedy: "correct values.d/inventory.yaml, which is merged into the inventory last"
                .to_owned(),
        };
        let there = |name: &String| hosts.iter().any(|host| host.name == *name);
        let missing = self.names.iter().filter(|name| !there(name));
        let unknown = hosts.iter().filter(|host| !self.names.contains(&host.name));
        missing
            .map(|name| finding(name, "the inventory does not have it"))
            .chain(
                unknown
                    .map(|host| finding(&host.name, "the inventory has it, the settings do not")),
            )
            .collect()
    }

    async fn findings(&self, sh: Shell<'_>) -> Result<Option<Vec<Finding>>, Failure> {
        let Some(document) = self.document(sh).await? else {
            return Ok(None);
        };
        let hosts = Self::hosts(&document);
        let mut findings = self.strangers(&hosts);
        let (mut once, mut again) = (Vec::new(), Vec::new());
        for host in hosts {
            let seen = once.iter().any(|other: &FleetHost| other.name == host.name);
            if seen { &mut again } else { &mut once }.push(host);
        }
        let seen = look(sh, &self.login, &once).await?;
        findings.extend(fleet::judge(&self.login, &seen).findings);
        // Services of one machine that use further interfaces.
        findings.extend(fleet::further_interfaces(&self.login, &seen, &again));
        Ok(Some(findings))
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(format!(
            "{} hosts answer as the inventory says",
            self.names.len()
        ))
    }
}

impl Kind for InventoryChecked {
    const NAME: &'static str = "inventory.checked/1";
    const ABOUT: About = About {
        purpose: "A wrong address, name, interface or clock is found in seconds, not in the middle of a playbook.",
        probe: "Logs in to every host of the inventory at once and compares name, interfaces, MTU, clock, python and sudo.",
        effect: "The same look; reports all findings at once and changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("check {} hosts against the inventory", self.names.len())
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            usual_ms: 3_000,
            ..Pace::QUICK
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for InventoryChecked {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if sh.stat(&self.login.key_path).await?.is_none() {
            return Ok(Probe::Absent);
        }
        Ok(match self.findings(sh).await? {
            None => Probe::Absent,
            Some(findings) => match findings.first() {
                None => Probe::Satisfied(self.receipt()),
                Some(first) => Probe::Partial {
                    what: first.to_string(),
                },
            },
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        // Looking leaves nothing behind, however it ends.
        let looked = self.findings(sh).await.map_err(|failure| Failure {
            residue: Residue::Clean,
            ..failure
        });
        let Some(findings) = looked? else {
            return Err(Failure::clean(format!("{} is missing", self.inventory))
                .hint("run the step that writes it (`inv.write`) again"));
        };
        if findings.is_empty() {
            return Ok(self.receipt());
        }
        Err(failure(&findings))
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}
