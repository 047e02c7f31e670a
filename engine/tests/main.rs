//! The engine against its real journal, and the promise that stored events stay readable.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod journalled;
