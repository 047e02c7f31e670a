//! The command line, as an operator meets it.

mod bad_input;
mod crafted;
mod doctor;
mod harness;
mod journal;
mod owed;
mod parts;
mod remote;
mod runs;
mod screens;
mod stories;
mod two_processes;
mod why;
