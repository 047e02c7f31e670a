//! What operators trip over: each characteristic failure, injected, ends in the message that names cause and remedy.

mod charts;
mod fleet;
mod preflight;
mod tools;
