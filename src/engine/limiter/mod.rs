//! Permits to start, never more than the rate allows in any window, first come first served.
//!
//! Waiters stand in one queue per rate, and nobody overtakes one who waits for that rate. A permit
//! is charged at the instant of the start and not before, so the first waits until it is due and
//! takes it with [`Ticket::try_start`] immediately before what it starts.
//!
//! A limiter of several rates stands in all their queues at once and charges all of them or none.
//! It waits for the rate that is due last, and at the others it lets those behind it go first who do
//! not make it late, as the first job in the queue of a cluster does (EASY backfilling: D. A. Lifka,
//! "The ANL/IBM SP scheduling system", Job Scheduling Strategies for Parallel Processing, 1995).
//!
//! A permit that nobody tells the end of stays in the window for a time known at once. One that a call
//! has taken stays longest while the call runs, and [`Limiter::end`] can only shorten that; where the
//! first of those who wait waits for nothing else, it is woken.
//!
//! Everything here only computes; waiting is the caller's, on its [`Signal`]. Locks are held for
//! a computation, never while waiting, and those of several rates in the order of their numbers.
//!
//! Long, as a limiter is one type whose every method locks all of its parts, which are in `part.rs`.

mod adaptive;
mod admission;
mod backend;
mod forecast;
mod gate;
mod margin;
mod pacing;
mod part;
mod queue;
mod quota;
mod rate;
mod shared_gate;
mod speed;
mod ticket;
mod window;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

pub(in crate::engine) use self::adaptive::Adaptive;
use self::backend::SharedBy;
pub(in crate::engine) use self::backend::{
    Backend, Counted, Due, Fetch, News, Permit, Request, Sharing, Slot, Slots,
};
pub use self::backend::{Event, Holder, LOOK_AGAIN, OpenError, Shared, Trouble, Why};
use self::gate::Taker;
pub use self::margin::Ended;
pub(in crate::engine) use self::pacing::{Arrival, Pacing};
use self::part::{Part, PartState, all_who_wait, are_free, charge, next_number};
use self::queue::Queue;
pub use self::quota::Told;
pub use self::rate::{Rate, RateError};
use self::ticket::wake;
pub use self::ticket::{Ticket, Turn};
pub(in crate::engine) use self::window::Stamp;
use super::lock::lock;
use super::recovery::Refusal;
use super::retry::{GiveUp, Hopeless, Pause};
use super::signal::Signal;
use super::time::{Time, TimeSource};

/// Gives permits at a rate, or at several rates at once. Clones are the same limiter.
#[derive(Debug, Clone)]
pub struct Limiter {
    /// In the order of their numbers, each once.
    parts: Arc<[Arc<Part>]>,
    /// It is to be told how long calls take.
    learns: bool,
}

impl Limiter {
    /// A limiter of one rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::counted_by(rate, None)
    }

    /// A limiter of one rate that other processes take of too.
    #[must_use]
    pub(in crate::engine) fn shared(rate: Rate, sharing: impl Sharing + 'static) -> Self {
        Self::counted_by(rate, Some(Arc::new(sharing)))
    }

    fn counted_by(rate: Rate, shared_by: Option<SharedBy>) -> Self {
        let part = Part::new(rate, shared_by);
        Self {
            parts: Arc::new([part]),
            learns: rate.bound().is_some(),
        }
    }

    /// A limiter that permits what all of `limiters` permit, and charges all of them or none. What is
    /// shared at one place is one rate, and charged once.
    #[must_use]
    pub fn all_of<'a>(limiters: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut learns = false;
        let mut parts: Vec<_> = limiters
            .into_iter()
            .inspect(|limiter| learns |= limiter.learns)
            .flat_map(|limiter| limiter.parts.iter().cloned())
            .collect();
        parts.sort_by_key(|part| part.number);
        parts.dedup_by_key(|part| part.number);
        let mut places = HashSet::new();
        parts.retain(|part| part.place().is_none_or(|place| places.insert(place)));
        Self {
            parts: parts.into(),
            learns,
        }
    }

    /// Whether both are one rate, shared at one place.
    #[must_use]
    pub fn shares_with(&self, other: &Self) -> bool {
        match (&*self.parts, &*other.parts) {
            ([this], [other]) => this
                .place()
                .is_some_and(|place| other.place() == Some(place)),
            _ => false,
        }
    }

    /// The largest weight that can ever be granted.
    #[must_use]
    pub fn largest_weight(&self) -> u64 {
        let largest = |part: &Arc<Part>| part.largest_weight.load(Ordering::Relaxed);
        self.parts.iter().map(largest).min().unwrap_or(u64::MAX)
    }

    /// The rate in force, of a limiter of one; of the first otherwise. Another process may have changed
    /// it.
    pub fn rate(&self, clock: impl TimeSource) -> Rate {
        self.parts[0].rate(clock.now())
    }

    /// Whether anybody stands in line.
    #[must_use]
    pub fn anybody_waits(&self) -> bool {
        self.locked(|states| states.iter().any(|state| !state.queue.is_empty()))
    }

    /// Learns what other processes have changed.
    pub fn learn_rates(&self, clock: impl TimeSource) {
        for part in &*self.parts {
            part.rate(clock.now());
        }
    }

    /// Whether who waits is to look again every [`LOOK_AGAIN`], as other processes take permits too and
    /// nobody tells of it.
    #[must_use]
    pub fn has_to_be_watched(&self) -> bool {
        self.sharing().any(|sharing| sharing.has_to_be_watched())
    }

    fn sharing(&self) -> impl Iterator<Item = &SharedBy> {
        self.parts.iter().filter_map(|part| part.shared_by.as_ref())
    }

    /// Waits for what [`try_acquire`](Self::try_acquire) needs, where that is not known here.
    pub fn fetch_permits(&self, weight: u64) {
        self.fetch(Fetch::Permits(weight));
    }

    /// The same for [`wait_time`](Self::wait_time).
    pub fn fetch_due(&self, weight: u64) {
        self.fetch(Fetch::Due(weight));
    }

    /// The same for [`who_shares`](Self::who_shares).
    pub fn fetch_holders(&self) {
        self.fetch(Fetch::Holders);
    }

    fn fetch(&self, what: Fetch) {
        for part in &*self.parts {
            if let Some(sharing) = &part.shared_by {
                // A forked child has a connection of its own from here on.
                part.with(|_| ());
                sharing.fetch(what);
            }
        }
    }

    /// Why nothing is granted at all, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.sharing().find_map(|sharing| sharing.trouble())
    }

    /// What is to be logged of those who count.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        self.sharing().flat_map(|it| it.take_events()).collect()
    }

    /// Whether other processes take permits too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.parts.iter().any(|part| part.shared_by.is_some())
    }

    /// Who has it, and what is counted; of a limiter of one rate, of the first otherwise.
    pub fn who_shares(&self, clock: impl TimeSource) -> Shared {
        self.parts[0].with(|state| state.gate.shared(clock.now()))
    }

    /// Takes `weight` permits if they may be taken now; never blocks.
    ///
    /// Refuses where that would make anybody late who waits.
    #[inline(always)]
    pub fn try_acquire(&self, weight: u64, clock: impl TimeSource) -> bool {
        self.try_take(weight, Taker::Anybody, None, clock)
    }

    /// The same for a call, whose end this limiter will be told. `last` is the end of the call that
    /// was made before, to be taken note of first.
    #[inline(always)]
    pub fn try_start(&self, weight: u64, last: Option<&Ended>, clock: impl TimeSource) -> bool {
        self.try_take(weight, Taker::Call, last, clock)
    }

    #[inline(always)]
    fn try_take(
        &self,
        weight: u64,
        taker: Taker,
        last: Option<&Ended>,
        clock: impl TimeSource,
    ) -> bool {
        if let [part] = &*self.parts {
            let alone = part.with(|state| {
                state
                    .queue
                    .is_empty()
                    .then(|| state.gate.try_take(weight, taker, last, clock.now()))
            });
            if let Some(taken) = alone {
                return taken;
            }
        }
        if let Some(last) = last {
            self.end(last, clock.now());
        }
        self.locked(|states| {
            let now = clock.now();
            are_free(states, weight, now) && charge(states, weight, now, Arrival::Direct, taker)
        })
    }

    /// Whether it is to be told when calls [end](Self::end).
    #[must_use]
    pub const fn learns(&self) -> bool {
        self.learns
    }

    /// Takes note that a call has ended which took its permit by [`try_start`](Self::try_start) or
    /// with a ticket of [`enqueue_call`](Self::enqueue_call). Once is enough, and forgetting it means
    /// only that the permit counts for longest.
    pub fn end(&self, call: &Ended, clock: impl TimeSource) {
        let told: Vec<_> = self.locked(|states| {
            let now = clock.now();
            let told = states.iter_mut().map(|state| state.end(call, now));
            told.flatten().collect()
        });
        wake(&told);
    }

    /// Whether [`try_acquire`](Self::try_acquire) would take `weight` permits now; takes nothing.
    pub fn is_free(&self, weight: u64, clock: impl TimeSource) -> bool {
        self.locked(|states| are_free(states, weight, clock.now()))
    }

    /// A place at the end of the queue. The turn may have come at once; `signal` is given when it
    /// may have come later.
    pub fn enqueue(&self, weight: u64, signal: Arc<Signal>) -> Ticket {
        self.queue_up(weight, Taker::Anybody, signal)
    }

    /// The same for a call, whose end this limiter will be told.
    pub fn enqueue_call(&self, weight: u64, signal: Arc<Signal>) -> Ticket {
        self.queue_up(weight, Taker::Call, signal)
    }

    fn queue_up(&self, weight: u64, taker: Taker, signal: Arc<Signal>) -> Ticket {
        let combined = self.parts.len() > 1;
        let number = self.locked(|states| {
            // Numbered under the locks, so that numbers ascend in every queue and two limiters
            // that share rates stand in the same order in all of them.
            let number = next_number();
            for state in states {
                state
                    .queue
                    .push(number, weight, combined, Arc::clone(&signal));
            }
            number
        });
        Ticket::new(self.clone(), number, weight, taker)
    }

    /// How long until `weight` permits would be granted, if everybody who waits takes theirs first
    /// and as early as they may, and no call that runs ends soon.
    pub fn wait_time(&self, weight: u64, clock: impl TimeSource) -> Duration {
        self.locked(|states| {
            let now = clock.now();
            let granted = states.iter_mut().map(|state| state.due_behind(weight, now));
            granted.max().unwrap_or(now).since(now)
        })
    }

    /// Whether it is certain that `weight` permits are not granted within `timeout`. Of those who
    /// wait for other rates too nobody knows yet whom they will let go first.
    pub fn takes_longer(&self, weight: u64, timeout: Duration, clock: impl TimeSource) -> bool {
        self.locked(|states| {
            let now = clock.now();
            let deadline = now + timeout;
            states
                .iter_mut()
                .any(|state| state.comes_after(Queue::LAST, weight, deadline, now))
        })
    }

    /// The margin in effect: the largest of the permits given lately. The largest of the rates' for a
    /// combination.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.locked(|states| states.iter().map(|state| state.gate.margin()).max())
            .unwrap_or_default()
    }

    /// Goes on at another rate, which was [changed](Rate::changed) from its own, for those who wait
    /// too: all of them look again. What was permitted still counts, and for so much longer as the
    /// window is longer.
    ///
    /// # Errors
    ///
    /// If it is shared, and what it is counted by cannot be changed.
    pub fn change(&self, rate: Rate, clock: impl TimeSource) -> Result<(), OpenError> {
        for part in &*self.parts {
            let told: Vec<_> = part.with(|state| {
                state.gate.change(rate, clock.now())?;
                part.note_rate(rate);
                Ok(state.queue.signals().cloned().collect())
            })?;
            wake(&told);
        }
        Ok(())
    }

    /// Gives no permit to anybody until then. A pause is only ever lengthened.
    ///
    /// Pauses every rate of a combination, so everybody who shares one of them. Whoever waits for
    /// other rates too looks again: what it keeps there it may not need by then.
    pub fn pause_until(&self, until: Time, clock: impl TimeSource) {
        let told: Vec<_> = self.locked(|states| {
            let now = clock.now();
            for state in &mut *states {
                state.gate.pause_until(until, now);
            }
            let combined = states.iter().flat_map(|state| state.queue.combined());
            combined.cloned().collect()
        });
        wake(&told);
    }

    /// Takes note of what an answer says is left of the server's limit: no more permits are given
    /// until that is reset. Whoever may have theirs sooner by the news looks again.
    pub fn hear(&self, told: &Told, clock: impl TimeSource) {
        let woken: Vec<_> = self.locked(|states| {
            let now = clock.now();
            let sooner = states
                .iter_mut()
                .filter_map(|state| state.gate.hear(told, now).then_some(state));
            sooner
                .flat_map(|state| state.queue.signals().cloned())
                .collect()
        });
        wake(&woken);
    }

    /// A call was refused: everybody pauses, and one call goes first after that. All who wait look
    /// again, as the pause may be longer than they want to wait.
    pub fn refused(&self, refusal: &Refusal<'_>, clock: impl TimeSource) -> Pause {
        let (pause, told) = self.locked(|states| {
            let now = clock.now();
            let mut all = Pause::default();
            for state in &mut *states {
                all = all.and(state.gate.refused(refusal, now));
            }
            for state in &mut *states {
                state.gate.pause_for_server(all.until, now);
            }
            for part in &*self.parts {
                part.recovers.store(true, Ordering::Relaxed);
            }
            (all, all_who_wait(states))
        });
        wake(&told);
        if pause.new_episode {
            self.slow_down(clock);
        }
        pause
    }

    /// Whether somebody is to tell when the calls end that have been permitted.
    #[inline(always)]
    #[must_use]
    pub fn recovers(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|part| part.recovers.load(Ordering::Relaxed))
    }

    /// The call that started then was answered without a refusal, or has ended without an answer
    /// that anybody could judge.
    pub fn ended(&self, started: Time, answered: bool, clock: impl TimeSource) {
        let told = self.locked(|states| {
            let now = clock.now();
            let mut opens = false;
            for (state, part) in states.iter_mut().zip(&*self.parts) {
                opens |= state.gate.ended(started, answered, now);
                let active = state.gate.recovery().is_active();
                part.recovers.store(active, Ordering::Relaxed);
            }
            if opens {
                all_who_wait(states)
            } else {
                Vec::new()
            }
        });
        wake(&told);
    }

    /// Why one who has waited since then is to give up the server, if so.
    #[must_use]
    pub fn hopeless(&self, give_up: &GiveUp, since: Time, now: Time) -> Option<Hopeless> {
        if !self.recovers() {
            return None;
        }
        self.locked(|states| {
            let mut recoveries = states.iter().map(|state| state.gate.recovery());
            recoveries.find_map(|recovery| recovery.hopeless(give_up, since, now))
        })
    }

    /// Tells the adaptive rates that the server refused. Refusals of one episode cut once.
    pub fn slow_down(&self, clock: impl TimeSource) {
        self.locked(|states| {
            let now = clock.now();
            for state in states {
                state.gate.slow_down(now);
            }
        });
    }

    /// The permits per window now: the limit, or less after an adaptive rate was cut. The least
    /// of them for a combination.
    pub fn effective_limit(&self, clock: impl TimeSource) -> u64 {
        self.locked(|states| {
            let now = clock.now();
            states
                .iter_mut()
                .map(|state| state.gate.effective_limit(now))
                .min()
        })
        .unwrap_or(u64::MAX)
    }

    /// Calls `act` with the state of every part, all locked in the order of their numbers.
    fn locked<R>(&self, act: impl FnOnce(&mut [MutexGuard<'_, PartState>]) -> R) -> R {
        let states: Vec<_> = self
            .parts
            .iter()
            .map(|part| part.state.get(|| part.fresh_state()))
            .collect();
        let mut guards: Vec<_> = states.iter().map(|state| lock(state)).collect();
        act(&mut guards)
    }
}
