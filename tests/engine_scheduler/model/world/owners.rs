//! What the owners of batches do, and what they must find in the end.

use paceline::engine::batch::{Batch, HandedOver};
use paceline::engine::model::{Delivery, EndReason};
use paceline::engine::scheduler::Step as Wish;

use super::{Mood, World};
use crate::fixture::given;

impl World {
    pub(super) fn own(&mut self, place: usize) {
        let now = self.now();
        let account = &mut self.accounts[place];
        let id = account.id;
        match account.mood {
            Mood::Consuming => {
                if self.take(place) {
                    return;
                }
                self.accounts[place].mood = Mood::Awake;
                let room = self.scheduler.with(id, Batch::room).unwrap();
                if room > 0 {
                    self.feed(place, room);
                }
                return;
            }
            Mood::Reading(turns) => {
                self.read(place, turns);
                return;
            }
            Mood::Joining => {
                given(&account.owner);
                self.join(place);
                return;
            }
            Mood::Resting(_) => {
                given(&account.owner);
            }
            _ => {}
        }
        match self.scheduler.step(id, false, now) {
            Wish::Feed(room) => {
                self.accounts[place].mood = Mood::Awake;
                self.feed(place, room);
            }
            Wish::HandOver => {
                assert!(self.take(place), "told to take nothing");
                self.accounts[place].mood = Mood::Consuming;
            }
            Wish::Rest(until) => {
                assert!(
                    until > now,
                    "an owner that rests until the past runs in circles"
                );
                self.accounts[place].mood = Mood::Resting(until);
                self.scheduler.catch_up(now);
            }
            Wish::Settled => match self.ended(place) {
                None => {
                    let account = &self.accounts[place];
                    assert_eq!(account.finished.len(), account.read, "settled too early");
                    assert_eq!(account.input, 0);
                    self.close(place);
                }
                Some(EndReason::Owner | EndReason::Timeout) => self.close(place),
                Some(_) => self.join(place),
            },
        }
    }

    pub(super) fn feed(&mut self, place: usize, room: usize) {
        let account = &self.accounts[place];
        if self
            .scheduler
            .begin_reading(account.id, 100 * room, self.now())
        {
            self.accounts[place].mood = Mood::Reading(room);
            return;
        }
        for _ in 0..room.min(account.input) {
            self.accounts[place].input -= 1;
            self.add(place, 1);
        }
        self.fed(place);
    }

    /// Reads one more operation, or adds all that were read.
    fn read(&mut self, place: usize, turns: usize) {
        let account = &mut self.accounts[place];
        if turns > 0 && account.input > 0 {
            account.input -= 1;
            account.inbox += 1;
            account.mood = Mood::Reading(turns - 1);
            return;
        }
        account.mood = Mood::Awake;
        let (id, inbox) = (account.id, account.inbox);
        self.scheduler.end_reading(id, inbox % 2 == 0);
        self.add(place, inbox);
        self.fed(place);
    }

    pub(super) fn add(&mut self, place: usize, count: usize) {
        let account = &mut self.accounts[place];
        account.inbox = account.inbox.saturating_sub(count);
        let added = account.read..account.read + count;
        account.read += count;
        account.waiting.extend(added.clone());
        let ahead = account.options.ahead.light;
        let outstanding = if account.options.delivery == Delivery::AtEnd {
            account.waiting.len()
        } else {
            account.read - account.handed.len()
        };
        assert!(
            outstanding <= ahead,
            "{outstanding} read ahead where {ahead} are allowed"
        );
        if self.scheduler.feed_some(account.id, added, self.now()) {
            self.grow();
        }
    }

    fn fed(&mut self, place: usize) {
        if self.accounts[place].input == 0 {
            self.scheduler.finish_input(self.accounts[place].id);
        }
        self.grow();
    }

    /// Takes the next outcome, if one is ready and no more input is wanted before.
    pub(super) fn take(&mut self, place: usize) -> bool {
        let id = self.accounts[place].id;
        let Some(HandedOver {
            index,
            record,
            earlier,
        }) = self.scheduler.with(id, Batch::hand_over).unwrap()
        else {
            return false;
        };
        let account = &mut self.accounts[place];
        let next = match account.options.delivery {
            Delivery::InOrder => account.handed.len(),
            _ => account.completed[account.handed.len()],
        };
        assert_eq!(index, next, "handed over out of order");
        assert_eq!((record.result, record.attempts), account.finished[&index]);
        account.handed.push(index);
        account.check_history(record.attempts, earlier.len());
        true
    }

    pub(super) fn join(&mut self, place: usize) {
        if self.scheduler.runs(self.accounts[place].id) {
            self.accounts[place].mood = Mood::Joining;
        } else {
            assert!(self.accounts[place].running.is_empty(), "joined too early");
            self.close(place);
        }
    }

    /// Every operation that was read has exactly one record, and the counts agree.
    pub(super) fn close(&mut self, place: usize) {
        let now = self.now();
        let account = &mut self.accounts[place];
        account.mood = Mood::Closed;
        let mut batch = self.scheduler.remove(account.id, now).unwrap();
        assert_eq!(batch.read(), account.read);
        let mut seen = account.handed.clone();
        let mut left = batch.take_left();
        let slots = left.slots.into_iter().enumerate();
        let slots = slots.filter_map(|(slot, record)| Some((left.base + slot, record?)));
        for (index, record) in slots.chain(left.completed) {
            assert_eq!((record.result, record.attempts), account.finished[&index]);
            let earlier = left
                .history
                .remove(&index)
                .map_or(0, |attempts| attempts.len());
            account.check_history(record.attempts, earlier);
            seen.push(index);
        }
        for running in batch.running() {
            assert_eq!(account.running.get(&running.index), Some(&running.attempt));
            seen.push(running.index);
        }
        for index in batch.waiting_retries() {
            let (_, attempts) = account.retries[&index];
            assert_eq!(left.history[&index].len(), attempts as usize);
            seen.push(index);
        }
        for index in batch.unstarted() {
            assert!(account.waiting.contains(&index), "{index} has been started");
            seen.push(index);
        }
        seen.sort_unstable();
        assert!(
            seen.iter().copied().eq(0..account.read),
            "{seen:?} of {}",
            account.read
        );
        let totals = batch.totals();
        assert_eq!(totals.permits, account.starts);
        assert_eq!(totals.attempts, account.starts);
        let failed = account
            .finished
            .values()
            .filter(|(result, _)| result.is_err())
            .count();
        assert_eq!(
            (totals.done, totals.failed),
            (account.finished.len() - failed, failed)
        );
        account.waiting.clear();
        account.retries.clear();
        account.running.clear();
    }

    pub(super) fn end(&mut self, which: usize, end: EndReason) {
        let place = which % self.accounts.len();
        if matches!(
            self.accounts[place].mood,
            Mood::Closed | Mood::Joining | Mood::Reading(_)
        ) {
            return;
        }
        self.scheduler.end(self.accounts[place].id, end, self.now());
        match self.ended(place) {
            Some(EndReason::Owner | EndReason::Timeout) => self.close(place),
            _ => self.join(place),
        }
    }

    pub(super) fn orphan(&mut self, which: usize) {
        let place = which % self.accounts.len();
        let account = &mut self.accounts[place];
        let away = matches!(account.mood, Mood::Consuming | Mood::Resting(_));
        if !away || account.options.delivery == Delivery::AtEnd || self.ended(place).is_some() {
            return;
        }
        let account = &mut self.accounts[place];
        account.mood = Mood::Closed;
        account.orphaned = true;
        let id = account.id;
        self.scheduler.orphan(id, self.now());
    }
}
