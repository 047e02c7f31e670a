//! Integration tests of the hosts and step kinds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking; the allowance in clippy.toml does not reach helpers"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a procedure and its answers, in order"
)]

mod certs;
mod failures;
mod hosts;
mod laws;
mod traffic;
mod values;
