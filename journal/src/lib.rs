//! The event store of wiab: frames in sled, chained by hash, durable when acknowledged.
//!
//! The journal knows no event types: a frame's body is bytes with a kind number. What renders them for
//! `events.jsonl` is given at opening.
//!
//! The record is one sled database with one holder ([`Journal`]). Beside it stand derived, readable copies
//! (`events.jsonl` per run) and content-addressed blobs. [`Reader`] reads whichever of database, live socket and
//! copies is there. `docs/journal-format.md` describes all bytes.

pub mod blobs;
pub mod bundle;
mod catalog;
mod codec;
mod copy;
mod copy_check;
mod database;
mod desk;
mod error;
pub mod frame;
mod journal;
mod layout;
pub mod live;
mod lock;
mod opening;
mod options;
pub mod own;
mod reader;
pub mod recover;
mod reserve;
mod scan;
mod shared;
mod store;
mod text;
pub mod types;
pub mod verify;
mod writer;

pub use blobs::{BlobRef, Blobs};
pub use catalog::{Head, RunSummary};
pub use error::JournalError;
pub use frame::FrameError;
pub use journal::{Appended, Journal};
pub use lock::Holder;
pub use opening::Opening;
pub use options::{Options, login_name};
pub use reader::{Reader, Source};
pub use text::{hex, rfc3339};
pub use types::{Batch, Entry, Frame, Hash, Render, RunKey};
