//! The pure core: who may start what, and when. It knows no Python; Python enters as closures.

mod alarm;
pub mod backends;
pub mod batch;
pub mod clock;
pub mod flow;
pub mod limiter;
pub mod lock;
pub mod model;
pub mod process;
pub mod recovery;
pub mod retry;
pub mod scheduler;
pub mod signal;
pub mod time;
