//! The decision of one rate: when may so many permits be given, and what does giving them change.
//!
//! Long by its tests.

use std::time::Duration;

use super::backend::{Shared, Why};
use super::forecast::Forecast;
use super::margin::{Ended, Margin};
use super::pacing::Arrival;
use super::quota::{Listener, Told};
use super::rate::Rate;
use super::speed::Speed;
use super::window::Window;
use crate::engine::recovery::{Recovery, Refusal};
use crate::engine::retry::Pause;
use crate::engine::time::Time;

/// Who takes a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taker {
    /// A call, whose end the limiter is told.
    Call,
    /// Somebody of whom nothing more is heard.
    Anybody,
}

/// One rate and what was taken of it.
#[derive(Debug)]
pub(super) struct Gate {
    speed: Speed,
    window: Window,
    margin: Margin,
    /// Of the rate, in nanoseconds.
    per: u64,
    /// Nanoseconds that a permit is kept of which only the start is known.
    span: u64,
    listener: Listener,
    paused_until: Time,
    recovery: Recovery,
    /// Nothing starts before, for either of the two.
    closed_until: Time,
    /// The latest time it was asked at.
    latest: Time,
}

impl Gate {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            speed: Speed::new(rate),
            window: Window::new(nanos(rate.longest())),
            margin: Margin::new(&rate),
            per: nanos(rate.per()),
            span: nanos(rate.span()),
            listener: Listener::default(),
            paused_until: Time::default(),
            recovery: Recovery::default(),
            closed_until: Time::default(),
            latest: Time::default(),
        }
    }

    /// When `weight` permits may be given, if nobody else takes any; `None` is now.
    pub(super) fn due(&mut self, weight: u64, now: Time) -> Option<Time> {
        let now = self.settle(now);
        if self.is_free(weight, now) {
            return None;
        }
        let due = self.forecast(now).due(weight);
        (due > now).then_some(due)
    }

    /// Gives `weight` permits, which are due, at `now`.
    pub(super) fn charge(&mut self, weight: u64, now: Time, arrival: Arrival, taker: Taker) {
        let settled = self.settle(now);
        self.give(weight, (now, settled), arrival, taker);
        self.note_start(now, settled, weight);
    }

    /// Gives `weight` permits at `now` if they are due: what [`due`](Self::due) and
    /// [`charge`](Self::charge) would do, in one go.
    #[inline(always)]
    pub(super) fn try_take(&mut self, weight: u64, now: Time, taker: Taker) -> bool {
        let settled = self.settle(now);
        let free = self.is_free(weight, settled);
        if free {
            self.give(weight, (now, settled), Arrival::Direct, taker);
            self.note_start(now, settled, weight);
        }
        free
    }

    /// The same for a call that starts where the `last` one has ended, in one go for both, if they can
    /// be kept as one. Nothing is done otherwise.
    #[inline(always)]
    pub(super) fn try_follow(&mut self, weight: u64, last: &Ended, now: Time) -> bool {
        let settled = self.settle(now);
        let follows = last.is_usual()
            && self.is_free(weight, settled)
            && self.window.follow(last.started, now, settled, weight);
        if follows {
            self.margin.see(last);
            self.speed.charge(weight, settled, Arrival::Direct);
            self.note_start(now, settled, weight);
        }
        follows
    }

    #[inline(always)]
    fn is_free(&self, weight: u64, now: Time) -> bool {
        self.has_room(weight) && self.closed_until <= now && self.speed.due(weight, now) <= now
    }

    #[inline(always)]
    fn give(&mut self, weight: u64, (asked, now): (Time, Time), arrival: Arrival, taker: Taker) {
        if taker == Taker::Call && self.margin.bound().is_some() {
            self.window.begin(asked, now, weight);
        } else {
            self.window.stamp(now.plus_nanos(self.span), weight);
            self.note_margin(self.margin.of_start(), now);
        }
        self.speed.charge(weight, now, arrival);
    }

    /// Takes note of how long a call took. Returns when its permits leave now and when they would
    /// have left without that, if they are still in the window.
    #[inline(always)]
    pub(super) fn end(&mut self, call: &Ended, now: Time) -> Option<(Time, Time)> {
        let now = self.settle(now);
        let taken = self.window.take_call(call.started, call.weight);
        let started = taken.map_or(call.started, |taken| taken.started);
        let spread = self.margin.spread(started, call);
        let taken = taken?;
        // What opening a connection takes is no margin of the calls to come.
        self.note_margin(spread.min(self.margin.bound().unwrap_or(spread)), now);
        let leaves = started.plus_nanos(self.per + spread);
        Some((leaves, self.window.end(&taken, leaves, now)))
    }

    #[inline(always)]
    fn note_margin(&mut self, margin: u64, now: Time) {
        if self.margin.note(margin, now) {
            self.speed.follow_margin(self.margin.in_effect(), now);
        }
    }

    /// The largest margin of the permits given lately.
    pub(super) fn margin(&self) -> Duration {
        Duration::from_nanos(self.margin.in_effect())
    }

    /// What comes next if everybody takes permits as early as they may, from `now` on, and no call
    /// that runs ends soon.
    pub(super) fn forecast(&mut self, now: Time) -> Forecast<'_> {
        let now = self.settle(now);
        Forecast::new(
            now.max(self.closed_until),
            self.speed,
            self.window.at_the_latest(),
            (self.window.used(), self.span),
        )
    }

    /// The same if every call that runs ends at once, and so does every one that follows,
    /// a probe among them.
    pub(super) fn earliest_forecast(&mut self, now: Time) -> Forecast<'_> {
        let now = self.settle(now);
        let learns = self.margin.bound().is_some();
        let opens = self.paused_until.max(self.recovery.surely_held_until());
        let span = if learns { self.per } else { self.span };
        Forecast::new(
            now.max(opens),
            self.speed,
            self.window.in_order(self.per),
            (self.window.used(), span),
        )
    }

    /// Goes on at another rate. What is in the window stays so much longer as `per` is longer.
    pub(super) fn change(&mut self, rate: Rate, now: Time) {
        let now = self.settle(now);
        let before = std::mem::replace(&mut self.per, nanos(rate.per()));
        let longer = self.per.saturating_sub(before);
        let shorter = before.saturating_sub(self.per);
        self.window.change(longer, shorter, nanos(rate.longest()));
        self.margin.follow(&rate);
        self.span = nanos(rate.span());
        self.speed.change(rate, now);
        self.speed.follow_margin(self.margin.in_effect(), now);
        self.window.expire(now);
    }

    pub(super) fn pause_until(&mut self, until: Time, now: Time) {
        let resumes = self.settle(now).max(self.paused_until);
        self.paused_until = self.paused_until.max(until);
        self.speed.hold(until.since(resumes));
        self.update_closed();
    }

    fn update_closed(&mut self) {
        self.closed_until = self.paused_until.max(self.recovery.held_until());
    }

    /// A call that was given its permits was refused.
    pub(super) fn refused(&mut self, refusal: &Refusal<'_>, now: Time) -> Pause {
        let now = self.settle(now);
        self.recovery.refused(refusal, now)
    }

    /// Nothing starts before `until`, as the server asks.
    pub(super) fn pause_for_server(&mut self, until: Time, now: Time) {
        self.recovery.extend(until);
        self.pause_until(until, now);
    }

    #[inline(always)]
    fn note_start(&mut self, started: Time, now: Time, weight: u64) {
        if self.recovery.is_active() {
            let spacing = self.speed.spacing();
            self.recovery.start(started, now, weight, spacing);
            self.update_closed();
        }
    }

    /// A call that started then was answered without a refusal, or has ended without an answer.
    /// Whether others may start earlier by that.
    pub(super) fn ended(&mut self, started: Time, answered: bool, now: Time) -> bool {
        let now = self.settle(now);
        let opens = if answered {
            let spacing = self.speed.spacing();
            self.recovery.answered(started, now, spacing)
        } else {
            self.recovery.unanswered(started)
        };
        self.update_closed();
        opens
    }

    pub(super) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Gives no more than what an answer says is left. Whether anybody may have permits sooner by
    /// that than by what was told before.
    pub(super) fn hear(&mut self, told: &Told, now: Time) -> bool {
        let now = self.settle(now);
        let Some(quota) = self.listener.hear(told, now) else {
            return false;
        };
        self.speed.follow_quota(quota)
    }

    /// The rate in force.
    pub(super) fn rate(&mut self, now: Time) -> Rate {
        self.settle(now);
        self.speed.rate()
    }

    /// What is counted here.
    pub(super) fn shared(&mut self, now: Time) -> Shared {
        let now = self.settle(now);
        let paused = self.paused_until.since(now);
        let why = if self.recovery.is_active() {
            Why::Refused
        } else {
            Why::Asked
        };
        let here = std::process::id();
        Shared {
            used: self.window.used(),
            pause: (!paused.is_zero()).then_some((paused, why, here)),
            ..Shared::default()
        }
    }

    pub(super) fn slow_down(&mut self, now: Time) -> bool {
        let now = self.settle(now);
        let cut = self.speed.cut(now);
        if cut {
            self.speed.hold(self.paused_until.since(now));
        }
        cut
    }

    pub(super) fn effective_limit(&mut self, now: Time) -> u64 {
        self.settle(now);
        self.speed.effective_limit()
    }

    /// Brings everything to `now`, and never back: a clock that was read before somebody else
    /// read theirs is behind.
    #[inline(always)]
    fn settle(&mut self, now: Time) -> Time {
        if now > self.latest {
            self.latest = now;
            if self.window.expire(now)
                && let Some(bound) = self.margin.bound()
            {
                self.note_margin(bound, now);
            }
            self.speed.advance(now);
        }
        self.latest
    }

    #[inline(always)]
    fn has_room(&self, weight: u64) -> bool {
        weight <= self.speed.largest_weight()
            && self.window.used() <= self.speed.capacity_for(weight) - weight
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::rate::RateError;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    /// An adaptive gate without a margin.
    fn gate(limit: u64, burst: Option<u64>) -> Result<Gate, RateError> {
        let second = Duration::from_secs(1);
        Rate::new(limit, second, burst, Some(Duration::ZERO))?
            .adaptive()
            .map(Gate::new)
    }

    #[test]
    fn a_cut_limit_holds_the_window_back_until_it_has_grown() -> Result<(), RateError> {
        let mut gate = gate(20, None)?;
        let start = at(10 * SECOND);
        gate.charge(20, start, Arrival::Direct, Taker::Anybody);
        assert!(gate.slow_down(start));
        assert_eq!(gate.effective_limit(start), 10);
        let left = at(11 * SECOND);
        // The limit grows by one in the instant that the twenty leave the window.
        assert_eq!(gate.due(11, left), None);
        gate.charge(11, left, Arrival::Direct, Taker::Anybody);
        assert_eq!(gate.effective_limit(left), 11);
        // It is twelve a second later, but one permit is in the window until half a second after.
        gate.charge(
            1,
            left + Duration::from_millis(500),
            Arrival::Direct,
            Taker::Anybody,
        );
        assert_eq!(gate.forecast(left).due(12), at(12 * SECOND + SECOND / 2));
        assert_eq!(gate.forecast(left).due(11), at(12 * SECOND));
        Ok(())
    }

    #[test]
    fn room_that_comes_of_growing_is_foreseen() -> Result<(), RateError> {
        let mut gate = gate(20, None)?;
        assert!(gate.slow_down(at(10 * SECOND)));
        let late = at(10 * SECOND + SECOND / 2);
        gate.charge(10, late, Arrival::Direct, Taker::Anybody);
        // The limit of ten is eleven half a second before the ten have left the window.
        assert_eq!(gate.due(1, late), Some(at(11 * SECOND)));
        assert_eq!(gate.due(2, late), Some(late + Duration::from_secs(1)));
        assert_eq!(gate.due(1, at(11 * SECOND)), None);
        Ok(())
    }

    #[test]
    fn short_calls_in_a_row_never_exceed_the_window() -> Result<(), RateError> {
        const LIMIT: usize = 50;
        const PER: u64 = 1_000_000;
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let per = Duration::from_nanos(PER);
            let mut gate = Gate::new(Rate::new(LIMIT as u64, per, None, None)?);
            let (mut now, mut last, mut starts) = (at(10 * SECOND), None, Vec::new());
            while starts.len() < 10 * LIMIT {
                let follows = last
                    .as_ref()
                    .is_some_and(|last| gate.try_follow(1, last, now));
                if !follows && let Some(last) = last.take() {
                    gate.end(&last, now);
                }
                if follows || gate.try_take(1, now, Taker::Call) {
                    starts.push(now);
                    let ended = now.plus_nanos(chance.u64(100..15_000));
                    last = Some(Ended {
                        started: now,
                        weight: 1,
                        ended,
                        first: false,
                        typical: true,
                    });
                    now = ended.plus_nanos(chance.u64(0..2_000));
                } else {
                    now = gate.due(1, now).unwrap_or(now);
                }
            }
            for pair in starts.windows(LIMIT + 1) {
                let between = pair[LIMIT].nanos_since(pair[0]);
                assert!(between >= PER, "{LIMIT} and one in {between} ns");
                // The bound of the margin may be taken up, and a run, and no more.
                assert!(between < PER + 15_000 + 20_000 + 17_000 * LIMIT as u64);
            }
        }
        Ok(())
    }

    #[test]
    fn a_cut_limit_is_paced_accordingly() -> Result<(), RateError> {
        let mut gate = gate(20, Some(1))?;
        let start = at(10 * SECOND);
        gate.charge(1, start, Arrival::Direct, Taker::Anybody);
        assert_eq!(gate.due(1, start), Some(start + Duration::from_millis(50)));
        assert!(gate.slow_down(start));
        assert_eq!(gate.due(1, start), Some(start + Duration::from_millis(100)));
        let grown = at(20 * SECOND);
        gate.charge(1, grown, Arrival::Direct, Taker::Anybody);
        assert_eq!(gate.due(1, grown), Some(grown + Duration::from_millis(50)));
        Ok(())
    }

    #[test]
    fn a_weight_beyond_a_cut_limit_has_the_window_for_itself() -> Result<(), RateError> {
        let mut gate = gate(20, None)?;
        assert!(gate.slow_down(at(10 * SECOND)));
        let late = at(10 * SECOND + SECOND / 2);
        gate.charge(1, late, Arrival::Direct, Taker::Anybody);
        assert_eq!(gate.due(20, late), Some(late + Duration::from_secs(1)));
        Ok(())
    }

    #[test]
    fn a_pause_keeps_what_had_grown_before() -> Result<(), RateError> {
        let (mut looked_at, mut unseen) = (gate(20, None)?, gate(20, None)?);
        for gate in [&mut looked_at, &mut unseen] {
            assert!(gate.slow_down(at(10 * SECOND)));
            gate.charge(1, at(10 * SECOND), Arrival::Direct, Taker::Anybody);
        }
        let refused = at(30 * SECOND);
        assert_eq!(looked_at.effective_limit(refused), 20);
        for gate in [&mut looked_at, &mut unseen] {
            gate.pause_until(at(31 * SECOND), refused);
            assert!(gate.slow_down(refused));
            assert_eq!(gate.effective_limit(at(32 * SECOND - 1)), 10);
            assert_eq!(gate.effective_limit(at(32 * SECOND)), 11);
        }
        Ok(())
    }

    #[test]
    fn pauses_hold_growth_up_for_as_long_as_they_last() -> Result<(), RateError> {
        let mut gate = gate(20, None)?;
        assert!(gate.slow_down(at(10 * SECOND)));
        // The second and third lie within the first, and one is over already.
        for (from, until) in [(10, 12), (10, 11), (11, 12), (12, 9)] {
            gate.pause_until(at(until * SECOND), at(from * SECOND));
        }
        assert_eq!(gate.effective_limit(at(13 * SECOND - 1)), 10);
        assert_eq!(gate.effective_limit(at(13 * SECOND)), 11);
        let tenth = SECOND / 10;
        for pause in 0..10 {
            let from = 13 * SECOND + pause * 5 * tenth;
            gate.pause_until(at(from + tenth), at(from));
        }
        // Five seconds, of which one was paused.
        assert_eq!(gate.effective_limit(at(18 * SECOND - 1)), 14);
        assert_eq!(gate.effective_limit(at(18 * SECOND)), 15);
        Ok(())
    }
}
