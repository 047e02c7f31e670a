//! Rules of the tree that no compiler knows, checked on its files as they stand.

mod catalogue;
mod documents;
mod fences;
mod leaks;
mod licences;
mod packages;
mod shape;
mod tree;
