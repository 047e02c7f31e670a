//! Tests of the plan.

#[path = "cases/rehearsal.rs"]
mod rehearsal;
#[path = "cases/shape.rs"]
mod shape;
