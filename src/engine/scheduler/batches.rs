//! The batches of a scheduler: in which order they have their turn, what began which, and what is
//! still run of those that were taken out.

use std::collections::HashMap;
use std::sync::Arc;

use super::claim::{Leftover, Remains};
use super::stragglers::{Stragglers, TakenOut};
use crate::engine::batch::Batch;
use crate::engine::model::{BatchId, EndReason, Finished, Running, Work};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// The batches that there are, and those that were taken out and still run something.
#[derive(Debug)]
pub(super) struct Batches<W: Work> {
    /// Each with its serial number; None where one was taken out.
    entries: Vec<Option<(u64, Batch<W>)>>,
    /// That of the batch that was added last.
    last_serial: u64,
    /// Where the next turn begins.
    turn: usize,
    /// By the serial number of the batch that was taken out while they ran.
    stragglers: HashMap<u64, Arc<Stragglers<W>>>,
}

impl<W: Work> Batches<W> {
    /// With the batch of the calls that are submitted one by one, which is never taken out.
    pub(super) fn new(submitted: Batch<W>) -> Self {
        Self {
            entries: vec![Some((0, submitted))],
            last_serial: 0,
            turn: 0,
            stragglers: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, batch: Batch<W>) -> BatchId {
        self.last_serial += 1;
        let serial = self.last_serial;
        let entry = Some((serial, batch));
        let slot = self.entries.iter().position(Option::is_none);
        let slot = if let Some(slot) = slot {
            self.entries[slot] = entry;
            slot
        } else {
            self.entries.push(entry);
            self.entries.len() - 1
        };
        BatchId { slot, serial }
    }

    #[inline(always)]
    pub(super) fn get(&self, id: BatchId) -> Option<&Batch<W>> {
        match self.entries.get(id.slot) {
            Some(Some((serial, batch))) if *serial == id.serial => Some(batch),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, id: BatchId) -> Option<&mut Batch<W>> {
        match self.entries.get_mut(id.slot) {
            Some(Some((serial, batch))) if *serial == id.serial => Some(batch),
            _ => None,
        }
    }

    /// Takes one out as it is.
    pub(super) fn remove(&mut self, id: BatchId) -> Option<Batch<W>> {
        self.get(id)?;
        self.entries[id.slot].take().map(|(_, batch)| batch)
    }

    #[inline(always)]
    pub(super) fn live(&self) -> impl Iterator<Item = &Batch<W>> {
        self.entries.iter().flatten().map(|(_, batch)| batch)
    }

    pub(super) fn live_mut(&mut self) -> impl Iterator<Item = &mut Batch<W>> {
        let live = self.entries.iter_mut().flatten();
        live.map(|(_, batch)| batch)
    }

    #[inline(always)]
    pub(super) fn with_ids(&self) -> impl Iterator<Item = (BatchId, &Batch<W>)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(slot, entry)| {
            let (serial, batch) = entry.as_ref()?;
            let serial = *serial;
            Some((BatchId { slot, serial }, batch))
        })
    }

    pub(super) fn with_ids_mut(&mut self) -> impl Iterator<Item = (BatchId, &mut Batch<W>)> {
        let entries = self.entries.iter_mut().enumerate();
        entries.filter_map(|(slot, entry)| {
            let (serial, batch) = entry.as_mut()?;
            let serial = *serial;
            Some((BatchId { slot, serial }, batch))
        })
    }

    /// The first that has something to start, beginning with the one whose turn it is.
    #[inline(always)]
    pub(super) fn next_available(&self, now: Time) -> Option<BatchId> {
        let count = self.entries.len();
        let turn = if self.turn < count { self.turn } else { 0 };
        let slots = (turn..turn + count).map(|it| if it < count { it } else { it - count });
        slots.into_iter().find_map(|slot| {
            let (serial, batch) = self.entries[slot].as_ref()?;
            let serial = *serial;
            batch.available(now).then_some(BatchId { slot, serial })
        })
    }

    /// One has had its turn.
    #[inline(always)]
    pub(super) const fn had_turn(&mut self, id: BatchId) {
        self.turn = id.slot + 1;
    }

    /// When the next retry is due that a worker is to wait for.
    pub(super) fn next_retry_due(&self, now: Time) -> Option<Time> {
        let due = self.live().map(|batch| batch.next_due(now));
        due.flatten().min()
    }

    /// When the next batch is to end that has not.
    pub(super) fn next_deadline(&self) -> Time {
        let waiting = self.live().filter(|batch| batch.ended().is_none());
        let deadlines = waiting.map(Batch::deadline);
        deadlines.min().unwrap_or(Time::NEVER)
    }

    /// Ends those whose deadline has passed: what wakes their owners.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Arc<Signal>> {
        let overdue = self.live_mut().filter(|batch| batch.is_overdue(now));
        overdue
            .map(|batch| {
                batch.expire();
                batch.tell_owner()
            })
            .collect()
    }

    /// Nothing waits or runs, but for batches that wait for their owner.
    pub(super) fn drained(&self) -> bool {
        self.stragglers.is_empty()
            && self
                .live()
                .all(|batch| !batch.is_attended() && batch.quiet())
    }

    /// Whether no owner waits for the operations of a batch any more, though they may still run.
    pub(super) fn is_given_up(&self, id: BatchId, now: Time) -> bool {
        !self
            .get(id)
            .is_some_and(|batch| batch.is_patient() && now < batch.deadline())
    }

    /// Whether a batch is `outer`, or was begun by an operation of it, or of one that was.
    pub(super) fn is_within(&self, batch: BatchId, outer: BatchId) -> bool {
        let begun_by = |id: &BatchId| self.get(*id).and_then(Batch::outer).map(|(id, _)| id);
        std::iter::successors(Some(batch), begun_by).any(|id| id == outer)
    }

    /// Ends what the running operations of a batch have begun, which is given up, and theirs in
    /// turn; but for what nobody will take, as that was left to run. Gives what wakes their owners.
    pub(super) fn end_inner(&mut self, id: BatchId, running: &[Running]) -> Vec<Arc<Signal>> {
        let begun_by = |id, running: &[Running]| -> Vec<_> {
            running.iter().map(|each| (id, each.index)).collect()
        };
        let mut given_up = begun_by(id, running);
        let mut told = Vec::new();
        while let Some(outer) = given_up.pop() {
            for (id, batch) in self.with_ids_mut() {
                if batch.outer() == Some(outer) && !batch.owner.is_gone() {
                    batch.end(EndReason::Outer);
                    told.push(batch.tell_owner());
                    given_up.extend(begun_by(id, batch.running()));
                }
            }
        }
        told
    }

    /// Takes a batch out. What it still runs is counted on, and what becomes of that kept, where
    /// `wanted`.
    pub(super) fn take_out(&mut self, id: BatchId, wanted: bool) -> Option<TakenOut<W>> {
        let batch = self.remove(id)?;
        let running = batch.running().len();
        if running == 0 {
            return Some((batch, None));
        }
        let stragglers = Arc::new(Stragglers::new(running, wanted));
        self.stragglers.insert(id.serial, Arc::clone(&stragglers));
        Some((batch, wanted.then_some(stragglers)))
    }

    /// Books an operation whose batch was taken out. Gives what wakes those who wait for the last of
    /// them, if this was it.
    pub(super) fn complete_straggler(
        &mut self,
        id: BatchId,
        running: &Running,
        finished: Finished<W>,
    ) -> (Leftover<W>, Vec<Arc<Signal>>) {
        let Some(stragglers) = self.stragglers.get(&id.serial) else {
            return (Remains::of(finished.ending.into()), Vec::new());
        };
        let (leftover, last) = stragglers.complete(running, finished);
        if last.is_some() {
            // Whoever else holds them has what they came to, or has forgotten it.
            self.stragglers.remove(&id.serial);
        }
        (leftover, last.unwrap_or_default())
    }

    /// How many operations run, and how many more are to start that have not.
    pub(super) fn unfinished(&self) -> (usize, usize) {
        let late: usize = self.stragglers.values().map(|each| each.running()).sum();
        let running: usize = self.live().map(|batch| batch.running().len()).sum();
        (late + running, self.live().map(Batch::to_start).sum())
    }
}
