//! The workflow engine of wiab.
//!
//! The pure core folds events into a state ([`state`]) and decides what comes next ([`decide`]); the runner
//! ([`runner`]) interprets the decisions. The core knows no clock, file system, randomness or tokio.

pub mod book;
pub mod codec;
pub mod decide;
pub mod event;
pub mod graph;
pub mod id;
pub mod inputs;
pub mod installation;
pub mod look;
mod mutant;
pub mod outcome;
pub mod plan;
pub mod ports;
pub mod record;
pub mod retry;
pub mod runner;
pub mod select;
pub mod state;
pub mod survey;
pub mod text;

#[cfg(test)]
mod simulator;
