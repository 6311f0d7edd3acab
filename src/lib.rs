//! Runs batches of Python calls in parallel, as fast as a rate limit allows and never faster.

pub mod engine;
