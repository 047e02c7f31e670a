//! tests
#[cfg(test)]
mod killpoints;
