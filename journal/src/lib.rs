//! The event store of wiab: frames in sled, chained by hash, durable when acknowledged.
//!
//! The journal knows no event types: a frame's body is bytes with a kind number. What renders them for
//! `events.jsonl` is given at opening.

pub mod types;
