//! Limiters beside their models, and the steps that are taken with both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::limiter::{Limiter, Turn};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;
use proptest::prelude::*;

use super::model::{Model, Setting, at};
use super::steps::Step;
use super::store::Store;
use super::waiting::{Hold, Waiting, signalled};

/// The limiter and its model, side by side.
pub(crate) struct World {
    pub(crate) models: Vec<Model>,
    limiters: Vec<(Vec<usize>, Limiter)>,
    /// By the order of their coming.
    waiting: BTreeMap<usize, Waiting>,
    came: usize,
    now: u64,
}

impl World {
    /// Three rates, and every combination of them.
    pub(crate) fn new(settings: [Setting; 3], store: &Store) -> Self {
        let singles = settings.map(|setting| store.limiter(setting.rate()));
        let limiters = (1..8_usize)
            .map(|set| {
                let parts: Vec<_> = (0..3).filter(|part| set & (1 << part) != 0).collect();
                // Combined in the other order than they were made in, and one of them twice.
                let named = parts
                    .iter()
                    .rev()
                    .chain(&parts[..1])
                    .map(|part| &singles[*part]);
                let limiter = Limiter::all_of(named);
                (parts, limiter)
            })
            .collect();
        let models = settings.map(Model::new).to_vec();
        Self {
            models,
            limiters,
            waiting: BTreeMap::new(),
            came: 0,
            now: 1_000_000_000,
        }
    }

    fn limiter(&self, chosen: usize, weight: u64) -> (Vec<usize>, Limiter, u64) {
        let (parts, limiter) = self.limiters[chosen % self.limiters.len()].clone();
        let largest = parts
            .iter()
            .map(|part| self.models[*part].setting.largest_weight())
            .min();
        assert_eq!(largest, Some(limiter.largest_weight()));
        (parts, limiter, 1 + weight % largest.unwrap())
    }

    fn read_clock(&mut self, parts: &[usize], now: u64) {
        for part in parts {
            self.models[*part].latest = self.models[*part].latest.max(now);
        }
    }

    /// Those who came before and wait for the rate: their weights, and how they hold it.
    fn ahead(&self, part: usize, came: usize) -> impl Iterator<Item = (u64, Hold)> {
        let before = self.waiting.range(..came);
        before.filter_map(move |(_, other)| Some((other.weight, *other.holds.get(&part)?)))
    }

    /// Whether somebody is ahead who waits for this rate itself.
    fn is_behind(&self, part: usize, came: usize) -> bool {
        self.ahead(part, came).any(|(_, hold)| hold == Hold::Firm)
    }

    /// What those ahead have reserved, each with its time, in the order of that.
    fn reserved(&self, part: usize, came: usize) -> Vec<(u64, u64)> {
        let ahead = self.ahead(part, came);
        let reserved = ahead.filter_map(|(weight, hold)| match hold {
            Hold::Reserved(start) => Some((start, weight)),
            Hold::Firm | Hold::Released => None,
        });
        let mut reserved: Vec<_> = reserved.collect();
        reserved.sort_by_key(|(start, _)| *start);
        reserved
    }

    /// Whether those ahead leave the rate to one who starts at `start`.
    fn lets_in(
        &self,
        part: usize,
        came: usize,
        weight: u64,
        (start, now): (u64, u64),
        queued: bool,
    ) -> bool {
        let mut model = self.models[part].clone();
        let reserved = self.reserved(part, came);
        let before = |(time, _): &&(u64, u64)| start > now && *time <= start;
        let before = reserved.iter().take_while(before).count();
        for (time, weight) in &reserved[..before] {
            model.give_from(*time, *weight, true);
        }
        !self.is_behind(part, came) && model.keeps(&reserved[before..], (start, weight), queued)
    }

    /// When each part first permits `weight`.
    fn due(&self, parts: &[usize], weight: u64, now: u64) -> Vec<u64> {
        let due = parts.iter().map(|part| {
            let model = &self.models[*part];
            if model.permits_at(weight, model.latest) {
                now
            } else {
                model.first_time(weight)
            }
        });
        due.collect()
    }

    fn give(&mut self, parts: &[usize], weight: u64, queued: bool) {
        for part in parts {
            self.models[*part].give(weight, queued);
        }
    }

    fn chosen(&self, ticket: usize) -> Option<usize> {
        let came: Vec<_> = self.waiting.keys().copied().collect();
        (!came.is_empty()).then(|| came[ticket % came.len()])
    }

    /// Tries one ticket, and takes it out when it started.
    fn try_start(&mut self, came: usize, now: u64) -> Result<Turn, TestCaseError> {
        let waiting = &self.waiting[&came];
        let (parts, weight) = (waiting.parts(), waiting.weight);
        self.read_clock(&parts, now);
        let due = self.due(&parts, weight, now);
        let start = due.iter().copied().max().unwrap();
        let free = |part: &usize| self.lets_in(*part, came, weight, (start, now), true);
        let free: Vec<_> = parts.iter().map(free).collect();
        let expected = if free.contains(&false) {
            Turn::Behind
        } else if start > now {
            Turn::At(at(start))
        } else {
            Turn::Ready
        };
        let hold = |(due, free): (&u64, &bool)| match expected {
            Turn::Behind if *free => Hold::Released,
            Turn::At(_) if *due < start => Hold::Reserved(start),
            _ => Hold::Firm,
        };
        let holds = due.iter().zip(&free).map(hold);
        let holds = parts.iter().copied().zip(holds).collect();
        let behind = parts
            .iter()
            .copied()
            .filter(|part| self.is_behind(*part, came));
        let behind = behind.collect();
        let is_first = parts
            .iter()
            .all(|part| self.ahead(*part, came).next().is_none());
        let latest = parts.iter().map(|part| self.models[*part].latest).max();

        let waiting = self.waiting.get_mut(&came).unwrap();
        if let Some(promised) = waiting.promised {
            let late = start > promised && Some(start) > latest;
            prop_assert!(!late, "promised {promised}, made late until {start}");
        }
        waiting.promised = is_first.then_some(start);
        (waiting.told, waiting.holds, waiting.behind) = (false, holds, behind);
        // To look before changes nothing.
        if came.is_multiple_of(2) {
            prop_assert_eq!(waiting.ticket.turn(at(now)), expected);
        }
        prop_assert_eq!(waiting.ticket.try_start(at(now)), expected);
        if expected == Turn::Ready {
            self.give(&parts, weight, true);
            self.waiting.remove(&came);
        }
        self.check_told(parts.len())?;
        Ok(expected)
    }

    /// Everybody whose turn can only have come by what was changed must have been told, and of each
    /// rate that it was changed at one at most.
    fn check_told(&mut self, changed: usize) -> Result<(), TestCaseError> {
        let mut told = 0;
        for waiting in self.waiting.values_mut() {
            let signalled = signalled(&waiting.signal);
            told += usize::from(signalled);
            waiting.told |= signalled;
        }
        prop_assert!(told <= changed, "{told} were told of {changed} changes");
        for (came, waiting) in &self.waiting {
            let mut behind = waiting.behind.iter();
            let missed = !waiting.told && behind.any(|part| !self.is_behind(*part, *came));
            prop_assert!(!missed, "the next one was not told");
        }
        Ok(())
    }

    fn try_acquire(
        &mut self,
        parts: &[usize],
        limiter: &Limiter,
        weight: u64,
        clock_behind: u64,
    ) -> Result<(), TestCaseError> {
        let now = self.now - clock_behind;
        let wait = (clock_behind == 0).then(|| limiter.wait_time(weight, at(now)));
        if wait.is_some() {
            self.read_clock(parts, now);
        }
        let mut expected = true;
        for part in parts {
            // The first that is not free is the last that is looked at.
            if expected {
                self.read_clock(&[*part], now);
                expected = self.due(&[*part], weight, now) == [now]
                    && self.lets_in(*part, usize::MAX, weight, (now, now), false);
            }
        }
        // Both say the same, unless somebody is about to start.
        let starts = |part: &usize| {
            let reserved = self.reserved(*part, usize::MAX);
            self.is_behind(*part, usize::MAX)
                || reserved.first().is_some_and(|(time, _)| *time <= now)
        };
        if let Some(wait) = wait
            && !parts.iter().any(starts)
        {
            prop_assert_eq!(wait.is_zero(), expected);
        }
        prop_assert_eq!(limiter.is_free(weight, at(now)), expected);
        prop_assert_eq!(limiter.try_acquire(weight, at(now)), expected);
        if expected {
            self.give(parts, weight, false);
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Idle(length) => self.now += length,
            Step::TryAcquire {
                limiter,
                weight,
                clock_behind,
            } => {
                let (parts, limiter, weight) = self.limiter(limiter, weight);
                self.try_acquire(&parts, &limiter, weight, clock_behind)?;
            }
            Step::Enqueue { limiter, weight } => {
                let (parts, limiter, weight) = self.limiter(limiter, weight);
                let signal = Arc::new(Signal::default());
                let ticket = limiter.enqueue(weight, Arc::clone(&signal));
                let waiting = Waiting {
                    ticket,
                    signal,
                    weight,
                    holds: parts.into_iter().map(|part| (part, Hold::Firm)).collect(),
                    behind: Vec::new(),
                    told: false,
                    promised: None,
                };
                self.waiting.insert(self.came, waiting);
                self.came += 1;
            }
            Step::TryStart {
                ticket,
                clock_behind,
            } => {
                if let Some(came) = self.chosen(ticket) {
                    self.try_start(came, self.now - clock_behind)?;
                }
            }
            Step::Leave { ticket } => {
                if let Some(waiting) = self
                    .chosen(ticket)
                    .and_then(|came| self.waiting.remove(&came))
                {
                    let changed = waiting.holds.len();
                    drop(waiting);
                    self.check_told(changed)?;
                }
            }
            Step::Aside { ticket } => {
                if let Some(came) = self.chosen(ticket) {
                    let waiting = self.waiting.get_mut(&came).unwrap();
                    waiting.ticket.step_aside();
                    waiting
                        .holds
                        .values_mut()
                        .for_each(|hold| *hold = Hold::Released);
                    (waiting.behind, waiting.promised) = (Vec::new(), None);
                    let changed = waiting.holds.len();
                    self.check_told(changed)?;
                }
            }
            Step::Pause { limiter, length } => {
                let (parts, limiter, _) = self.limiter(limiter, 0);
                let until = self.now + length;
                self.read_clock(&parts, self.now);
                limiter.pause_until(at(until), at(self.now));
                for part in &parts {
                    let model = &mut self.models[*part];
                    model.paused_until = model.paused_until.max(until);
                }
                for waiting in self.waiting.values_mut() {
                    waiting.promised = None;
                    // What it keeps at another rate may not be needed by the time of this one.
                    let concerned = parts.iter().any(|part| waiting.holds.contains_key(part));
                    let told = concerned && waiting.holds.len() > 1;
                    prop_assert_eq!(signalled(&waiting.signal), told);
                    waiting.told |= told;
                }
            }
            Step::WaitTime { limiter, weight } => {
                let (parts, limiter, weight) = self.limiter(limiter, weight);
                self.read_clock(&parts, self.now);
                let expected = parts.iter().map(|part| self.wait_time(*part, weight)).max();
                let wait = limiter.wait_time(weight, at(self.now));
                prop_assert_eq!(wait, Duration::from_nanos(expected.unwrap()));
            }
        }
        Ok(())
    }

    /// Lets everybody go first who waits for the part, each as early as may be, and of those who wait
    /// for another one whoever comes before or would be made late.
    fn wait_time(&self, part: usize, weight: u64) -> u64 {
        let mut model = self.models[part].clone();
        let now = model.latest;
        let mut reserved = Vec::new();
        let ahead = self.ahead(part, usize::MAX).map(|ahead| (ahead, true));
        for ((weight, hold), queued) in ahead.chain([((weight, Hold::Firm), false)]) {
            match hold {
                Hold::Released => {}
                Hold::Reserved(start) => reserved.push((start, weight)),
                Hold::Firm => {
                    reserved.sort_by_key(|(start, _)| *start);
                    while let Some((start, theirs)) = reserved.first().copied() {
                        let due = model.first_time(weight);
                        let before = due > now && due >= start;
                        if !before && model.keeps(&reserved, (0, weight), queued) {
                            break;
                        }
                        reserved.remove(0);
                        model.give_from(start, theirs, true);
                    }
                    model.give_from(0, weight, queued);
                }
            }
        }
        model.latest.saturating_sub(self.now)
    }

    /// Everybody starts in the end, woken by nothing but signals and times they were told.
    pub(crate) fn drain(&mut self) -> Result<(), TestCaseError> {
        let mut wakes: BTreeMap<usize, Time> = self
            .waiting
            .keys()
            .map(|came| (*came, Time::default()))
            .collect();
        for _ in 0..100 * (1 + self.waiting.len()) {
            if self.waiting.is_empty() {
                break;
            }
            let awake = self
                .waiting
                .iter()
                .find(|(came, waiting)| waiting.told || wakes[came] <= at(self.now));
            let Some((&came, _)) = awake else {
                let next = self.waiting.keys().map(|came| wakes[came]).min();
                let next = next.unwrap_or(Time::NEVER);
                prop_assert!(
                    next != Time::NEVER,
                    "everybody waits and nobody will be told"
                );
                self.now = next.as_nanos();
                continue;
            };
            let wake = match self.try_start(came, self.now)? {
                Turn::Ready | Turn::Behind => Time::NEVER,
                Turn::At(due) => due,
            };
            wakes.insert(came, wake);
        }
        prop_assert!(self.waiting.is_empty(), "they look and look");
        Ok(())
    }
}
