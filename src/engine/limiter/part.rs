//! One rate as its limiters share it: what is locked, and what can be read without the lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use arc_swap::ArcSwap;

use super::admission::Admission;
use super::backend::{News, SharedBy};
use super::gate::Taker;
use super::margin::Ended;
use super::pacing::Arrival;
use super::queue::Queue;
use super::rate::Rate;
use super::ticket::wake;
use crate::engine::lock::lock;
use crate::engine::process::PerProcess;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// Numbers rates in the order of their locks, and waiters in the order of their coming.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

pub(super) fn next_number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// One rate, shared by every limiter that it is a part of.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) number: u64,
    /// What a forked child begins with.
    rate: ArcSwap<Rate>,
    /// The largest weight that is ever granted, to be read without the lock.
    pub(super) largest_weight: AtomicU64,
    /// It matters what calls come to: one is the probe, or its answer ends an episode of refusals.
    pub(super) recovers: AtomicBool,
    /// Where it is counted, if other processes take of it too.
    pub(super) shared_by: Option<SharedBy>,
    /// For those who have news.
    this: Weak<Self>,
    pub(super) state: PerProcess<Mutex<PartState>>,
}

#[derive(Debug)]
pub(super) struct PartState {
    pub(super) gate: Admission,
    pub(super) queue: Queue,
}

impl Part {
    /// A rate of which nothing was taken; where it is shared, by this process.
    pub(super) fn new(rate: Rate, shared_by: Option<SharedBy>) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            number: next_number(),
            rate: ArcSwap::from_pointee(rate),
            largest_weight: AtomicU64::new(rate.largest_weight()),
            recovers: AtomicBool::new(false),
            state: PerProcess::new(PartState::new(rate, shared_by.as_ref(), this.clone())),
            shared_by,
            this: this.clone(),
        })
    }

    /// Where it is counted, if other processes take of it too.
    pub(super) fn place(&self) -> Option<String> {
        self.shared_by.as_ref().map(|shared_by| shared_by.place())
    }

    /// Calls `act` with the state, locked.
    #[inline(always)]
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut PartState) -> R) -> R {
        let make = || self.fresh_state();
        self.state.with(make, |state| act(&mut lock(state)))
    }

    /// The rate in force, which is noted.
    pub(super) fn rate(&self, now: Time) -> Rate {
        let rate = self.with(|state| state.gate.rate(now));
        self.note_rate(rate);
        rate
    }

    pub(super) fn note_rate(&self, rate: Rate) {
        if **self.rate.load() != rate {
            self.rate.store(Arc::new(rate));
            self.largest_weight
                .store(rate.largest_weight(), Ordering::Relaxed);
        }
    }

    pub(super) fn fresh_state(&self) -> Mutex<PartState> {
        PartState::new(
            **self.rate.load(),
            self.shared_by.as_ref(),
            self.this.clone(),
        )
    }

    /// Those who may have their turn by news look again.
    pub(super) fn hear_news(&self) {
        if let Some(state) = self.state.current() {
            let told = lock(&state).queue.by_news();
            wake(&told);
        }
    }
}

impl PartState {
    pub(super) fn new(rate: Rate, shared_by: Option<&SharedBy>, part: Weak<Part>) -> Mutex<Self> {
        let news: News = Arc::new(move || {
            if let Some(part) = part.upgrade() {
                part.hear_news();
            }
        });
        Mutex::new(Self {
            gate: Admission::new(rate, shared_by.map(|shared_by| (shared_by, news))),
            queue: Queue::default(),
        })
    }

    /// Whether those who came before `number` let it have `weight` permits at that time.
    pub(super) fn lets_in(
        &mut self,
        number: u64,
        weight: u64,
        start: (Time, Arrival),
        now: Time,
    ) -> bool {
        self.queue.reserved_before(number).is_some_and(|reserved| {
            reserved.is_empty()
                || self
                    .gate
                    .forecast(now)
                    .lets_in(&reserved, weight, start, now)
        })
    }

    /// Whether `weight` permits are due after `deadline` even if those alone go before `number` who are
    /// sure to, each at the earliest.
    pub(super) fn comes_after(
        &mut self,
        number: u64,
        weight: u64,
        deadline: Time,
        now: Time,
    ) -> bool {
        let forecast = self.gate.earliest_forecast(now);
        self.queue.comes_after(forecast, (number, weight), deadline)
    }

    /// Takes note of the end of a call. Returns the signal of whoever may have its turn by it.
    #[inline(always)]
    pub(super) fn end(&mut self, call: &Ended, now: Time) -> Option<Arc<Signal>> {
        let (leaves, latest) = self.gate.end(call, now)?;
        self.queue.sooner(leaves, latest)
    }

    /// When `weight` permits are due behind all who wait.
    pub(super) fn due_behind(&mut self, weight: u64, now: Time) -> Time {
        let forecast = self.gate.forecast(now);
        self.queue.due_behind(forecast, weight, now)
    }
}

/// The signals of all who wait.
pub(super) fn all_who_wait(states: &[MutexGuard<'_, PartState>]) -> Vec<Arc<Signal>> {
    let waiting = states.iter().flat_map(|state| state.queue.signals());
    waiting.cloned().collect()
}

/// Whether one who comes now may have `weight` permits at once.
pub(super) fn are_free(states: &mut [MutexGuard<'_, PartState>], weight: u64, now: Time) -> bool {
    let start = (now, Arrival::Direct);
    states.iter_mut().all(|state| {
        state.gate.due(weight, now, now).is_none() && state.lets_in(Queue::LAST, weight, start, now)
    })
}

/// Takes `weight` permits of every rate, or none: another process may be first at a shared one.
pub(super) fn charge(
    states: &mut [MutexGuard<'_, PartState>],
    weight: u64,
    now: Time,
    arrival: Arrival,
    taker: Taker,
) -> bool {
    let mut reserved = Vec::with_capacity(states.len());
    for place in 0..states.len() {
        if let Some(permit) = states[place].gate.reserve(weight, now, arrival, taker) {
            reserved.push(permit);
        } else {
            for (state, permit) in states.iter_mut().zip(reserved) {
                state.gate.give_back(permit);
            }
            return false;
        }
    }
    for (state, permit) in states.iter_mut().zip(reserved) {
        state.gate.charge(permit, (weight, now), arrival, taker);
    }
    true
}
