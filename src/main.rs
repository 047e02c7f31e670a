//! The command line of wiab.

mod cli;
mod config;
mod dirs;
mod exit;
mod problem;
mod ui;

fn main() {}
