//! When permits may be taken.

use crate::engine::time::Time;

/// When permits may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Then.
    At(Time),
    /// The server is asked, and there will be news.
    Asked,
    /// There is no contact with the server, for that reason; there will be news.
    Lost(String),
    /// Others use the same name with other numbers, it says in words.
    Refused(String),
}
