//! What a limiter allows, validated once.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// The margin of a permit of which nothing is known but its start: one part in this many of `per`.
const DEFAULT_MARGIN_SHARE: u32 = 100;
const LARGEST_DEFAULT_MARGIN: Duration = Duration::from_millis(250);
/// The largest margin that is learnt: one part in this many of `per`, or what is below if that is
/// more.
const LEARNT_MARGIN_SHARE: u32 = 50;
const LEAST_LEARNT_BOUND: Duration = Duration::from_millis(50);
/// How long opening a connection may keep a call from its server.
const LONGEST_OPENING: Duration = Duration::from_secs(1);

/// At most `limit` permits in any window of `per`, wherever it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    limit: u64,
    per: Duration,
    burst: Option<NonZeroU32>,
    margin: Option<Duration>,
    adaptive: bool,
}

impl Rate {
    /// The largest limit.
    pub const LARGEST_LIMIT: u64 = 1 << 63;
    /// The longest window and the largest margin, 146 years: sums of times on the engine's clock
    /// stay far from overflow.
    pub const LONGEST: Duration = Duration::from_nanos(1 << 62);

    /// A rate of `limit` permits per `per`; with `burst`, at most that many back to back and the
    /// rest evenly spaced. The window is kept for `margin` longer; without one, for as long as is
    /// learnt from how long calls take.
    pub fn new(
        limit: u64,
        per: Duration,
        burst: Option<u64>,
        margin: Option<Duration>,
    ) -> Result<Self, RateError> {
        if limit < 1 {
            return refuse("limit must be at least 1, not 0".to_owned());
        }
        if limit > Self::LARGEST_LIMIT {
            return refuse(format!("limit must be at most 2**63, not {limit}"));
        }
        if per.is_zero() {
            return refuse("per must be at least a nanosecond".to_owned());
        }
        if per > Self::LONGEST {
            return too_long("per", per);
        }
        if let Some(margin) = margin.filter(|margin| *margin > Self::LONGEST) {
            return too_long("margin", margin);
        }
        let burst = burst
            .map(|burst| Self::pacing_burst(burst, limit, per))
            .transpose()?;
        Self {
            limit,
            per,
            burst,
            margin,
            adaptive: false,
        }
        .paced_in_range()
    }

    /// The same rate, cut when the server refuses and grown back afterwards.
    pub fn adaptive(self) -> Result<Self, RateError> {
        Self {
            adaptive: true,
            ..self
        }
        .paced_in_range()
    }

    /// The same rate with another limit and window.
    pub fn changed(self, limit: u64, per: Duration) -> Result<Self, RateError> {
        self.shared_as(limit, per, self.burst())
    }

    /// The same rate in the numbers that those have agreed on who share it.
    pub(in crate::engine) fn shared_as(
        self,
        limit: u64,
        per: Duration,
        burst: Option<u64>,
    ) -> Result<Self, RateError> {
        let rate = Self::new(limit, per, burst, self.margin)?;
        if self.adaptive {
            rate.adaptive()
        } else {
            Ok(rate)
        }
    }

    /// How long a permit stays in the window at most.
    pub(in crate::engine) fn longest(&self) -> Duration {
        self.per + self.bound().unwrap_or_else(|| self.margin())
    }

    /// The same of a worker's first call, which opens a connection: half of `per`, at most a second,
    /// if that is more.
    pub(super) fn first_bound(&self) -> Option<Duration> {
        let opening = (self.per / 2).min(LONGEST_OPENING);
        self.bound().map(|bound| bound.max(opening))
    }

    fn pacing_burst(burst: u64, limit: u64, per: Duration) -> Result<NonZeroU32, RateError> {
        if !(1..=limit).contains(&burst) {
            return refuse(format!(
                "burst must be between 1 and the limit of {limit}, not {burst}"
            ));
        }
        if u128::from(limit) > per.as_nanos() {
            return refuse(format!(
                "{limit} permits in {} seconds are more than one per nanosecond, which cannot be \
                 paced; leave burst out to keep the window alone",
                per.as_secs_f64()
            ));
        }
        let narrow = u32::try_from(burst).ok().and_then(NonZeroU32::new);
        narrow.map_or_else(
            || {
                refuse(format!(
                    "burst must be at most {} to be paced, not {burst}; leave it out to keep the \
                     window alone",
                    u32::MAX
                ))
            },
            Ok,
        )
    }

    /// Refuses a pace whose longest debt, at the slowest it may be cut to, the clock cannot hold.
    fn paced_in_range(self) -> Result<Self, RateError> {
        let slowest = if self.adaptive { 1 } else { self.limit };
        let interval = self.interval(slowest, self.bound().unwrap_or_else(|| self.margin()));
        match self.burst {
            Some(burst)
                if interval
                    .checked_mul(burst.get())
                    .is_none_or(|debt| debt > Self::LONGEST) =>
            {
                refuse(format!(
                    "burst={burst} at one permit in {} seconds takes longer to earn than {} seconds",
                    interval.as_secs_f64(),
                    Self::LONGEST.as_secs()
                ))
            }
            _ => Ok(self),
        }
    }

    /// Permits in any window.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The length of the window.
    #[must_use]
    pub const fn per(&self) -> Duration {
        self.per
    }

    /// Permits that may follow each other at once, if the rest is paced.
    #[must_use]
    pub fn burst(&self) -> Option<u64> {
        self.burst.map(|burst| u64::from(burst.get()))
    }

    /// How much longer than `per` a permit is kept of which only the start is known: the margin
    /// that was given, or else 1 % of `per`, at most 0.25 s.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.margin
            .unwrap_or_else(|| (self.per / DEFAULT_MARGIN_SHARE).min(LARGEST_DEFAULT_MARGIN))
    }

    /// The largest margin that is learnt; None if the margin was given.
    #[must_use]
    pub fn bound(&self) -> Option<Duration> {
        self.margin
            .is_none()
            .then(|| (self.per / LEARNT_MARGIN_SHARE).max(LEAST_LEARNT_BOUND))
    }

    /// Whether it is cut when the server refuses.
    #[must_use]
    pub const fn is_adaptive(&self) -> bool {
        self.adaptive
    }

    /// The largest weight that can ever be granted.
    #[must_use]
    pub fn largest_weight(&self) -> u64 {
        self.burst().unwrap_or(self.limit)
    }

    /// How long a permit stays in the window of which only the start is known.
    pub(super) fn span(&self) -> Duration {
        self.per + self.margin()
    }

    pub(super) const fn pace(&self) -> Option<NonZeroU32> {
        self.burst
    }

    /// The time between permits paced at `limit` in `per` and the margin in effect, rounded up to
    /// a nanosecond. Paced at `per` alone, every `limit` of them would be followed by a gap.
    pub(in crate::engine) fn interval(&self, limit: u64, margin: Duration) -> Duration {
        let window = (self.per + margin).min(Self::LONGEST);
        let nanos = window.as_nanos().div_ceil(u128::from(limit.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn refuse<T>(message: String) -> Result<T, RateError> {
    Err(RateError(message))
}

fn too_long<T>(name: &str, time: Duration) -> Result<T, RateError> {
    refuse(format!(
        "{name} must be at most {} seconds, not {}",
        Rate::LONGEST.as_secs(),
        time.as_secs_f64()
    ))
}

/// Why a rate was refused: the user's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateError(String);

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RateError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refusal(rate: Result<Rate, RateError>) -> String {
        rate.map_or_else(
            |error| error.to_string(),
            |rate| format!("accepted {rate:?}"),
        )
    }

    #[test]
    fn refusals_name_the_value() {
        let nanosecond = Duration::from_nanos(1);
        let too_long = Rate::LONGEST + nanosecond;
        let year = SECOND * 31_536_000;
        for (rate, words) in [
            (
                Rate::new(0, SECOND, None, None),
                "limit must be at least 1, not 0",
            ),
            (
                Rate::new(u64::MAX, SECOND, None, None),
                "not 18446744073709551615",
            ),
            (
                Rate::new(1, Duration::ZERO, None, None),
                "per must be at least a nanosecond",
            ),
            (
                Rate::new(1, too_long, None, None),
                "per must be at most 4611686018 seconds, not",
            ),
            (
                Rate::new(1, Duration::MAX, None, None),
                "per must be at most 4611686018 seconds",
            ),
            (
                Rate::new(1, SECOND, None, Some(too_long)),
                "margin must be at most",
            ),
            (
                Rate::new(5, SECOND, Some(0), None),
                "between 1 and the limit of 5, not 0",
            ),
            (
                Rate::new(5, SECOND, Some(6), None),
                "between 1 and the limit of 5, not 6",
            ),
            (
                Rate::new(1 << 40, year, Some(1 << 33), None),
                "not 8589934592; leave it out",
            ),
            (
                Rate::new(2, nanosecond, Some(1), None),
                "more than one per nanosecond",
            ),
            (
                Rate::new(1000, year, Some(1000), None).and_then(Rate::adaptive),
                "burst=1000 at one permit in 32166720 seconds takes longer",
            ),
        ] {
            let message = refusal(rate);
            assert!(
                message.contains(words),
                "{message:?} does not say {words:?}"
            );
        }
    }

    #[test]
    fn the_extremes_are_accepted() {
        let nanosecond = Duration::from_nanos(1);
        for rate in [
            Rate::new(Rate::LARGEST_LIMIT, nanosecond, None, None),
            Rate::new(1 << 62, Rate::LONGEST, Some(1), Some(Rate::LONGEST)),
            Rate::new(1, nanosecond, Some(1), Some(Duration::ZERO)),
            Rate::new(
                u64::from(u32::MAX),
                Rate::LONGEST,
                Some(u64::from(u32::MAX) / 2),
                None,
            ),
        ] {
            assert!(rate.is_ok(), "{}", refusal(rate));
        }
    }

    #[test]
    fn a_start_alone_is_kept_for_a_hundredth_longer_up_to_a_quarter_second() {
        for (per, margin) in [(1, 10), (20, 200), (25, 250), (60, 250)] {
            let rate = Rate::new(1, SECOND * per, None, None).map(|rate| rate.margin());
            assert_eq!(rate, Ok(Duration::from_millis(margin)));
        }
    }

    #[test]
    fn what_is_learnt_is_bounded_unless_a_margin_was_given() {
        for (per, bound) in [(1, 50), (2, 50), (5, 100), (60, 1200), (86_400, 1_728_000)] {
            let rate = Rate::new(1, SECOND * per, None, None).map(|rate| rate.bound());
            assert_eq!(rate, Ok(Some(Duration::from_millis(bound))));
        }
        let given = Rate::new(1, SECOND, None, Some(Duration::ZERO)).map(|rate| rate.bound());
        assert_eq!(given, Ok(None));
    }

    #[test]
    fn a_change_is_validated_like_a_new_rate() {
        let rate = Rate::new(20, SECOND, Some(5), Some(SECOND)).and_then(Rate::adaptive);
        let changed = rate.clone().and_then(|rate| rate.changed(10, SECOND * 2));
        let made = Rate::new(10, SECOND * 2, Some(5), Some(SECOND)).and_then(Rate::adaptive);
        assert_eq!(changed, made);
        let message = refusal(rate.and_then(|rate| rate.changed(4, SECOND)));
        assert!(message.contains("limit of 4, not 5"), "{message}");
    }
}
