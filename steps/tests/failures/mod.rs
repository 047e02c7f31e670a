//! What goes wrong most often: each failure is injected, and its message names cause and remedy.

mod preflight;
