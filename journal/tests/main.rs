//! Tests of the journal from outside: one binary, modules by subject.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests run children, read the environment and copy directories"
)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; the allowance in clippy.toml does not reach helpers"
)]

mod basics;
mod common;
mod crash;
mod disk;
mod exchange;
mod flips;
mod golden;
mod live;
mod powercut;
mod syscalls;
