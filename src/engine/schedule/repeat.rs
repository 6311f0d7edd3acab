//! The usual case, made short: a worker that is left alone with short operations of one source has
//! ended one and starts the next.
//!
//! Nearly all that a claim looks at is then as it was at the claim before, as long as nobody has
//! taken the lock in between. So it is looked at once, and after that each operation is booked and
//! the next one taken, without more.

use super::Scheduler;
use super::asking::Asking;
use super::claim::Seat;
use super::locked::Locked;
use super::state::State;
use crate::engine::terms::Work;
use crate::engine::time::Time;

impl<W: Work> Scheduler<W> {
    /// Books what the operation that was claimed last has returned, and starts the next one of its
    /// source, if there is nothing else to see to. Otherwise it gives the value back, for
    /// [`claim`](Self::claim).
    ///
    /// The permit is stamped here, so call it immediately before the operation.
    #[inline(always)]
    pub fn repeat(&self, seat: &mut Seat, value: W::Value, now: Time) -> Result<W::Job, W::Value> {
        if !seat.may_repeat {
            return Err(value);
        }
        let mut state = Locked::new(&self.state);
        let state = &mut *state;
        if state.repeater != Some(seat.id) {
            return Err(value);
        }
        let Some(ongoing) = &mut seat.ongoing else {
            return Err(value);
        };
        let Some(Some((_, source))) = state.sources.get_mut(ongoing.source.slot) else {
            return Err(value);
        };
        if !source.can_repeat(&ongoing.running, now) {
            return Err(value);
        }
        let started = ongoing.running.started;
        if let Some(limiter) = &self.limiter {
            let ended = limiter.learns().then(|| ongoing.end(now, true)).flatten();
            if !limiter.try_start(1, ended.as_ref(), now) {
                return Err(value);
            }
        }
        ongoing.goes_on();
        state.watch.last_start = now;
        let next = source.repeat(&mut ongoing.running, value, now);
        if let Some(limiter) = self.limiter.as_ref().filter(|it| it.recovers()) {
            limiter.ended(started, true, now);
        }
        next
    }
}

impl<W: Work> State<W> {
    /// Notes whether the seat, which has just claimed, may [`repeat`](Scheduler::repeat) that.
    #[inline(always)]
    pub(super) fn note_repeater(&mut self, seat: &mut Seat) {
        seat.may_repeat = self.watched() && !self.recovery.is_active() && self.only_serves(seat);
        if seat.may_repeat {
            self.repeater = Some(seat.id);
        }
    }

    /// Whether there is no other source to start from than the one that the seat has started from,
    /// and nobody to be told when that has ended.
    fn only_serves(&self, seat: &Seat) -> bool {
        let Some(ongoing) = &seat.ongoing else {
            return false;
        };
        let mut sources = self.sources.iter().enumerate();
        seat.only.is_none()
            && self.asking == Asking::Never
            && sources.all(|(slot, entry)| match entry {
                Some((_, source)) if slot == ongoing.source.slot => source.is_repeatable(),
                Some((_, other)) => other.quiet(),
                None => true,
            })
    }
}
