//! The permits of the last stretch of time: the exact sliding window.
//!
//! Long by its tests.

use std::collections::{VecDeque, vec_deque};
use std::iter::Peekable;

use crate::engine::time::Time;

/// Room kept for permits however few there are, so that a small window never reallocates.
const SMALLEST_CAPACITY: usize = 1024;

/// Permits that leave the window at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Stamp {
    pub(in crate::engine) leaves: Time,
    pub(in crate::engine) weight: u64,
}

/// Calls that follow each other on one worker, the next begun when the one before had ended, are kept
/// as one while they take fewer nanoseconds together: so the permits of all but the last leave by so
/// much later.
const RUN: u64 = 20_000;

/// The permits of a call that runs, and of those that it has followed: they leave after the longest
/// time, unless it ends before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// The caller's time when it asked, by which it knows the call.
    asked: Time,
    /// Not before that of any call before it.
    pub(super) started: Time,
    /// Its own weight,
    weight: u64,
    /// and that of all.
    total: u64,
}

/// What was permitted and has not left yet.
#[derive(Debug)]
pub(super) struct Window {
    /// Those whose time to leave is known, in the order of it.
    leaving: VecDeque<Stamp>,
    /// Those of calls that run, in the order of their starts.
    running: VecDeque<Call>,
    /// Nanoseconds that those of a call stay which does not end. Durations are slower to add, and
    /// this is done for every permit.
    longest: u64,
    used: u64,
    /// When the last of `leaving` leaves.
    last_leaves: Time,
    /// When the first of all leaves.
    next_leaves: Time,
    /// When the first of those calls began that the last has followed.
    run_began: Time,
}

impl Window {
    pub(super) fn new(longest: u64) -> Self {
        Self {
            leaving: VecDeque::new(),
            running: VecDeque::new(),
            longest,
            used: 0,
            last_leaves: Time::default(),
            next_leaves: Time::NEVER,
            run_began: Time::default(),
        }
    }

    /// A window that holds `used`, of which the first leave at those times, in their order.
    pub(super) fn of(used: u64, first: Vec<Stamp>) -> Self {
        let mut window = Self::new(0);
        window.used = used;
        window.last_leaves = first.last().map_or(Time::default(), |last| last.leaves);
        window.leaving = first.into();
        window.find_next();
        window
    }

    /// The sum of the weights in the window.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// The permits in the window, in the order in which they leave if every call that runs stays
    /// for `running` nanoseconds.
    pub(super) fn in_order(&self, running: u64) -> InOrder<'_> {
        InOrder {
            leaving: self.leaving.iter().peekable(),
            running: self.running.iter().peekable(),
            stays: running,
        }
    }

    /// The same, where every call that runs stays as long as it may.
    pub(super) fn at_the_latest(&self) -> InOrder<'_> {
        self.in_order(self.longest)
    }

    /// Lets go of the permits that have left the window by `now`. Whether there was a call among
    /// them that still runs.
    #[inline]
    pub(super) fn expire(&mut self, now: Time) -> bool {
        now >= self.next_leaves && self.expire_first(now)
    }

    fn expire_first(&mut self, now: Time) -> bool {
        if now >= self.last_leaves && self.running.is_empty() {
            self.leaving.clear();
            self.used = 0;
        } else {
            while let Some(stamp) = self.leaving.front()
                && now >= stamp.leaves
            {
                self.used -= stamp.weight;
                self.leaving.pop_front();
            }
        }
        let mut overdue = false;
        while let Some(call) = self.running.front()
            && now.nanos_since(call.started) >= self.longest
        {
            self.used -= call.total;
            self.running.pop_front();
            overdue = true;
        }
        shrink(&mut self.leaving);
        shrink(&mut self.running);
        self.find_next();
        overdue
    }

    fn find_next(&mut self) {
        let known = self.leaving.front().map(|stamp| stamp.leaves);
        let running = self.running.front().map(|call| self.latest_of(call));
        self.next_leaves = known
            .unwrap_or(Time::NEVER)
            .min(running.unwrap_or(Time::NEVER));
    }

    const fn latest_of(&self, call: &Call) -> Time {
        call.started.plus_nanos(self.longest)
    }

    /// Records permits that leave at a time, which is to come.
    #[inline]
    pub(super) fn stamp(&mut self, leaves: Time, weight: u64) {
        self.used += weight;
        self.put(leaves, weight);
    }

    #[inline(always)]
    fn put(&mut self, leaves: Time, weight: u64) {
        if self.leaving.is_empty() || leaves > self.last_leaves {
            self.last_leaves = leaves;
            self.leaving.push_back(Stamp { leaves, weight });
        } else {
            self.put_before_others(leaves, weight);
        }
        self.next_leaves = self.next_leaves.min(leaves);
    }

    /// Few leave after those that come now, so they are near the end.
    #[inline(never)]
    fn put_before_others(&mut self, leaves: Time, weight: u64) {
        match self.leaving.binary_search_by_key(&leaves, |it| it.leaves) {
            Ok(place) => self.leaving[place].weight += weight,
            Err(place) => self.leaving.insert(place, Stamp { leaves, weight }),
        }
    }

    /// Records the permits of a call that starts now: no call before it started later.
    #[inline]
    pub(super) fn begin(&mut self, asked: Time, started: Time, weight: u64) {
        self.used += weight;
        self.next_leaves = self.next_leaves.min(started.plus_nanos(self.longest));
        self.run_began = started;
        self.running.push_back(Call {
            asked,
            started,
            weight,
            total: weight,
        });
    }

    /// Records the permits of a call that starts now where the one has just ended which asked at
    /// `last`, if the two can be kept as one. So they can: that one has left by the time that this one
    /// leaves at, as it ended before this one started. Nothing is recorded otherwise.
    #[inline(always)]
    pub(super) fn follow(&mut self, last: Time, asked: Time, started: Time, weight: u64) -> bool {
        if self.running.len() != 1 || started.nanos_since(self.run_began) >= self.longest_run() {
            return false;
        }
        match self.running.front_mut() {
            Some(call) if call.asked == last => {
                *call = Call {
                    asked,
                    started,
                    weight,
                    total: call.total + weight,
                };
                self.used += weight;
                true
            }
            _ => false,
        }
    }

    /// A thousandth of the window at most.
    fn longest_run(&self) -> u64 {
        RUN.min(self.longest >> 10)
    }

    /// Takes out the call that asked for so many permits at a time, if it is still in the window. Of
    /// several that did it does not matter which.
    #[inline]
    pub(super) fn take_call(&mut self, asked: Time, weight: u64) -> Option<Call> {
        let is_it = |call: &Call| call.asked == asked && call.weight == weight;
        if self.running.front().is_some_and(is_it) {
            return self.running.pop_front();
        }
        let place = self.running.iter().position(is_it)?;
        self.running.remove(place)
    }

    /// Records when the permits leave of a call that was [taken out](Self::take_call), with `now` as
    /// of the last [`expire`](Self::expire). Returns when they would have left.
    #[inline]
    pub(super) fn end(&mut self, call: &Call, leaves: Time, now: Time) -> Time {
        let latest = self.latest_of(call);
        if leaves > now {
            self.put(leaves, call.total);
        } else {
            self.used -= call.total;
        }
        if latest <= self.next_leaves {
            self.find_next();
        }
        latest
    }

    /// From now on permits stay for that much longer, or shorter, those in the window too, and those
    /// of a call that does not end for `longest`.
    pub(super) fn change(&mut self, longer: u64, shorter: u64, longest: u64) {
        for stamp in &mut self.leaving {
            let leaves = stamp.leaves.as_nanos().saturating_add(longer);
            stamp.leaves = Time::from_nanos(leaves.saturating_sub(shorter));
        }
        self.longest = longest;
        self.last_leaves = self.leaving.back().map_or(Time::default(), |it| it.leaves);
        self.find_next();
    }
}

fn shrink<T>(kept: &mut VecDeque<T>) {
    if kept.capacity() > SMALLEST_CAPACITY && kept.len() < kept.capacity() / 8 {
        kept.shrink_to((kept.len() * 2).max(SMALLEST_CAPACITY));
    }
}

/// The permits of a [`Window`] in the order in which they leave.
#[derive(Debug, Clone)]
pub(super) struct InOrder<'a> {
    leaving: Peekable<vec_deque::Iter<'a, Stamp>>,
    running: Peekable<vec_deque::Iter<'a, Call>>,
    stays: u64,
}

impl InOrder<'_> {
    /// When the last of them leaves.
    pub(super) fn last_leaves(&self) -> Time {
        let known = self.leaving.clone().next_back().map(|it| it.leaves);
        let running = self.running.clone().next_back();
        let running = running.map(|call| call.started.plus_nanos(self.stays));
        known.max(running).unwrap_or_default()
    }
}

impl Iterator for InOrder<'_> {
    type Item = Stamp;

    fn next(&mut self) -> Option<Stamp> {
        let running = self.running.peek().map(|call| Stamp {
            leaves: call.started.plus_nanos(self.stays),
            weight: call.total,
        });
        match (self.leaving.peek(), running) {
            (Some(known), Some(call)) if call.leaves < known.leaves => {
                self.running.next();
                Some(call)
            }
            (Some(_), _) => self.leaving.next().copied(),
            (None, call) => {
                self.running.next();
                call
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    /// What is used at each of the times, in their order.
    fn used_at(window: &mut Window, times: &[u64]) -> Vec<u64> {
        let used = times.iter().map(|now| {
            window.expire(at(*now));
            window.used()
        });
        used.collect()
    }

    #[test]
    fn permits_leave_each_at_its_time() {
        let mut window = Window::new(100);
        for (leaves, weight) in [(110, 1), (120, 5), (120, 2), (130, 1)] {
            window.stamp(at(leaves), weight);
        }
        let used = used_at(&mut window, &[109, 110, 119, 120, 129, 130, 999]);
        assert_eq!(used, [9, 8, 8, 1, 1, 0, 0]);
    }

    #[test]
    fn short_calls_that_follow_each_other_leave_together() {
        let mut window = Window::new(1 << 30);
        window.begin(at(5), at(10), 1);
        assert!(!window.follow(at(6), at(20), at(20), 1), "not of that call");
        assert!(window.follow(at(5), at(20), at(20), 2));
        assert!(window.follow(at(20), at(90), at(90), 4));
        assert_eq!(window.used(), 7);
        assert!(
            !window.follow(at(90), at(10 + RUN), at(10 + RUN), 1),
            "a new run"
        );
        let last = window.take_call(at(90), 4);
        last.map(|last| window.end(&last, at(RUN * 2), at(10 + RUN)));
        let used = used_at(&mut window, &[RUN * 2 - 1, RUN * 2]);
        assert_eq!(used, [7, 0]);
        // Two that run at the same time are no run.
        window.begin(at(RUN * 3), at(RUN * 3), 1);
        window.begin(at(RUN * 3 + 1), at(RUN * 3 + 1), 1);
        let next = at(RUN * 3 + 2);
        assert!(!window.follow(at(RUN * 3), next, next, 1));
    }

    #[test]
    fn permits_leave_in_another_order_than_they_came() {
        let mut window = Window::new(100);
        for (leaves, weight) in [(130, 1), (110, 2), (120, 4), (110, 8), (125, 16)] {
            window.stamp(at(leaves), weight);
        }
        let used = used_at(&mut window, &[109, 110, 120, 125, 130]);
        assert_eq!(used, [31, 21, 17, 1, 0]);
    }

    #[test]
    fn a_call_stays_longest_unless_it_ends() {
        let mut window = Window::new(100);
        window.begin(at(9), at(10), 1);
        window.begin(at(11), at(11), 2);
        window.begin(at(12), at(12), 4);
        assert!(
            window.take_call(at(10), 1).is_none(),
            "known by when it asked"
        );
        assert!(window.take_call(at(11), 1).is_none(), "and for how many");
        let ended = window.take_call(at(11), 2).map(|call| {
            assert_eq!(call.started, at(11));
            window.end(&call, at(80), at(20))
        });
        assert_eq!(ended, Some(at(111)));
        let order: Vec<_> = window.at_the_latest().map(|it| it.weight).collect();
        assert_eq!(order, [2, 1, 4]);
        assert_eq!(used_at(&mut window, &[79, 80, 109]), [7, 5, 5]);
        assert!(window.expire(at(110)), "one of them runs still");
        assert_eq!(used_at(&mut window, &[111, 112]), [4, 0]);
        assert!(window.take_call(at(12), 4).is_none(), "it has left already");
    }

    #[test]
    fn one_that_ends_when_its_time_is_over_leaves_at_once() {
        let mut window = Window::new(100);
        window.begin(at(10), at(10), 3);
        window.expire(at(90));
        if let Some(call) = window.take_call(at(10), 3) {
            window.end(&call, at(90), at(90));
        }
        assert_eq!(window.used(), 0);
        assert_eq!(window.next_leaves, Time::NEVER);
    }

    #[test]
    fn a_change_moves_what_is_in_the_window() {
        let mut window = Window::new(100);
        window.stamp(at(90), 1);
        window.begin(at(10), at(10), 2);
        window.change(50, 0, 150);
        assert_eq!(used_at(&mut window, &[139, 140, 159]), [3, 2, 2]);
        window.stamp(at(300), 4);
        window.change(0, 120, 30);
        assert_eq!(used_at(&mut window, &[160, 179, 180]), [4, 4, 0]);
    }

    #[test]
    fn memory_follows_the_permits_in_the_window() {
        let mut window = Window::new(1_000_000);
        for time in 0..1_000_000 {
            window.stamp(at(time + 1_000_000), 1);
        }
        assert_eq!(size_of::<Stamp>(), 16);
        assert!(window.leaving.capacity() < 2_100_000);
        for time in 1_000_000..5_000_000 {
            window.expire(at(time));
            window.stamp(at(time + 1_000_000), 1);
        }
        assert!(window.leaving.capacity() < 2_100_000);
        window.expire(at(5_990_000));
        assert_eq!(window.used(), 9_999);
        assert!(window.leaving.capacity() < 100_000);
        window.expire(at(9_000_000));
        assert!(window.leaving.capacity() <= 2 * SMALLEST_CAPACITY);
    }

    #[test]
    fn permits_of_one_instant_are_one_stamp() {
        let mut window = Window::new(100);
        for _ in 0..1000 {
            window.stamp(at(107), 3);
        }
        let leaves = at(107);
        let all = [Stamp {
            leaves,
            weight: 3000,
        }];
        assert_eq!(window.at_the_latest().collect::<Vec<_>>(), all);
    }
}
