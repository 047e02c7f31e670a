//! What operators trip over: each failure, provoked, ends in a message that names its cause and its remedy.

mod fleet;
