//! Certificates: the way of the self-check, known failures and their remedies, what is kept.

mod deaths;
mod stories;
mod way;
mod wordings;
pub(crate) mod world;
