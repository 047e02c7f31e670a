//! Tests of the plan.

#[cfg(test)]
#[path = "cases/canary.rs"]
mod canary;
#[cfg(test)]
#[path = "cases/charts.rs"]
mod charts;
#[cfg(test)]
#[path = "cases/failures/mod.rs"]
mod failures;
#[cfg(test)]
#[path = "cases/far.rs"]
mod far;
#[cfg(test)]
#[path = "cases/hostile.rs"]
mod hostile;
#[cfg(test)]
#[path = "cases/killpoints.rs"]
mod killpoints;
#[cfg(test)]
#[path = "cases/names.rs"]
mod names;
#[cfg(test)]
#[path = "cases/quoted.rs"]
mod quoted;
#[cfg(test)]
#[path = "cases/rehearsal.rs"]
mod rehearsal;
#[cfg(test)]
#[path = "cases/shape.rs"]
mod shape;
#[cfg(test)]
#[path = "cases/thin.rs"]
mod thin;
#[cfg(test)]
#[path = "cases/via.rs"]
mod via;
#[cfg(test)]
#[path = "cases/world.rs"]
mod world;
