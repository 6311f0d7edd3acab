//! The clock that all processes of a host read alike.

use std::time::Duration;

use crate::engine::time::Time;

/// Where the file's times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostClock {
    /// The system's monotonic clock, which counts from when the host was started.
    System,
    /// The time of the engine's clock itself: for clocks that all of a test's limiters share.
    Engine,
}

impl HostClock {
    /// The time now in nanoseconds; it is `now` on the clock of this process.
    #[inline(always)]
    pub(super) fn read(self, now: Time) -> u64 {
        match self {
            Self::System => system(),
            Self::Engine => now.as_nanos(),
        }
    }
}

/// One instant on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant {
    pub(super) here: Time,
    pub(super) host: u64,
}

impl Instant {
    pub(super) fn to_here(self, host: u64) -> Time {
        if host >= self.host {
            self.here.plus_nanos(host - self.host)
        } else {
            self.here - Duration::from_nanos(self.host - host)
        }
    }

    pub(super) fn to_host(self, here: Time) -> u64 {
        if here >= self.here {
            self.host.saturating_add(here.nanos_since(self.here))
        } else {
            self.host.saturating_sub(self.here.nanos_since(here))
        }
    }
}

#[cfg(unix)]
#[inline(always)]
fn system() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(windows)]
#[allow(unsafe_code)]
fn system() -> u64 {
    use windows_sys::Win32::System::Performance::{
        QueryPerformanceCounter, QueryPerformanceFrequency,
    };
    let (mut count, mut frequency) = (0_i64, 0_i64);
    // SAFETY: both write one number to where they are told, and cannot fail on Windows XP or newer
    // (learn.microsoft.com, "QueryPerformanceCounter function").
    unsafe {
        QueryPerformanceCounter(&raw mut count);
        QueryPerformanceFrequency(&raw mut frequency);
    }
    let nanos = i128::from(count) * 1_000_000_000 / i128::from(frequency.max(1));
    u64::try_from(nanos).unwrap_or(0)
}
