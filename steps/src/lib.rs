//! The step kinds of wiab, and the hosts they act on.

pub mod catalogue;
pub mod certs;
pub mod host;
pub mod kind;
pub mod kinds;
pub mod lease;
pub mod release;
pub mod secrets;
pub mod time;
pub mod traffic;
pub mod values;
pub mod yaml;
