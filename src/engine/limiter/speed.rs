//! How fast permits of one rate may follow each other: what of it changes as time goes by.

use std::time::Duration;

use super::adaptive::Adaptive;
use super::pacing::{Arrival, Pacing};
use super::quota::Quota;
use super::rate::Rate;
use crate::engine::flow::Spacing;
use crate::engine::time::Time;

/// How fast permits may follow each other now: what of the rate changes as time goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    rate: Rate,
    /// That is in effect.
    margin: Duration,
    adaptive: Option<Adaptive>,
    pacing: Option<Pacing>,
    /// What the server says is left.
    quota: Quota,
}

impl Speed {
    pub(super) fn new(rate: Rate) -> Self {
        let margin = rate.margin();
        Self {
            rate,
            margin,
            adaptive: rate
                .is_adaptive()
                .then(|| Adaptive::new(rate.limit(), rate.span())),
            pacing: rate
                .pace()
                .map(|burst| Pacing::new(burst, rate.interval(rate.limit(), margin))),
            quota: Quota::NONE,
        }
    }

    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    pub(super) const fn pacing(&self) -> Option<Pacing> {
        self.pacing
    }

    pub(super) const fn adaptive(&self) -> Option<Adaptive> {
        self.adaptive
    }

    /// The same where the pace and the limit in effect are those that others know.
    pub(super) const fn with(self, pacing: Option<Pacing>, adaptive: Option<Adaptive>) -> Self {
        Self {
            adaptive,
            pacing,
            ..self
        }
    }

    /// When `weight` permits may be given as far as the server has told.
    pub(super) fn due_by_quota(&self, weight: u64, now: Time) -> Time {
        self.quota.due(weight, now)
    }

    /// Whether permits may have to wait for what the server has told.
    pub(super) fn waits_for_server(&self, now: Time) -> bool {
        self.quota.due(u64::MAX, now) > now
    }

    /// Notes permits that were given, where others count them.
    pub(super) fn charge_quota(&mut self, weight: u64) {
        self.quota.charge(weight);
    }

    pub(super) fn effective_limit(&self) -> u64 {
        self.adaptive
            .map_or(self.rate.limit(), |adaptive| adaptive.effective())
    }

    pub(super) fn largest_weight(&self) -> u64 {
        self.rate.largest_weight()
    }

    /// What the window may hold once `weight` is in it. A weight beyond a limit that was cut has
    /// the window for itself: waiting for the limit to grow back would keep everybody waiting.
    pub(super) fn capacity_for(&self, weight: u64) -> u64 {
        self.effective_limit().max(weight)
    }

    pub(super) fn next_step(&self) -> Time {
        self.adaptive
            .map_or(Time::NEVER, |adaptive| adaptive.next_step())
    }

    #[inline(always)]
    pub(super) fn advance(&mut self, now: Time) {
        // Step by step, so that it makes no difference how often anybody looks.
        while let Some(step) = self
            .adaptive
            .as_mut()
            .and_then(|adaptive| adaptive.step(now))
        {
            self.follow_limit(step);
        }
    }

    pub(super) fn cut(&mut self, now: Time) -> bool {
        let cut = self
            .adaptive
            .as_mut()
            .is_some_and(|adaptive| adaptive.cut(now));
        if cut {
            self.follow_limit(now);
        }
        cut
    }

    pub(super) fn hold(&mut self, longer: Duration) {
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.hold(longer);
        }
    }

    pub(super) fn follow_margin(&mut self, margin: u64, now: Time) {
        self.margin = Duration::from_nanos(margin);
        self.follow_limit(now);
    }

    pub(super) fn change(&mut self, rate: Rate, now: Time) {
        if rate.pace() != self.rate.pace() {
            self.pacing = Self::new(rate).pacing;
        }
        self.rate = rate;
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.change(rate.limit(), rate.span());
        }
        self.follow_limit(now);
    }

    /// Gives no more than the server says is left. Whether anybody may have permits sooner by that
    /// than by what it said before.
    pub(super) fn follow_quota(&mut self, quota: Quota) -> bool {
        let sooner = quota.is_sooner_than(&self.quota);
        self.quota = quota;
        sooner
    }

    /// How those follow who have waited for a probe.
    pub(super) fn spacing(&self) -> Spacing {
        Spacing {
            interval: self.rate.interval(self.effective_limit(), self.margin),
            window: self.rate.per() + self.margin,
        }
    }

    fn follow_limit(&mut self, now: Time) {
        let interval = self.rate.interval(self.effective_limit(), self.margin);
        if let Some(pacing) = &mut self.pacing {
            pacing.change_interval(interval, now);
        }
    }

    #[inline(always)]
    pub(super) fn due(&self, weight: u64, now: Time) -> Time {
        let due = self.pacing.map_or(now, |pacing| pacing.due(weight, now));
        due.max(self.quota.due(weight, now))
    }

    #[inline(always)]
    pub(super) fn charge(&mut self, weight: u64, now: Time, arrival: Arrival) {
        if let Some(pacing) = &mut self.pacing {
            pacing.charge(weight, now, arrival);
        }
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.started();
        }
        self.quota.charge(weight);
    }
}
