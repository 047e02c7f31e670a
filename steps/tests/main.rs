//! Integration tests of the hosts and step kinds.

mod hosts;
mod laws;
mod values;
