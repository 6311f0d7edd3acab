//! Times: monotonic nanoseconds since the process first asked.
//!
//! Every rule takes its `now` as an argument, so tests run on times of their own making.

use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A point in time, in nanoseconds on the engine's monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// Later than anything that happens.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time now.
    #[must_use]
    pub fn now() -> Self {
        Self(nanos(EPOCH.elapsed()))
    }

    /// A time from its nanoseconds on the engine's clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Its nanoseconds on the engine's clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How many nanoseconds ago `earlier` was; zero if it is still to come.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many nanoseconds later.
    #[must_use]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Where a decision takes its time from, so that it can be read at the instant it counts: inside
/// the lock that the decision is made under.
pub trait TimeSource {
    /// The time now.
    fn now(&self) -> Time;
}

/// A clock that stands still, for callers who have read theirs.
impl TimeSource for Time {
    fn now(&self) -> Time {
        *self
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

fn nanos(duration: Duration) -> u64 {
    // Asked for every operation: cheaper than the 128 bits of as_nanos().
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}
