//! `nft.hairpin/1`: VMs reach services of VMs through the host's public address.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wiab_engine::id::Lane;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::ports::Step;

use super::certs::hairpin_way::YES;
use super::nft::{COMMENT, Rule, TABLE, drop_table, load, our_table, our_table_text, replacing};
use super::{Act, bound};
use crate::host::Host;
use crate::host::shell::Shell;
use crate::kind::{About, Input, Kind};

/// What is said where nothing is to be done.
const IDLE: &str = "not needed, not added";

/// Source NAT for flows that leave the VMs' bridge and come back to it. It stands in a table of its own, so that it neither
/// depends on nor disturbs other rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NftHairpin {
    /// The bridge.
    pub bridge: String,
    /// The VMs' subnet: address and prefix length, `192.168.122.0/24`.
    pub subnet: String,
    /// Whether the rule is needed: output of `hairpin.needed/1`. Without it, the rule is wanted in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<Input<String>>,
}

impl NftHairpin {
    /// Priority 99 is one before `srcnat`: the first nat chain that decides wins.
    fn table(&self) -> String {
        format!(
            "table ip {TABLE} {{\n\tchain postrouting {{\n\t\ttype nat hook postrouting priority 99; policy accept;\n\t\t\
             iifname \"{0}\" oifname \"{0}\" ip daddr {1} ct status dnat counter masquerade comment \"{COMMENT}\"\n\t}}\n}}\n",
            self.bridge, self.subnet
        )
    }

    /// What the rule must match, as nft prints it; `ct status` and counters are spelled differently by versions.
    fn matches(&self) -> Vec<Value> {
        let (address, length) = self.subnet.split_once('/').unwrap_or((&self.subnet, "32"));
        let prefix =
            json!({"prefix": {"addr": address, "len": length.parse::<u8>().unwrap_or(32)}});
        let meta = |key: &str| json!({"meta": {"key": key}});
        let daddr = json!({"payload": {"protocol": "ip", "field": "daddr"}});
        vec![
            json!({"match": {"op": "==", "left": meta("iifname"), "right": self.bridge}}),
            json!({"match": {"op": "==", "left": meta("oifname"), "right": self.bridge}}),
            json!({"match": {"op": "==", "left": daddr, "right": prefix}}),
        ]
    }

    fn same(&self, rule: &Rule) -> bool {
        let parts = rule.expr.as_array().map(Vec::as_slice).unwrap_or_default();
        let has = |test: &dyn Fn(&Value) -> bool| parts.iter().any(test);
        rule.comment == COMMENT
            && self.matches().iter().all(|wanted| parts.contains(wanted))
            && has(&|part| part.get("masquerade").is_some())
            && has(&|part| {
                let left = part.pointer("/match/left/ct/key");
                let right = part.pointer("/match/right");
                left == Some(&Value::from("status"))
                    && (right == Some(&Value::from("dnat")) || right == Some(&json!(["dnat"])))
            })
    }

    /// Whether the rule is there, alone in its table.
    pub(super) async fn is_there(&self, sh: Shell<'_>) -> Result<bool, Failure> {
        let rules = our_table(sh).await?.unwrap_or_default();
        Ok(matches!(rules.as_slice(), [rule] if self.same(rule)))
    }

    /// Whether it was measured that the rule is of no use here.
    fn idle(&self) -> bool {
        let needed = self.needed.as_ref().and_then(Input::get);
        needed.is_some_and(|needed| needed != YES)
    }

    fn receipt() -> Receipt {
        Receipt::note(format!("one rule in table ip {TABLE}"))
    }
}

impl Kind for NftHairpin {
    const NAME: &'static str = "nft.hairpin/1";
    const ABOUT: About = About {
        purpose: "A VM that calls the public address reaches the service on another VM.",
        probe: "Reads the own table as JSON: exactly one rule, with the expected expressions.",
        effect: "Loads the table in one transaction after `nft -c` accepted it; never flushes anything.",
        undo: "Restores or deletes the own table.",
    };

    fn summary(&self) -> String {
        let when = match self.needed {
            Some(_) => ", if needed",
            None => "",
        };
        format!(
            "add hairpin SNAT on {} for {}{when}",
            self.bridge, self.subnet
        )
    }

    fn undo_summary(&self) -> String {
        "restore or delete the own table".to_owned()
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

impl Act for NftHairpin {
    /// The own table as text, if it existed.
    type Image = Option<String>;

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        if self.idle() {
            return Ok(Probe::Satisfied(Receipt::note(IDLE)));
        }
        let Some(rules) = our_table(sh).await? else {
            return Ok(Probe::Absent);
        };
        Ok(match rules.as_slice() {
            [] => Probe::Partial {
                what: format!("table ip {TABLE} has no rule"),
            },
            [rule] if self.same(rule) => Probe::Satisfied(Self::receipt()),
            rules => Probe::Drifted {
                diff: format!(
                    "- {} rules in table ip {TABLE}\n+ one rule as wanted",
                    rules.len()
                ),
            },
        })
    }

    async fn capture(&self, sh: Shell<'_>) -> Result<Option<String>, Failure> {
        our_table_text(sh).await
    }

    async fn apply(&self, sh: Shell<'_>, _: &Option<String>) -> Result<Receipt, Failure> {
        if self.idle() {
            return Ok(Receipt::note(IDLE));
        }
        let rules = our_table(sh).await?.unwrap_or_default();
        if let [rule] = rules.as_slice()
            && self.same(rule)
        {
            return Ok(Self::receipt());
        }
        if let Some(foreign) = rules.iter().find(|rule| rule.comment != COMMENT) {
            return Err(Failure::clean(format!(
                "table ip {TABLE} holds a rule that is not wiab's (handle {})",
                foreign.handle
            ))
            .ask()
            .hint(format!(
                "look at `sudo nft -a list table ip {TABLE}`; delete the rule or move it to another table, then decide `retry`"
            )));
        }
        load(sh, &replacing(&self.table())).await?;
        Ok(Self::receipt())
    }

    async fn undo(&self, sh: Shell<'_>, before: &Option<String>) -> Result<(), Failure> {
        let now = our_table_text(sh).await?;
        match before {
            None if now.is_none() => Ok(()),
            None => drop_table(sh).await,
            Some(_) if *before == now => Ok(()),
            Some(text) => load(sh, &replacing(text)).await,
        }
    }
}
