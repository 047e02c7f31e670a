//! What the terminal sees: streams, colour, prompts, durations.

pub(crate) mod live;
pub(crate) mod printer;
pub(crate) mod prompt;
pub(crate) mod style;
pub(crate) mod time;
