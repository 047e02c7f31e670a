//! Integration tests of the whole tree and of the real binary. One binary, so that it is linked once.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod tidy;
