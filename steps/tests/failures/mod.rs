//! What operators trip over: each characteristic failure, injected, ends in the message that names cause and remedy.

mod artifact;
mod certs;
mod charts;
mod cluster;
mod fleet;
mod preflight;
mod tools;
mod traffic;
