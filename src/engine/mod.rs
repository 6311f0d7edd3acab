//! The pure core: who may start what, and when. It knows no Python; Python enters as closures.

pub mod limiter;
pub mod process;
pub mod signal;
pub mod time;
