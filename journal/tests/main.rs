//! Tests of the journal from outside: one binary, modules by subject.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests run children, read the environment and copy directories"
)]

mod basics;
mod common;
