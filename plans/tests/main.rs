//! Tests of the plan.

#[cfg(test)]
#[path = "cases/charts.rs"]
mod charts;
#[cfg(test)]
#[path = "cases/killpoints.rs"]
mod killpoints;
#[cfg(test)]
#[path = "cases/rehearsal.rs"]
mod rehearsal;
#[cfg(test)]
#[path = "cases/shape.rs"]
mod shape;
#[cfg(test)]
#[path = "cases/thin.rs"]
mod thin;
