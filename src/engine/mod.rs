//! The pure core: who may start what, and when. It knows no Python; Python enters as closures.

pub mod flow;
pub mod ledger;
pub mod limiter;
pub mod lock;
pub mod process;
pub mod recovery;
pub mod retry;
pub mod schedule;
pub mod signal;
pub mod source;
pub mod terms;
pub mod time;
