//! The engine against its real journal, and the promise that stored events stay readable.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod golden;
mod journalled;
