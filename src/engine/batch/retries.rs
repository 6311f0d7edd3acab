//! Operations of a batch that are to be tried again.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

use crate::engine::model::Running;
use crate::engine::retry::Budget;
use crate::engine::time::Time;

/// An operation that is to be tried again, or for the first time.
#[derive(Debug)]
pub(super) struct Retry<J> {
    pub(super) index: usize,
    /// How many there were.
    pub(super) attempts: u32,
    /// Nanoseconds that these have waited for their permits.
    pub(super) waited: u64,
    pub(super) job: J,
}

impl<J> Retry<J> {
    pub(super) const fn first(index: usize, job: J) -> Self {
        Self {
            index,
            attempts: 0,
            waited: 0,
            job,
        }
    }
}

/// The operations that wait to be tried again.
#[derive(Debug)]
pub(super) struct Retries<J> {
    /// By when they are due, and their index.
    waiting: BTreeMap<(Time, usize), Retry<J>>,
    /// When each is due, by its index.
    dues: HashMap<usize, Time>,
    /// One is to start before the next first attempt: they go in turn.
    next: bool,
    /// How many were granted.
    spent: usize,
    /// Those that were to be tried again when the batch had ended: they have failed instead.
    unretried: Vec<usize>,
}

impl<J> Retries<J> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            dues: HashMap::new(),
            next: false,
            spent: 0,
            unretried: Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// In the order in which they are due.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Retry<J>> {
        self.waiting.values()
    }

    /// The operation is to be tried again, not before `due`.
    pub(super) fn add(&mut self, running: &Running, due: Time, job: J) {
        let retry = Retry {
            index: running.index,
            attempts: running.attempt,
            waited: running.waited_before + running.permit_wait,
            job,
        };
        self.dues.insert(retry.index, due);
        self.waiting.insert((due, retry.index), retry);
    }

    /// Takes the one that is due first.
    pub(super) fn pop(&mut self) -> Option<Retry<J>> {
        let (_, first) = self.waiting.pop_first()?;
        self.dues.remove(&first.index);
        Some(first)
    }

    /// Takes all of them, in the order in which they are due.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Retry<J>> + use<J> {
        self.dues.clear();
        std::mem::take(&mut self.waiting).into_values()
    }

    /// Takes that of the operation at `index`.
    pub(super) fn withdraw(&mut self, index: usize) -> Option<J> {
        let due = self.dues.remove(&index)?;
        let retry = self.waiting.remove(&(due, index))?;
        Some(retry.job)
    }

    /// Whether one starts next, where `others` are first attempts that could: they go in turn.
    #[inline(always)]
    pub(super) fn is_next(&self, now: Time, others: usize) -> bool {
        self.is_due(now) && (self.next || others == 0)
    }

    /// One has started, or another operation has, so that it is the turn of a retry.
    #[inline(always)]
    pub(super) const fn had_turn(&mut self, retry: bool) {
        self.next = !retry;
    }

    #[inline(always)]
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.first_due().is_some_and(|due| due <= now)
    }

    /// When the first is due.
    pub(super) fn first_due(&self) -> Option<Time> {
        let (&(due, _), _) = self.waiting.first_key_value()?;
        Some(due)
    }

    /// How many are due, up to `most`.
    pub(super) fn count_due(&self, now: Time, most: usize) -> usize {
        let due = self.waiting.range(..=(now, usize::MAX));
        due.take(most).count()
    }

    /// When the first is due of those that are not yet.
    pub(super) fn first_due_after(&self, now: Time) -> Option<Time> {
        let mut later = self.waiting.range((Excluded((now, usize::MAX)), Unbounded));
        later.next().map(|(&(due, _), _)| due)
    }

    /// Spends one of the budget, if that allows one after so many operations.
    pub(super) fn spend(&mut self, budget: Option<Budget>, operations: usize) -> bool {
        let allowed = budget.is_none_or(|budget| budget.allows(self.spent, operations));
        self.spent += usize::from(allowed);
        allowed
    }

    /// Notes that an operation was to be tried again, and has failed as the batch had ended.
    pub(super) fn note_unretried(&mut self, index: usize) {
        self.unretried.push(index);
    }

    /// The indexes of the operations of which that was noted.
    pub(super) fn unretried(&self) -> &[usize] {
        &self.unretried
    }
}
