//! Tables, chains and rules as data, and their text for nft.

use std::fmt::Write as _;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: &'static str,
    pub(crate) name: &'static str,
    pub(crate) sets: Vec<Set>,
    pub(crate) chains: Vec<Chain>,
}

/// A set of interface names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) elements: Vec<String>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// Type, hook and priority of a base chain; its policy is always `accept`.
    pub(crate) hook: Option<(&'static str, &'static str, i64)>,
    pub(crate) rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) parts: Vec<Part>,
    pub(crate) comment: String,
}

/// One expression or statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is compared, whether it must differ, and with which values (any of them).
    Match(&'static str, bool, Vec<String>),
    /// Flags of TCP that do not open a connection.
    NotSyn,
    Counter,
    Accept,
    Drop,
    Jump(&'static str),
    Masquerade,
    /// To one address, with another port if one is given.
    Dnat(String, Option<u16>),
    /// To one of these addresses by chance, on that port.
    Spread(Vec<String>, u16),
    /// At most so many per minute.
    Limit(u32),
    /// To the kernel's log, with this prefix.
    Log(&'static str),
}

impl Part {
    /// Equality with any of some values.
    pub(crate) fn is<S: Into<String>>(
        key: &'static str,
        values: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::Match(key, false, values.into_iter().map(Into::into).collect())
    }

    fn text(&self) -> String {
        match self {
            Self::Match(key, not, values) => {
                let op = if *not { "!= " } else { "" };
                format!("{key} {op}{}", right(key, values))
            }
            Self::NotSyn => "tcp flags & (fin | syn | rst | ack) != syn".to_owned(),
            Self::Counter => "counter".to_owned(),
            Self::Accept => "accept".to_owned(),
            Self::Drop => "drop".to_owned(),
            Self::Jump(chain) => format!("jump {chain}"),
            Self::Masquerade => "masquerade".to_owned(),
            Self::Dnat(address, None) => format!("dnat to {address}"),
            Self::Dnat(address, Some(port)) => format!("dnat to {address}:{port}"),
            Self::Spread(nodes, port) => {
                let pairs = nodes.iter().enumerate();
                let pairs: Vec<String> = pairs.map(|(at, node)| format!("{at} : {node}")).collect();
                format!(
                    "dnat to numgen random mod {} map {{ {} }}:{port}",
                    nodes.len(),
                    pairs.join(", ")
                )
            }
            Self::Limit(per_minute) => format!("limit rate {per_minute}/minute"),
            Self::Log(prefix) => format!("log prefix \"{prefix}\""),
        }
    }

    /// One spelling per meaning, to which listings of all versions of nft are brought as well.
    pub(crate) fn canonical(&self) -> String {
        match self {
            Self::Match(key, not, values) => matching(key, *not, values.clone()),
            Self::NotSyn => matching("tcp flags & ack,fin,rst,syn", true, vec!["syn".to_owned()]),
            Self::Spread(nodes, port) => spread(nodes, *port),
            other => other.text(),
        }
    }
}

/// The canonical spelling of a comparison.
pub(super) fn matching(key: &str, not: bool, mut values: Vec<String>) -> String {
    values.sort();
    values.dedup();
    let op = if not { "!=" } else { "==" };
    format!("{key} {op} {}", values.join(","))
}

/// The canonical spelling of a choice by chance.
pub(super) fn spread(nodes: &[String], port: u16) -> String {
    format!("dnat to one of {}:{port}", nodes.join(","))
}

fn right(key: &str, values: &[String]) -> String {
    let quoted = key.ends_with("ifname");
    let shown: Vec<String> = values
        .iter()
        .map(|value| {
            if quoted && !value.starts_with('@') {
                format!("\"{value}\"")
            } else {
                value.clone()
            }
        })
        .collect();
    match shown.as_slice() {
        [one] => one.clone(),
        many if key.starts_with("ct ") => many.join(","),
        many => format!("{{ {} }}", many.join(", ")),
    }
}

impl Rule {
    /// The rule as nft reads it.
    pub(crate) fn text(&self) -> String {
        let mut words: Vec<String> = self.parts.iter().map(Part::text).collect();
        words.push(format!("comment \"{}\"", self.comment));
        words.join(" ")
    }

    /// Its parts in one spelling per meaning.
    pub(crate) fn canonical(&self) -> Vec<String> {
        self.parts.iter().map(Part::canonical).collect()
    }
}

impl Table {
    /// The table as nft reads it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("table {} {} {{\n", self.family, self.name);
        for set in &self.sets {
            let _ = writeln!(text, "\tset {} {{\n\t\ttype ifname", set.name);
            if !set.elements.is_empty() {
                let quoted: Vec<String> = set
                    .elements
                    .iter()
                    .map(|element| format!("\"{element}\""))
                    .collect();
                let _ = writeln!(text, "\t\telements = {{ {} }}", quoted.join(", "));
            }
            text.push_str("\t}\n");
        }
        for chain in &self.chains {
            let _ = writeln!(text, "\tchain {} {{", chain.name);
            if let Some((kind, hook, priority)) = chain.hook {
                let _ = writeln!(
                    text,
                    "\t\ttype {kind} hook {hook} priority {priority}; policy accept;"
                );
            }
            for rule in &chain.rules {
                let _ = writeln!(text, "\t\t{}", rule.text());
            }
            text.push_str("\t}\n");
        }
        text + "}\n"
    }
}
