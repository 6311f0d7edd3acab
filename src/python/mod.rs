//! The binding: Python's arguments in, Python's objects out.

pub(crate) mod interpreter;
pub(crate) mod limiter;
