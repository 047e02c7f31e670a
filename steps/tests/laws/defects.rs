//! Defects of the scripts that people use today, each with a test.
