//! The command line, as an operator meets it.

mod bad_input;
mod doctor;
mod harness;
mod journal;
mod parts;
mod runs;
mod screens;
mod two_processes;
