//! `nft.hairpin-removed/1`: no hairpin rule is left, neither ours nor one that was added by hand.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::nft::{
    COMMENT, Rule, drop_table, list, load, nft, our_table, our_table_text, replacing,
};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Kind};

const CHAIN: [&str; 4] = ["chain", "ip", "nat", "POSTROUTING"];

/// The absence of the hairpin rule, for hosts whose upstream router does the hairpin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NftHairpinRemoved {}

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The own table as text.
    table: Option<String>,
    /// Rules of that comment in `ip nat POSTROUTING`: position and text.
    rules: Vec<(u64, String)>,
}

/// The leftovers in the host's own chain.
async fn leftovers(sh: Shell<'_>) -> Result<Vec<Rule>, Failure> {
    let mut rules = list(sh, &CHAIN).await?.unwrap_or_default();
    rules.retain(|rule| rule.comment == COMMENT);
    Ok(rules)
}

/// The text of the rule with that handle in a listing made with `-a`.
fn text_of(listing: &str, handle: u64) -> Option<String> {
    let suffix = format!(" # handle {handle}");
    listing
        .lines()
        .find_map(|line| line.strip_suffix(&suffix))
        .map(|text| text.trim().to_owned())
}

impl Kind for NftHairpinRemoved {
    const NAME: &'static str = "nft.hairpin-removed/1";
    const ABOUT: About = About {
        purpose: "Where the rule is not wanted, none is left behind, however it got there.",
        probe: "Looks for the own table and for rules with the known comment in `ip nat POSTROUTING`.",
        effect: "Deletes the own table and each such rule by its handle, and checks that none is left.",
        undo: "Loads the table and puts the rules back in their places.",
    };

    fn summary(&self) -> String {
        "remove hairpin SNAT rules".to_owned()
    }

    fn undo_summary(&self) -> String {
        "put the removed rules back".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::Reversible
    }

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("host-net")]
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for NftHairpinRemoved {
    type Image = Image;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        let table = our_table(sh).await?.is_some();
        let left = leftovers(sh).await?.len();
        Ok(if !table && left == 0 {
            Probe::Satisfied(Receipt::note("no hairpin rule"))
        } else {
            Probe::Absent
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Image, Failure> {
        let mut rules = Vec::new();
        let found = leftovers(sh).await?;
        if !found.is_empty() {
            let mut arguments = vec!["-a", "list"];
            arguments.extend(CHAIN);
            let listing = sh.ok(&nft(&arguments)).await?.text();
            for rule in found {
                let text = text_of(&listing, rule.handle).ok_or_else(|| {
                    Failure::clean(format!(
                        "nft does not list the rule with handle {}",
                        rule.handle
                    ))
                    .retry()
                })?;
                rules.push((rule.index, text));
            }
        }
        Ok(Image {
            table: our_table_text(sh).await?,
            rules,
        })
    }

    async fn apply(&self, sh: Shell<'_>, _: &Image) -> Result<Receipt, Failure> {
        drop_table(sh).await?;
        let found = leftovers(sh).await?;
        let count = found.len();
        for rule in found {
            let handle = rule.handle.to_string();
            sh.ok(&nft(&[
                "delete",
                "rule",
                "ip",
                "nat",
                "POSTROUTING",
                "handle",
                &handle,
            ]))
            .await?;
        }
        if !leftovers(sh).await?.is_empty() {
            return Err(Failure::dirty("a hairpin rule is back after it was removed")
                .ask()
                .hint("something on the host adds it: look at `sudo nft -a list chain ip nat POSTROUTING`"));
        }
        Ok(Receipt::note(format!("{count} leftover rules removed")))
    }

    async fn undo(&self, sh: Shell<'_>, image: &Image) -> Result<(), Failure> {
        if let Some(text) = &image.table
            && our_table(sh).await?.is_none()
        {
            load(sh, &replacing(text)).await?;
        }
        let Some(mut rules) = list(sh, &CHAIN).await? else {
            return Ok(());
        };
        for (index, text) in &image.rules {
            let there = rules.iter().find(|rule| rule.index == *index);
            let script = match there {
                Some(rule) if rule.comment == COMMENT => continue,
                Some(rule) => format!(
                    "insert rule ip nat POSTROUTING handle {} {text}\n",
                    rule.handle
                ),
                None => format!("add rule ip nat POSTROUTING {text}\n"),
            };
            load(sh, &script).await?;
            rules = list(sh, &CHAIN).await?.unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_its_whole_handle() {
        let listing = "\t\ttcp dport 22 accept # handle 17\n\t\tcounter masquerade comment \"x\" # handle 7\n";
        assert_eq!(
            text_of(listing, 7).as_deref(),
            Some("counter masquerade comment \"x\"")
        );
        assert_eq!(text_of(listing, 1), None);
    }
}
