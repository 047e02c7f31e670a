//! Private keys never leave their files.
