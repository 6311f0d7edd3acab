//! What has been read of a batch's input and not started, and how far ahead its owner may read.

use std::collections::VecDeque;

use super::totals::PROBATION;
use crate::engine::model::{Ahead, BatchOptions};
use crate::engine::time::Time;

/// Operations that take fewer nanoseconds are handed over many at a time.
const READ_AHEAD_BELOW: u64 = 100_000;

/// No worker is woken to be the monitor while fewer operations are read.
const WORTH_A_MONITOR: usize = 128;

/// Operations that wait for their first attempt, in input order.
#[derive(Debug)]
pub(super) struct Input<J> {
    /// Index of the first of `queue`.
    head: usize,
    /// An entry is empty where an operation was withdrawn.
    queue: VecDeque<Option<J>>,
    /// How many entries are not empty.
    waiting: usize,
    /// Nothing more will be read.
    complete: bool,
}

impl<J> Input<J> {
    pub(super) const fn new() -> Self {
        Self {
            head: 0,
            queue: VecDeque::new(),
            waiting: 0,
            complete: false,
        }
    }

    /// How many operations have been read.
    pub(super) fn read(&self) -> usize {
        self.head + self.queue.len()
    }

    /// How many wait.
    #[inline(always)]
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    #[inline(always)]
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Adds operations; with `complete`, the last ones.
    pub(super) fn feed(&mut self, jobs: impl ExactSizeIterator<Item = J>, complete: bool) {
        if complete {
            self.queue.reserve_exact(jobs.len());
        }
        self.waiting += jobs.len();
        self.queue.extend(jobs.map(Some));
        self.complete = complete;
    }

    pub(super) const fn finish(&mut self) {
        self.complete = true;
    }

    /// Takes the first, with its index.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<(usize, J)> {
        loop {
            let entry = self.queue.pop_front()?;
            let index = self.head;
            self.head += 1;
            if let Some(job) = entry {
                self.waiting -= 1;
                return Some((index, job));
            }
        }
    }

    /// Whether the operation at `index` waits.
    pub(super) fn holds(&self, index: usize) -> bool {
        let place = index.checked_sub(self.head);
        place.is_some_and(|place| matches!(self.queue.get(place), Some(Some(_))))
    }

    /// Takes the operation at `index`; None if it has started or gone.
    pub(super) fn withdraw(&mut self, index: usize) -> Option<J> {
        let job = self.queue.get_mut(index.checked_sub(self.head)?)?.take()?;
        self.waiting -= 1;
        while matches!(self.queue.front(), Some(None)) {
            self.queue.pop_front();
            self.head += 1;
        }
        Some(job)
    }

    /// Takes all that wait, with their indexes.
    pub(super) fn withdraw_all(&mut self) -> impl Iterator<Item = (usize, J)> + use<J> {
        let first = self.head;
        self.waiting = 0;
        self.head += self.queue.len();
        (first..)
            .zip(std::mem::take(&mut self.queue))
            .filter_map(|(index, job)| Some((index, job?)))
    }

    /// Those that wait.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &J> {
        self.queue.iter().flatten()
    }

    /// The indexes of those that wait.
    pub(super) fn indexes(&self) -> impl Iterator<Item = usize> {
        let queued = (self.head..).zip(&self.queue);
        queued.filter_map(|(index, job)| job.as_ref().map(|_| index))
    }
}

/// How far ahead the owner of a batch may read.
#[derive(Debug)]
pub(in crate::engine) struct ReadAhead {
    bounds: Ahead,
    /// The bound that holds now.
    bound: usize,
    /// Those read last cost little while they wait.
    light: bool,
    /// The input is not taken for quick before so many were read.
    quick_from: usize,
    /// Since when the owner reads many operations in one go.
    reading_since: Option<Time>,
}

impl ReadAhead {
    pub(super) const fn new(bounds: Ahead) -> Self {
        Self {
            bounds,
            bound: bounds.least,
            light: false,
            quick_from: 0,
            reading_since: None,
        }
    }

    /// How many more may be read where so many are outstanding and one takes so many nanoseconds.
    #[inline(always)]
    pub(super) fn room(&mut self, outstanding: usize, typical: u64) -> usize {
        let least = self.bounds.least;
        if typical >= READ_AHEAD_BELOW {
            self.bound = least;
        }
        let room = self.bound.saturating_sub(outstanding);
        // Few ahead means slow operations: each place is filled at once. Many are filled together,
        // while there is enough left for every worker.
        let worthwhile = self.bound.saturating_sub(least.max(self.bound / 16));
        if room >= worthwhile.max(1) { room } else { 0 }
    }

    /// Workers had nothing left of this batch: quick operations are to be read farther ahead.
    pub(super) fn ran_dry(&mut self, typical: u64) {
        if typical < READ_AHEAD_BELOW {
            self.bound = self.bound.saturating_mul(2).min(self.most());
        }
    }

    const fn most(&self) -> usize {
        if self.light {
            self.bounds.light
        } else {
            self.bounds.heavy
        }
    }

    /// Whether a worker is to be woken to be the monitor while so many are read, beyond those read
    /// before: that takes as long as to add a good hundred one by one.
    pub(super) const fn deserves_monitor(&self, count: usize, read: usize) -> bool {
        count >= WORTH_A_MONITOR && read >= self.quick_from
    }

    /// The owner reads in one go from then on, or one by one.
    pub(in crate::engine) const fn begin(&mut self, since: Option<Time>) {
        self.reading_since = since;
    }

    /// What has just been read costs little while it waits, or does not.
    pub(in crate::engine) fn end(&mut self, light: bool) {
        self.reading_since = None;
        self.light = light;
        self.bound = self.bound.min(self.most());
    }

    /// The owner is to read no more in one go, if it does, as the next operation is long in coming;
    /// so many have been read. Whether it did.
    pub(super) const fn cut_short(&mut self, read: usize) -> bool {
        let cut = self.reading_since.take().is_some();
        if cut {
            self.quick_from = read + PROBATION;
        }
        cut
    }

    /// Whether all of the input is read at once.
    pub(super) const fn is_unbounded(&self) -> bool {
        self.bounds.heavy == BatchOptions::UNBOUNDED
    }

    /// Since when the owner reads many operations in one go.
    pub(in crate::engine) const fn reading_since(&self) -> Option<Time> {
        self.reading_since
    }
}
