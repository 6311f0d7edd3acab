//! How long the server is waited for.

use std::time::Duration;

/// How long to wait for the server.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connecting: Duration,
    /// For an answer.
    pub answering: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connecting: Duration::from_secs(2),
            answering: Duration::from_secs(2),
        }
    }
}
