//! The effective limit of an adaptive rate: additive increase, multiplicative decrease.
//!
//! D.-M. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for congestion
//! avoidance in computer networks", Computer Networks and ISDN Systems 17 (1989): of the linear
//! rules, only this one brings clients that do not know of each other to a fair share.

use std::time::Duration;

use crate::engine::time::Time;

/// A cut leaves one part in this many.
const CUT: u64 = 2;
/// Every window gives one part in this many of the limit back.
const STEPS: u64 = 20;

/// A limit that follows what the server accepts.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Adaptive {
    limit: u64,
    every: Duration,
    effective: u64,
    /// When the step under way began.
    since: Time,
    last_cut: Option<Time>,
    /// Whether anything started since the last cut: until then a refusal is no news.
    tried: bool,
}

impl Adaptive {
    pub(in crate::engine) fn new(limit: u64, every: Duration) -> Self {
        Self {
            limit,
            every,
            effective: limit,
            since: Time::default(),
            last_cut: None,
            tried: true,
        }
    }

    pub(in crate::engine) const fn effective(&self) -> u64 {
        self.effective
    }

    /// When the step under way began.
    pub(in crate::engine) const fn since(&self) -> Time {
        self.since
    }

    /// The length of a step.
    pub(in crate::engine) const fn every(&self) -> Duration {
        self.every
    }

    pub(in crate::engine) const fn is_whole(&self) -> bool {
        self.effective >= self.limit
    }

    /// The same where so much is in effect since then.
    pub(in crate::engine) fn cut_to(self, effective: u64, since: Time) -> Self {
        Self {
            effective: effective.clamp(1, self.limit),
            since,
            ..self
        }
    }

    /// When the next step back towards the limit is due.
    pub(in crate::engine) fn next_step(&self) -> Time {
        if self.effective < self.limit {
            self.since + self.every
        } else {
            Time::NEVER
        }
    }

    /// Takes one step if it is due by `now`, and returns when it was.
    pub(in crate::engine) fn step(&mut self, now: Time) -> Option<Time> {
        let step = self.next_step();
        if step > now || step == Time::NEVER {
            return None;
        }
        self.effective = self
            .effective
            .saturating_add((self.limit / STEPS).max(1))
            .min(self.limit);
        self.since = step;
        Some(step)
    }

    /// Follows another limit and window: what is in effect stays the same part of the limit.
    pub(in crate::engine) fn change(&mut self, limit: u64, every: Duration) {
        let effective = u128::from(self.effective) * u128::from(limit) / u128::from(self.limit);
        self.effective = u64::try_from(effective).unwrap_or(limit).clamp(1, limit);
        self.limit = limit;
        self.every = every;
    }

    /// Notes that something started.
    pub(in crate::engine) const fn started(&mut self) {
        self.tried = true;
    }

    /// Cuts, unless the refusal belongs to an episode that was cut for already: one within the
    /// window after the last cut, or before anything started at the new speed.
    pub(in crate::engine) fn cut(&mut self, now: Time) -> bool {
        let same_episode = !self.tried || self.last_cut.is_some_and(|cut| now < cut + self.every);
        if same_episode {
            return false;
        }
        self.halve(now);
        self.last_cut = Some(now);
        self.tried = false;
        true
    }

    /// Cuts, whatever was before.
    pub(in crate::engine) fn halve(&mut self, now: Time) {
        self.effective = (self.effective / CUT).max(1);
        self.since = now;
    }

    /// Makes the step under way so much longer: nothing is learnt while nothing starts.
    pub(in crate::engine) fn hold(&mut self, longer: Duration) {
        self.since = self.since + longer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn second(seconds: u64) -> Time {
        Time::default() + SECOND * u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    fn settled(adaptive: &mut Adaptive, now: Time) -> u64 {
        while adaptive.step(now).is_some() {}
        adaptive.effective()
    }

    #[test]
    fn refusals_of_one_episode_cut_once() {
        let mut adaptive = Adaptive::new(100, SECOND);
        assert!(adaptive.cut(second(10)));
        assert!(!adaptive.cut(second(10)));
        adaptive.started();
        assert!(
            !adaptive.cut(second(10) + SECOND / 2),
            "still the same window"
        );
        assert!(adaptive.cut(second(11)));
        assert!(!adaptive.cut(second(20)), "nothing was tried since");
        assert_eq!(adaptive.effective(), 25);
    }

    #[test]
    fn it_grows_step_by_step_and_never_beyond_the_limit() {
        let mut adaptive = Adaptive::new(100, SECOND);
        adaptive.cut(second(10));
        assert_eq!(
            settled(&mut adaptive, second(11) - Duration::from_nanos(1)),
            50
        );
        assert_eq!(settled(&mut adaptive, second(11)), 55);
        assert_eq!(settled(&mut adaptive, second(19)), 95);
        assert_eq!(settled(&mut adaptive, second(20)), 100);
        assert_eq!(settled(&mut adaptive, second(1000)), 100);
        assert_eq!(adaptive.next_step(), Time::NEVER);
    }

    #[test]
    fn it_does_not_grow_while_paused() {
        let mut adaptive = Adaptive::new(100, SECOND);
        adaptive.cut(second(10));
        adaptive.hold(SECOND * 20);
        assert_eq!(settled(&mut adaptive, second(30)), 50);
        assert_eq!(settled(&mut adaptive, second(31)), 55);
    }

    #[test]
    fn it_is_never_cut_to_nothing_and_a_small_limit_comes_back() {
        let mut adaptive = Adaptive::new(3, SECOND);
        for cut in 1..10 {
            adaptive.started();
            adaptive.cut(second(cut));
        }
        assert_eq!(adaptive.effective(), 1);
        assert_eq!(settled(&mut adaptive, second(11)), 3);
        let mut largest = Adaptive::new(1 << 63, SECOND);
        largest.cut(second(1));
        assert_eq!(settled(&mut largest, second(100)), 1 << 63);
    }

    #[test]
    fn another_limit_is_cut_as_far_as_the_one_before() {
        let mut adaptive = Adaptive::new(100, SECOND);
        adaptive.change(40, SECOND);
        assert_eq!(adaptive.effective(), 40);
        adaptive.cut(second(10));
        adaptive.change(1 << 63, SECOND * 2);
        assert_eq!(adaptive.effective(), 1 << 62);
        adaptive.change(1, SECOND * 2);
        assert_eq!(adaptive.effective(), 1);
        adaptive.change(4, SECOND * 2);
        assert_eq!(settled(&mut adaptive, second(12)), 4);
    }
}
