//! What became of the operations of one batch: a record each, and the totals that explain the time.

use std::collections::{HashMap, VecDeque};

use super::source::Running;
use super::time::Time;

/// How the records of finished operations are kept until their owner takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All of them, in input order, until the batch has ended.
    All,
    /// Handed over in input order.
    Ordered,
    /// Handed over in the order of completion.
    Completed,
    /// None: the result has gone elsewhere (into a future).
    Nothing,
}

/// A failed attempt after which another was to follow.
#[derive(Debug)]
pub struct Attempt<E> {
    /// What it failed with.
    pub error: E,
    /// When it started.
    pub started: Time,
    /// Nanoseconds it ran.
    pub duration: u64,
    /// Nanoseconds it had waited for its permit.
    pub permit_wait: u64,
}

/// What became of one operation.
#[derive(Debug)]
pub struct Record<V, E> {
    /// Its value, or what its last attempt failed with.
    pub result: Result<V, E>,
    /// When its last attempt started.
    pub started: Time,
    /// Nanoseconds its last attempt ran.
    pub duration: u64,
    /// Nanoseconds it waited for permits, over all attempts.
    pub permit_wait: u64,
    /// How often it was called.
    pub attempts: u32,
}

impl<E> Attempt<E> {
    pub(super) fn of(error: E, running: &Running, ended: Time) -> Self {
        Self {
            error,
            started: running.started,
            duration: ended.nanos_since(running.started),
            permit_wait: running.permit_wait,
        }
    }
}

impl<V, E> Record<V, E> {
    #[inline]
    pub(super) fn of(result: Result<V, E>, running: &Running, ended: Time) -> Self {
        Self {
            result,
            started: running.started,
            duration: ended.nanos_since(running.started),
            permit_wait: running.waited_before + running.permit_wait,
            attempts: running.attempt,
        }
    }
}

/// Sums over a batch; times in nanoseconds.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    /// Operations that returned.
    pub done: usize,
    /// Operations that failed for good.
    pub failed: usize,
    /// Permits taken.
    pub permits: usize,
    /// Calls made.
    pub attempts: usize,
    /// Calls that repeated an earlier one.
    pub retries: usize,
    /// Pauses the server asked for.
    pub pauses: usize,
    /// How much of its time fell into such pauses. Known when the batch is taken out.
    pub paused: u64,
    /// Time outside of pauses that operations waited for a permit while a worker was free, and time
    /// that they waited for one inside.
    pub permit_wait: u64,
    /// How much of that operations did inside, for permits that they asked for themselves.
    pub waited_inside: u64,
    /// Time that operations ran and did not wait for permits, over all workers.
    pub working: u64,
}

impl Totals {
    /// Counts a call that has waited so many nanoseconds for its permit.
    #[inline]
    pub(super) fn count_start(&mut self, retry: bool, permit_wait: u64) {
        self.attempts += 1;
        self.retries += usize::from(retry);
        self.permit_wait += permit_wait;
    }
}

/// Earlier attempts, by the index of their operation.
pub type History<E> = HashMap<usize, Vec<Attempt<E>>>;

/// The records of one batch.
#[derive(Debug)]
pub struct Ledger<V, E> {
    /// How they are kept.
    pub keep: Keep,
    /// Index of the first slot.
    pub base: usize,
    /// Records by input order; None for what has not finished.
    pub slots: VecDeque<Option<Record<V, E>>>,
    /// Records in the order of completion, where the batch is handed over in that order.
    pub completed: VecDeque<(usize, Record<V, E>)>,
    /// Earlier attempts of the operations that were tried again.
    pub history: History<E>,
    /// Moving average of the nanoseconds an operation runs.
    typical: u64,
    /// Sums over the batch.
    pub totals: Totals,
}

impl<V, E> Ledger<V, E> {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            base: 0,
            slots: VecDeque::new(),
            completed: VecDeque::new(),
            history: HashMap::new(),
            typical: u64::MAX,
            totals: Totals::default(),
        }
    }

    /// Whether it holds what is entered.
    pub(super) fn keeps_records(&self) -> bool {
        self.keep != Keep::Nothing
    }

    /// Makes room for `additional` more operations.
    pub(super) fn reserve(&mut self, additional: usize) {
        if self.keep == Keep::All {
            self.slots.reserve_exact(additional);
        }
    }

    /// Enters what an operation has come to. Gives that back where no records are kept.
    ///
    /// The record is made where it is to stay, not copied from call to call.
    #[inline(never)]
    pub(super) fn enter(
        &mut self,
        running: &Running,
        result: Result<V, E>,
        ended: Time,
    ) -> Option<Result<V, E>> {
        self.count(result.is_err());
        let index = running.index;
        match self.keep {
            Keep::Nothing => return Some(result),
            Keep::Completed => {
                let record = Record::of(result, running, ended);
                self.completed.push_back((index, record));
            }
            Keep::All | Keep::Ordered => {
                let slot = index - self.base;
                let record = Some(Record::of(result, running, ended));
                if let Some(place) = self.slots.get_mut(slot) {
                    *place = record;
                } else {
                    if self.slots.len() < slot {
                        self.slots.resize_with(slot, || None);
                    }
                    self.slots.push_back(record);
                }
            }
        }
        None
    }

    pub(super) fn count(&mut self, failed: bool) {
        if failed {
            self.totals.failed += 1;
        } else {
            self.totals.done += 1;
        }
    }

    /// Books the time of one call, and how much of it was spent waiting for permits.
    pub(super) fn book(&mut self, nanos: u64, waited: u64) {
        self.totals.working += nanos.saturating_sub(waited);
        self.totals.permit_wait += waited;
        self.totals.waited_inside += waited;
        self.typical = if self.typical == u64::MAX {
            nanos
        } else {
            (self.typical - self.typical / 8).saturating_add(nanos / 8)
        };
    }

    pub(super) fn remember(&mut self, index: usize, attempt: Attempt<E>) {
        self.history.entry(index).or_default().push(attempt);
    }

    pub(super) fn typical(&self) -> u64 {
        self.typical
    }

    /// The index of the next record that could be handed over now.
    pub(super) fn ready(&self) -> Option<usize> {
        match self.keep {
            Keep::All | Keep::Nothing => None,
            Keep::Ordered => self.slots.front()?.as_ref().map(|_| self.base),
            Keep::Completed => self.completed.front().map(|(index, _)| *index),
        }
    }

    /// How many records could be handed over now.
    pub(super) fn count_ready(&self) -> usize {
        match self.keep {
            Keep::All | Keep::Nothing => 0,
            Keep::Ordered => self.slots.iter().take_while(|slot| slot.is_some()).count(),
            Keep::Completed => self.completed.len(),
        }
    }

    pub(super) fn error_at(&self, index: usize) -> Option<&E> {
        let slot = || self.slots.get(index.checked_sub(self.base)?)?.as_ref();
        let completed = || {
            self.completed
                .iter()
                .find(|(at, _)| *at == index)
                .map(|(_, record)| record)
        };
        slot().or_else(completed)?.result.as_ref().err()
    }

    /// Hands over the next record that is ready, with the index of its operation.
    #[inline(always)]
    pub(super) fn hand_over(&mut self) -> Option<(usize, Record<V, E>)> {
        match self.keep {
            Keep::All | Keep::Nothing => None,
            Keep::Completed => self.completed.pop_front(),
            Keep::Ordered => {
                let record = self.slots.front_mut()?.take()?;
                self.slots.pop_front();
                self.base += 1;
                Some((self.base - 1, record))
            }
        }
    }

    /// Takes the records that were not handed over, and keeps no more from now on.
    #[must_use]
    pub fn take_left(&mut self) -> Self {
        let rest = Self {
            typical: self.typical,
            totals: self.totals,
            ..Self::new(Keep::Nothing)
        };
        std::mem::replace(self, rest)
    }

    pub(super) fn visit<F>(
        &self,
        mut value: impl FnMut(&V) -> Result<(), F>,
        mut error: impl FnMut(&E) -> Result<(), F>,
    ) -> Result<(), F> {
        let slots = self.slots.iter().flatten();
        for record in slots.chain(self.completed.iter().map(|(_, record)| record)) {
            match &record.result {
                Ok(result) => value(result)?,
                Err(failure) => error(failure)?,
            }
        }
        let mut earlier = self.history.values().flatten();
        earlier.try_for_each(|attempt| error(&attempt.error))
    }

    /// Takes the earlier attempts of one operation.
    #[inline(always)]
    pub fn history_of(&mut self, index: usize) -> Vec<Attempt<E>> {
        if self.history.is_empty() {
            Vec::new()
        } else {
            self.history.remove(&index).unwrap_or_default()
        }
    }
}
