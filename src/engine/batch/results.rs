//! The records of a batch until its owner takes them, and in which order they are handed over.

use std::collections::{HashMap, VecDeque};

use crate::engine::model::{Attempt, Delivery, Record, Running};
use crate::engine::time::Time;

/// Earlier attempts, by the index of their operation.
pub type History<E> = HashMap<usize, Vec<Attempt<E>>>;

/// What is handed over of one operation.
#[derive(Debug)]
pub struct HandedOver<V, E> {
    /// Its place in the input.
    pub index: usize,
    /// What became of it.
    pub record: Record<V, E>,
    /// Its earlier attempts, if it was tried again.
    pub earlier: Vec<Attempt<E>>,
}

/// The records that were not handed over when their batch was taken out.
#[derive(Debug)]
pub struct LeftRecords<V, E> {
    /// How they would have been.
    pub delivery: Delivery,
    /// Index of the first slot.
    pub base: usize,
    /// Records by input order; None for what has not finished.
    pub slots: VecDeque<Option<Record<V, E>>>,
    /// Records in the order of completion, where they are handed over in that order.
    pub completed: VecDeque<(usize, Record<V, E>)>,
    /// Earlier attempts of the operations that were tried again.
    pub history: History<E>,
}

impl<V, E> LeftRecords<V, E> {
    fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            base: 0,
            slots: VecDeque::new(),
            completed: VecDeque::new(),
            history: HashMap::new(),
        }
    }
}

/// The records of one batch.
#[derive(Debug)]
pub(super) struct Results<V, E> {
    records: LeftRecords<V, E>,
    handed_over: usize,
    /// While records are being taken: how many more before input is looked at.
    round: Option<usize>,
}

impl<V, E> Results<V, E> {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self {
            records: LeftRecords::new(delivery),
            handed_over: 0,
            round: None,
        }
    }

    /// Whether it keeps what it is given.
    pub(super) fn keeps_records(&self) -> bool {
        self.records.delivery != Delivery::Nowhere
    }

    /// How many were handed over.
    pub(super) const fn handed_over(&self) -> usize {
        self.handed_over
    }

    /// Makes room for `additional` more operations.
    pub(super) fn reserve(&mut self, additional: usize) {
        if self.records.delivery == Delivery::AtEnd {
            self.records.slots.reserve_exact(additional);
        }
    }

    /// Keeps what an operation has come to. Gives that back where no records are kept.
    ///
    /// The record is made where it is to stay, not copied from call to call.
    #[inline(never)]
    pub(super) fn keep(
        &mut self,
        running: &Running,
        result: Result<V, E>,
        ended: Time,
    ) -> Option<Result<V, E>> {
        let index = running.index;
        let records = &mut self.records;
        match records.delivery {
            Delivery::Nowhere => return Some(result),
            Delivery::AsCompleted => {
                let record = Record::of(result, running, ended);
                records.completed.push_back((index, record));
            }
            Delivery::AtEnd | Delivery::InOrder => {
                let slot = index - records.base;
                let record = Some(Record::of(result, running, ended));
                if let Some(place) = records.slots.get_mut(slot) {
                    *place = record;
                } else {
                    if records.slots.len() < slot {
                        records.slots.resize_with(slot, || None);
                    }
                    records.slots.push_back(record);
                }
            }
        }
        None
    }

    pub(super) fn remember(&mut self, index: usize, attempt: Attempt<E>) {
        self.records.history.entry(index).or_default().push(attempt);
    }

    /// The index of the next record that could be handed over now.
    pub(super) fn ready(&self) -> Option<usize> {
        let records = &self.records;
        match records.delivery {
            Delivery::AtEnd | Delivery::Nowhere => None,
            Delivery::InOrder => records.slots.front()?.as_ref().map(|_| records.base),
            Delivery::AsCompleted => records.completed.front().map(|(index, _)| *index),
        }
    }

    /// How many records could be handed over now.
    fn count_ready(&self) -> usize {
        let records = &self.records;
        match records.delivery {
            Delivery::AtEnd | Delivery::Nowhere => 0,
            Delivery::InOrder => records
                .slots
                .iter()
                .take_while(|slot| slot.is_some())
                .count(),
            Delivery::AsCompleted => records.completed.len(),
        }
    }

    /// What the operation at `index` failed with, if its record is here.
    pub(super) fn error_at(&self, index: usize) -> Option<&E> {
        let records = &self.records;
        let slot = || {
            let place = index.checked_sub(records.base)?;
            records.slots.get(place)?.as_ref()
        };
        let completed = || {
            let mut completed = records.completed.iter();
            completed
                .find(|(at, _)| *at == index)
                .map(|(_, record)| record)
        };
        slot().or_else(completed)?.result.as_ref().err()
    }

    /// Whether all records of a round were taken: those that were ready when it began.
    #[inline(always)]
    pub(super) const fn is_round_over(&self) -> bool {
        matches!(self.round, Some(0))
    }

    /// No round is under way.
    #[inline(always)]
    pub(super) const fn end_round(&mut self) {
        self.round = None;
    }

    /// Hands over the next record that is ready.
    #[inline(always)]
    pub(super) fn hand_over(&mut self) -> Option<HandedOver<V, E>> {
        let left = match self.round.take() {
            None | Some(0) => self.count_ready(),
            Some(left) => left,
        };
        let (index, record) = self.take_ready()?;
        self.handed_over += 1;
        self.round = Some(left - 1);
        Some(HandedOver {
            index,
            record,
            earlier: self.history_of(index),
        })
    }

    #[inline(always)]
    fn take_ready(&mut self) -> Option<(usize, Record<V, E>)> {
        let records = &mut self.records;
        match records.delivery {
            Delivery::AtEnd | Delivery::Nowhere => None,
            Delivery::AsCompleted => records.completed.pop_front(),
            Delivery::InOrder => {
                let record = records.slots.front_mut()?.take()?;
                records.slots.pop_front();
                records.base += 1;
                Some((records.base - 1, record))
            }
        }
    }

    /// Takes the records that were not handed over, and keeps no more from now on.
    pub(super) fn take_left(&mut self) -> LeftRecords<V, E> {
        std::mem::replace(&mut self.records, LeftRecords::new(Delivery::Nowhere))
    }

    pub(super) fn visit<F>(
        &self,
        mut value: impl FnMut(&V) -> Result<(), F>,
        mut error: impl FnMut(&E) -> Result<(), F>,
    ) -> Result<(), F> {
        let records = &self.records;
        let slots = records.slots.iter().flatten();
        for record in slots.chain(records.completed.iter().map(|(_, record)| record)) {
            match &record.result {
                Ok(result) => value(result)?,
                Err(failure) => error(failure)?,
            }
        }
        let mut earlier = records.history.values().flatten();
        earlier.try_for_each(|attempt| error(&attempt.error))
    }

    /// Takes the earlier attempts of one operation.
    #[inline(always)]
    pub(super) fn history_of(&mut self, index: usize) -> Vec<Attempt<E>> {
        if self.records.history.is_empty() {
            Vec::new()
        } else {
            self.records.history.remove(&index).unwrap_or_default()
        }
    }
}
