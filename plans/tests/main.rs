//! Tests of the plan.

#[cfg(test)]
#[path = "cases/killpoints.rs"]
mod killpoints;
#[path = "cases/rehearsal.rs"]
mod rehearsal;
#[path = "cases/shape.rs"]
mod shape;
