//! Permits that the server has granted, each for a time, and that nobody has taken yet.

use std::collections::VecDeque;

use crate::engine::time::Time;

/// How much later than its time a permit may be taken, in nanoseconds.
const LATE: u64 = 5_000_000;
/// Who asks again so soon after it has taken the last, in nanoseconds, would take more at once.
const BUSY: u64 = 2_000_000;
/// After one was given back, so many times as many as before are to be taken in time before more are
/// asked for again, at most.
const WARIEST: u32 = 128;
/// At most so many are asked for at once.
pub(super) const MOST: u32 = 32;
/// Whoever takes one permit in so many nanoseconds, or fewer, needs none in advance.
const SLOW: u64 = 100_000_000;

/// A permit of the server's: its number there, and its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permit {
    pub(super) number: i64,
    pub(super) weight: u64,
}

/// A permit and when it may be taken.
#[derive(Debug, Clone, Copy)]
struct Grant {
    permit: Permit,
    due: Time,
    until: Time,
}

/// The permits held, in the order of their times.
#[derive(Debug)]
pub(super) struct Held {
    grants: VecDeque<Grant>,
    /// So many are asked for at once by one who is busy: twice as many when all were taken in time,
    /// half as many when some had to be given back.
    bound: u32,
    is_busy: bool,
    /// In time, since that changed.
    taken: u32,
    /// So many times `bound` are to be taken before it grows.
    wary: u32,
    /// Nanoseconds from one that is taken to the next, averaged.
    interval: u64,
    last_taken: Time,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            grants: VecDeque::new(),
            bound: 1,
            is_busy: false,
            taken: 0,
            wary: 1,
            interval: SLOW,
            last_taken: Time::default(),
        }
    }
}

impl Held {
    /// Holds a permit that is due then. It is known since `arrived`, so that one who waits for it is
    /// not late before.
    pub(super) fn put(&mut self, permit: Permit, due: Time, arrived: Time) {
        let until = due.max(arrived).plus_nanos(LATE);
        let grant = Grant { permit, due, until };
        let place = self.grants.partition_point(|it| it.due <= due);
        self.grants.insert(place, grant);
    }

    /// When the first of that weight may be taken.
    pub(super) fn due(&self, weight: u64, now: Time) -> Option<Time> {
        self.of(weight, now).map(|place| self.grants[place].due)
    }

    fn of(&self, weight: u64, now: Time) -> Option<usize> {
        let fits = |grant: &Grant| grant.permit.weight == weight && now <= grant.until;
        self.grants.iter().position(fits)
    }

    /// When the first of all is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.grants.front().map(|grant| grant.due)
    }

    /// How many of that weight there are, and when the last is due.
    pub(super) fn stock(&self, weight: u64) -> (u32, Option<Time>) {
        let of_weight = self.grants.iter().filter(|it| it.permit.weight == weight);
        let last = of_weight.clone().next_back().map(|it| it.due);
        (u32::try_from(of_weight.count()).unwrap_or(MOST), last)
    }

    /// Takes the first of that weight, if it is due.
    pub(super) fn take(&mut self, weight: u64, now: Time) -> Option<Permit> {
        let place = self.of(weight, now)?;
        if self.grants[place].due > now {
            return None;
        }
        let since = now.nanos_since(self.last_taken).min(SLOW);
        self.interval = self.interval - self.interval / 4 + since / 4;
        self.last_taken = now;
        self.taken += u32::from(self.is_busy);
        if self.taken >= self.bound * self.wary {
            self.bound = (self.bound * 2).min(MOST);
            self.taken = 0;
        }
        self.grants.remove(place).map(|grant| grant.permit)
    }

    /// How many permits are worth asking for at once.
    pub(super) fn worth_asking(&mut self, now: Time) -> u32 {
        if self.grants.is_empty() {
            self.is_busy = now.nanos_since(self.last_taken) < BUSY;
        }
        if self.is_busy { self.bound } else { 1 }
    }

    /// How many are taken in so many nanoseconds.
    pub(super) fn taken_in(&self, nanos: u64) -> u32 {
        u32::try_from(nanos / self.interval.max(1)).unwrap_or(MOST)
    }

    /// Those that are late now, which nobody may take any more.
    pub(super) fn late(&mut self, now: Time) -> Vec<Permit> {
        let late: Vec<_> = self.remove(|grant| now > grant.until);
        if !late.is_empty() {
            self.bound = (self.bound / 2).max(1);
            self.wary = (self.wary * 2).min(WARIEST);
            self.taken = 0;
        }
        late
    }

    /// Those that are due before `time`.
    pub(super) fn due_before(&mut self, time: Time) -> Vec<Permit> {
        self.remove(|grant| grant.due < time)
    }

    /// All of them.
    pub(super) fn all(&mut self) -> Vec<Permit> {
        self.remove(|_| true)
    }

    fn remove(&mut self, which: impl Fn(&Grant) -> bool) -> Vec<Permit> {
        let mut removed = Vec::new();
        self.grants.retain(|grant| {
            let goes = which(grant);
            if goes {
                removed.push(grant.permit);
            }
            !goes
        });
        removed
    }

    /// When the next of them is late.
    pub(super) fn next_late(&self) -> Time {
        let until = self.grants.iter().map(|grant| grant.until);
        until.min().map_or(Time::NEVER, |until| until.plus_nanos(1))
    }

    /// Nanoseconds after its time that a permit may be taken.
    pub(super) const fn patience() -> u64 {
        LATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(micros: u64) -> Time {
        Time::from_nanos(1_000 * MS + micros * 1000)
    }

    fn permit(number: i64) -> Permit {
        Permit { number, weight: 1 }
    }

    #[test]
    fn a_permit_is_taken_at_its_time_or_a_little_later() {
        let mut held = Held::default();
        held.put(permit(1), at(1000), at(0));
        held.put(permit(2), at(500), at(0));
        assert_eq!(held.due(1, at(0)), Some(at(500)));
        assert_eq!(held.due(2, at(0)), None);
        assert_eq!(held.take(1, at(499)), None);
        assert_eq!(held.take(1, at(501)), Some(permit(2)));
        assert_eq!(held.take(1, at(6001)), None, "late");
        assert_eq!(held.late(at(6001)), [permit(1)]);
        assert_eq!(held.next_late(), Time::NEVER);
    }

    #[test]
    fn one_that_came_late_may_still_be_taken() {
        let mut held = Held::default();
        held.put(permit(1), at(0), at(30_000));
        assert_eq!(held.take(1, at(34_000)), Some(permit(1)));
    }

    #[test]
    fn who_is_quick_asks_for_more_at_once() {
        let mut held = Held::default();
        let mut now = 0;
        for number in 0..200 {
            held.worth_asking(at(now));
            held.put(permit(number), at(now), at(now));
            assert!(held.take(1, at(now)).is_some());
            now += 50;
        }
        assert_eq!(held.worth_asking(at(now)), MOST);
        // One that nobody took in time.
        held.put(permit(1000), at(now), at(now));
        assert_eq!(held.late(at(now + 5001)).len(), 1);
        assert_eq!(held.worth_asking(at(now)), MOST / 2);
        assert_eq!(
            held.worth_asking(at(now + 10_000)),
            1,
            "it does something else"
        );
    }

    #[test]
    fn who_was_wrong_is_wary() {
        let mut held = Held::default();
        let mut lost = 0;
        let mut now = 0;
        // One that takes one every time, and nothing in advance.
        for number in 0..1000 {
            let asked = held.worth_asking(at(now));
            for _ in 0..asked {
                held.put(permit(number), at(now), at(now));
            }
            assert!(held.take(1, at(now)).is_some());
            now += 1000;
            let later = at(now + 6000);
            lost += held.late(later).len();
        }
        assert!(lost <= 20, "{lost}");
    }

    #[test]
    fn what_a_pause_holds_back_is_given_back() {
        let mut held = Held::default();
        for number in 0..4 {
            held.put(permit(number), at(1000 * number.unsigned_abs()), at(0));
        }
        assert_eq!(held.due_before(at(2000)), [permit(0), permit(1)]);
        assert_eq!(held.stock(1), (2, Some(at(3000))));
        assert_eq!(held.all().len(), 2);
    }
}
