//! What operators trip over: each characteristic failure, injected, ends in the message that names cause and remedy.

mod charts;
mod preflight;
mod tools;
mod traffic;
