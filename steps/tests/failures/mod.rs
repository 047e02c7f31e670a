//! The failures that operators meet: each ends in a message with its cause and its remedy.

mod charts;
