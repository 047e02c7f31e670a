//! `host.groups/1`: group memberships of a user.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::{Act, bound};
use crate::host::shell::Shell;
use crate::host::{Cmd, Host};
use crate::kind::{About, Kind};

/// Groups that a user shall be a member of; they take effect at the next login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostGroups {
    /// The user.
    pub user: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl HostGroups {
    /// The user's groups as the user database says, not those of the running session.
    async fn current(&self, sh: Shell<'_>) -> Result<BTreeSet<String>, Failure> {
        let output = sh.run(&Cmd::new(["id", "-nG", &self.user])).await?;
        if !output.ok() {
            return Err(
                Failure::clean(format!("there is no user `{}`", self.user)).hint(format!(
                    "create the user with `adduser {}`, or set `user` to an existing one",
                    self.user
                )),
            );
        }
        Ok(output
            .text()
            .split_whitespace()
            .map(str::to_owned)
            .collect())
    }

    fn missing<'a>(&'a self, current: &BTreeSet<String>) -> Vec<&'a str> {
        self.groups
            .iter()
            .map(String::as_str)
            .filter(|group| !current.contains(*group))
            .collect()
    }

    fn receipt(&self) -> Receipt {
        Receipt::note(self.groups.join(", "))
    }
}

impl Kind for HostGroups {
    const NAME: &'static str = "host.groups/1";
    const ABOUT: About = About {
        purpose: "The operator may use libvirt and KVM.",
        probe: "Reads the user's groups with `id -nG`.",
        effect: "Adds the missing memberships with `usermod -aG`.",
        undo: "Takes out those it added with `gpasswd -d`.",
    };

    fn summary(&self) -> String {
        format!("add {} to groups {}", self.user, self.groups.join(", "))
    }

    fn undo_summary(&self) -> String {
        "take out the memberships added".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("host-users")]
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for HostGroups {
    /// The groups that the user was a member of.
    type Image = BTreeSet<String>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let Ok(current) = self.current(sh).await else {
            return Ok(Probe::Absent);
        };
        let missing = self.missing(&current);
        Ok(if missing.is_empty() {
            Probe::Satisfied(self.receipt())
        } else if missing.len() == self.groups.len() {
            Probe::Absent
        } else {
            Probe::Partial {
                what: format!("not yet in {}", missing.join(", ")),
            }
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<BTreeSet<String>, Failure> {
        self.current(sh).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &BTreeSet<String>) -> Result<Receipt, Failure> {
        let current = self.current(sh).await?;
        let missing = self.missing(&current);
        if !missing.is_empty() {
            let groups = missing.join(",");
            sh.ok(&Cmd::new(["usermod", "-aG", &groups, &self.user]).root())
                .await?;
        }
        Ok(self.receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &BTreeSet<String>) -> Result<(), Failure> {
        let current = self.current(sh).await?;
        for group in &self.groups {
            if current.contains(group) && !before.contains(group) {
                sh.ok(&Cmd::new(["gpasswd", "-d", &self.user, group]).root())
                    .await?;
            }
        }
        Ok(())
    }
}
