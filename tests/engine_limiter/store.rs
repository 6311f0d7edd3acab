//! Where the permits of a limiter under test are counted.

use std::cell::Cell;

use paceline::engine::backends::host_file::{HostClock, HostFile, Place};
use paceline::engine::limiter::{Limiter, Rate};
use paceline::engine::time::Time;
use tempfile::TempDir;

#[derive(Debug)]
pub(crate) enum Store {
    Memory,
    /// In files of a folder, one for each limiter.
    HostFile(TempDir, Cell<usize>),
}

impl Store {
    pub(crate) fn host_file() -> Self {
        let folder = if std::path::Path::new("/dev/shm").is_dir() {
            TempDir::new_in("/dev/shm")
        } else {
            TempDir::new()
        };
        Self::HostFile(folder.unwrap(), Cell::new(0))
    }

    pub(crate) fn limiter(&self, rate: Rate) -> Limiter {
        match self {
            Self::Memory => Limiter::new(rate),
            Self::HostFile(folder, made) => {
                let path = folder.path().join(made.replace(made.get() + 1).to_string());
                let now = Time::default();
                let file = HostFile::open(&Place::Path(path), rate, HostClock::Engine, now);
                file.unwrap().limiter()
            }
        }
    }
}
