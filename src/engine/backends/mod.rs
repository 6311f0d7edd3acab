//! Where limits are shared: each backend in a folder of its own.

pub mod host_file;
#[cfg(feature = "redis")]
pub mod redis;
