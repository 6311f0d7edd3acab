//! The decision of a limit that other processes share.
//!
//! What is counted is the backend's. What is learnt of answers, how long calls take and what a server
//! has told, is this process's own, and so is who goes first after a refusal.

use std::collections::VecDeque;
use std::time::Duration;

use super::backend::{Backend, Due, OpenError, Permit, Request, Shared, Why};
use super::forecast::Forecast;
use super::gate::Taker;
use super::margin::{Ended, Margin};
use super::pacing::Arrival;
use super::quota::{Listener, Told};
use super::rate::Rate;
use super::speed::Speed;
use super::window::Window;
use crate::engine::recovery::{Recovery, Refusal};
use crate::engine::retry::Pause;
use crate::engine::time::Time;

/// A call that has its permit and has not ended, as far as is known.
#[derive(Debug)]
struct Running {
    asked: Time,
    weight: u64,
    permit: Permit,
}

/// One rate that others take of too.
#[derive(Debug)]
pub(super) struct SharedGate {
    backend: Box<dyn Backend>,
    speed: Speed,
    margin: Margin,
    /// Of the rate, in nanoseconds.
    per: u64,
    /// Nanoseconds that a permit is kept of which only the start is known,
    span: u64,
    /// and that of a call that runs.
    longest: u64,
    listener: Listener,
    recovery: Recovery,
    /// Calls whose ends are to come, in the order of their starts.
    running: VecDeque<Running>,
    /// What the backend counts, as of the last forecast.
    counted: Window,
    /// The latest time it was asked at.
    latest: Time,
}

impl SharedGate {
    pub(super) fn new(rate: Rate, backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            speed: Speed::new(rate),
            margin: Margin::new(&rate),
            per: nanos(rate.per()),
            span: nanos(rate.span()),
            longest: nanos(rate.longest()),
            listener: Listener::default(),
            recovery: Recovery::default(),
            running: VecDeque::new(),
            counted: Window::new(0),
            latest: Time::default(),
        }
    }

    /// When `weight` permits may be given, if nobody else takes any; `None` is now.
    /// Nothing is needed before `not_before`.
    pub(super) fn due(&mut self, weight: u64, not_before: Time, now: Time) -> Option<Time> {
        let now = self.settle(now);
        if weight > self.speed.largest_weight() {
            return Some(Time::NEVER);
        }
        let here = self.opens_here(weight, now);
        let request = Request {
            not_before: here.max(not_before),
            ..self.request(weight, now, Arrival::Direct, Taker::Anybody)
        };
        let due = match self.backend.due(&request) {
            Due::Now => here,
            Due::At(due) => due.max(here),
        };
        (due > now).then_some(due)
    }

    /// Gives `weight` permits at `now`, unless another process was first.
    pub(super) fn try_charge(
        &mut self,
        weight: u64,
        now: Time,
        arrival: Arrival,
        taker: Taker,
    ) -> Option<Permit> {
        let settled = self.settle(now);
        if weight > self.speed.largest_weight() || self.opens_here(weight, settled) > settled {
            return None;
        }
        let request = self.request(weight, settled, arrival, taker);
        self.backend.take(&request)
    }

    /// Takes note of a start with permits that were given.
    pub(super) fn start(&mut self, permit: Permit, (weight, now): (u64, Time), taker: Taker) {
        let settled = self.latest;
        if self.is_learnt(taker) {
            self.running.push_back(Running {
                asked: now,
                weight,
                permit,
            });
        } else {
            self.note_margin(self.margin.of_start(), settled);
        }
        self.speed.charge_quota(weight);
        if self.recovery.is_active() {
            let spacing = self.speed.spacing();
            self.recovery.start(now, settled, weight, spacing);
        }
    }

    /// Takes back permits that nothing is started with.
    pub(super) fn give_back(&mut self, permit: Permit) {
        self.backend.give_back(permit);
    }

    /// Gives `weight` permits at `now` if they are due.
    pub(super) fn try_take(&mut self, weight: u64, now: Time, taker: Taker) -> bool {
        let permit = self.try_charge(weight, now, Arrival::Direct, taker);
        permit
            .map(|permit| self.start(permit, (weight, now), taker))
            .is_some()
    }

    /// Takes note of how long a call took. Returns when its permits leave now and when they would
    /// have left without that, if they are still in the window.
    pub(super) fn end(&mut self, call: &Ended, now: Time) -> Option<(Time, Time)> {
        let now = self.settle(now);
        let spread = self.margin.spread(call.started, call);
        let is_it = |it: &Running| it.asked == call.started && it.weight == call.weight;
        let place = self.running.iter().position(is_it)?;
        let running = self.running.remove(place)?;
        self.note_margin(spread.min(self.margin.bound().unwrap_or(spread)), now);
        let leaves = call.started.plus_nanos(self.per + spread);
        self.backend.settle(running.permit, leaves, now);
        Some((leaves, call.started.plus_nanos(self.longest)))
    }

    /// The largest margin of the permits given lately.
    pub(super) fn margin(&self) -> Duration {
        Duration::from_nanos(self.margin.in_effect())
    }

    /// What comes next if everybody takes permits as early as they may.
    pub(super) fn forecast(&mut self, now: Time) -> Forecast<'_> {
        let now = self.settle(now);
        let speed = self.count(now, 0);
        let opens = self.backend.paused_until(now).max(self.held_until());
        Forecast::new(
            now.max(opens),
            speed,
            self.counted.at_the_latest(),
            (self.counted.used(), self.span),
        )
    }

    /// The same if every call that runs ends at once, and so does every one that follows.
    pub(super) fn earliest_forecast(&mut self, now: Time) -> Forecast<'_> {
        let now = self.settle(now);
        let learns = self.margin.bound().is_some();
        let span = if learns { self.per } else { self.span };
        // Of others nobody knows here which of their permits are of calls that run.
        let speed = self.count(now, self.longest - span);
        let paused = self.backend.paused_until(now);
        let opens = paused.max(self.recovery.surely_held_until());
        Forecast::new(
            now.max(opens),
            speed,
            self.counted.at_the_latest(),
            (self.counted.used(), span),
        )
    }

    /// Looks at what the backend counts, with permits that leave so much sooner. Returns the speed.
    fn count(&mut self, now: Time, sooner: u64) -> Speed {
        let (pacing, adaptive) = (self.speed.pacing(), self.speed.adaptive());
        let mut counted = self.backend.counted(pacing, adaptive, now);
        for stamp in &mut counted.first {
            stamp.leaves = (stamp.leaves - Duration::from_nanos(sooner)).max(now);
        }
        self.counted = Window::of(counted.used, counted.first);
        self.speed.with(counted.pacing, counted.adaptive)
    }

    /// Goes on at another rate, for everybody.
    pub(super) fn change(&mut self, rate: Rate, now: Time) -> Result<(), OpenError> {
        let now = self.settle(now);
        self.backend.change(rate, now)?;
        self.follow(&rate, now);
        Ok(())
    }

    fn follow(&mut self, rate: &Rate, now: Time) {
        self.per = nanos(rate.per());
        self.span = nanos(rate.span());
        self.longest = nanos(rate.longest());
        self.margin.follow(rate);
        self.speed.change(*rate, now);
        self.speed.follow_margin(self.margin.in_effect(), now);
    }

    pub(super) fn pause_until(&mut self, until: Time, why: Why, now: Time) {
        let now = self.settle(now);
        self.backend
            .pause_until(until, why, self.speed.adaptive(), now);
    }

    /// A call that was given its permits was refused.
    pub(super) fn refused(&mut self, refusal: &Refusal<'_>, now: Time) -> Pause {
        let now = self.settle(now);
        self.recovery.refused(refusal, now)
    }

    /// Nothing starts before `until`, as the server asks.
    pub(super) fn pause_for_server(&mut self, until: Time, now: Time) {
        self.recovery.extend(until);
        self.pause_until(until, Why::Refused, now);
    }

    /// A call that started then was answered without a refusal, or has ended without an answer.
    /// Whether others may start earlier by that.
    pub(super) fn ended(&mut self, started: Time, answered: bool, now: Time) -> bool {
        let now = self.settle(now);
        if answered {
            let spacing = self.speed.spacing();
            self.recovery.answered(started, now, spacing)
        } else {
            self.recovery.unanswered(started)
        }
    }

    pub(super) const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Gives no more than what an answer says is left.
    pub(super) fn hear(&mut self, told: &Told, now: Time) -> bool {
        let now = self.settle(now);
        let quota = self.listener.hear(told, now);
        quota.is_some_and(|quota| self.speed.follow_quota(quota))
    }

    pub(super) fn slow_down(&mut self, now: Time) -> bool {
        let now = self.settle(now);
        let Some(adaptive) = self.speed.adaptive() else {
            return false;
        };
        let cut = self.backend.cut(adaptive, now);
        if cut {
            let paused = self.backend.paused_until(now).since(now);
            self.backend.hold(adaptive, paused, now);
        }
        cut
    }

    pub(super) fn effective_limit(&mut self, now: Time) -> u64 {
        let now = self.settle(now);
        let (pacing, adaptive) = (self.speed.pacing(), self.speed.adaptive());
        let counted = self.backend.counted(pacing, adaptive, now);
        self.speed
            .with(counted.pacing, counted.adaptive)
            .effective_limit()
    }

    /// The rate in force.
    pub(super) fn rate(&mut self, now: Time) -> Rate {
        self.settle(now);
        self.speed.rate()
    }

    /// Tells the others for how many permits the first of those waits who wait for this rate.
    pub(super) fn tell_waiting(&mut self, weight: Option<u64>, waiting: usize, now: Option<Time>) {
        let now = now.unwrap_or(self.latest);
        // One that may not start yet for reasons of this process lets others go first.
        let weight = weight.filter(|weight| self.opens_here(*weight, now) <= now);
        self.backend.wait(weight, waiting, now);
    }

    pub(super) fn shared(&mut self, now: Time) -> Shared {
        let now = self.settle(now);
        self.backend.holders(now)
    }

    /// When this process may start something, whatever others do.
    fn opens_here(&self, weight: u64, now: Time) -> Time {
        self.held_until().max(self.speed.due_by_quota(weight, now))
    }

    fn held_until(&self) -> Time {
        self.recovery.held_until()
    }

    fn is_learnt(&self, taker: Taker) -> bool {
        taker == Taker::Call && self.margin.bound().is_some()
    }

    fn request(&self, weight: u64, now: Time, arrival: Arrival, taker: Taker) -> Request {
        Request {
            weight,
            now,
            not_before: now,
            stays: if self.is_learnt(taker) {
                self.longest
            } else {
                self.span
            },
            arrival,
            pacing: self.speed.pacing(),
            adaptive: self.speed.adaptive(),
        }
    }

    fn note_margin(&mut self, margin: u64, now: Time) {
        if self.margin.note(margin, now) {
            self.speed.follow_margin(self.margin.in_effect(), now);
        }
    }

    /// Brings everything to `now`, and never back.
    fn settle(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        let now = self.latest;
        if let Some(rate) = self.backend.refresh(now) {
            self.follow(&rate, now);
        }
        // Calls that have not ended when their permits have left.
        while let Some(first) = self.running.front()
            && now.nanos_since(first.asked) >= self.longest
        {
            self.running.pop_front();
            if let Some(bound) = self.margin.bound() {
                self.note_margin(bound, now);
            }
        }
        now
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
