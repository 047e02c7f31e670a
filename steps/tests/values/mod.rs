//! Values and the inventory, held against the files of a real release, and against hostile input.

mod hostile;
mod real;
mod releases;
pub(crate) mod support;
mod yaml;
