//! The engine against its real journal, and the promise that stored events stay readable.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; the allowance in clippy.toml does not reach helpers"
)]

mod accounts;
mod golden;
mod journalled;
mod looks;
