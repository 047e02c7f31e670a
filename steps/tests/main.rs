//! Tests of the hosts and of the step kinds.

mod laws;
