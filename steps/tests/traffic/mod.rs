//! The firewall: known rules, the real parser, the dead-man timer, and each defect that a firewall of this kind can have.

mod deadman;
mod defects;
mod filter;
mod health;
mod real;
mod rules;
pub(crate) mod world;
