//! The scheduler, on a clock of the tests' own: who starts what, when, and what becomes of it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod asking;
mod claims;
mod deadlines;
mod drops;
mod endings;
mod fast_path;
mod fixture;
mod model;
mod monitor;
mod nested;
mod orphans;
mod outcomes;
mod pauses;
mod refused;
mod retries;
mod stragglers;
mod threads;
mod wakeups;
