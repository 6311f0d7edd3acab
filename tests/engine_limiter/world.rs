//! Limiters beside their models, and the steps that are taken with both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::limiter::{Limiter, Ticket, Turn};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;
use proptest::prelude::*;

use super::model::{Model, Setting, UNIT, at};

pub(crate) fn signalled(signal: &Signal) -> bool {
    signal.wait_until(Time::default())
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Idle(u64),
    TryAcquire {
        limiter: usize,
        weight: u64,
        clock_behind: u64,
    },
    Enqueue {
        limiter: usize,
        weight: u64,
    },
    TryStart {
        ticket: usize,
        clock_behind: u64,
    },
    Leave {
        ticket: usize,
    },
    Aside {
        ticket: usize,
    },
    Pause {
        limiter: usize,
        length: u64,
    },
    WaitTime {
        limiter: usize,
        weight: u64,
    },
}

struct Waiting {
    ticket: Ticket,
    signal: Arc<Signal>,
    parts: Vec<usize>,
    weight: u64,
    /// It lets others go first until it is tried again.
    aside: bool,
}

impl Waiting {
    /// Whether one who came later must wait for this one, for one of `parts`.
    fn is_ahead(&self, parts: &[usize]) -> bool {
        !self.aside && self.parts.iter().any(|part| parts.contains(part))
    }
}

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
    pub(crate) fn new(settings: [Setting; 3]) -> Self {
        let singles = settings.map(|setting| Limiter::new(setting.rate()));
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

    fn queue_is_empty(&self, parts: &[usize]) -> bool {
        !self.waiting.values().any(|other| other.is_ahead(parts))
    }

    fn is_first(&self, came: usize) -> bool {
        let parts = &self.waiting[&came].parts;
        let mut before = self.waiting.range(..came);
        !before.any(|(_, other)| other.is_ahead(parts))
    }

    /// When each part first permits `weight`, if that is not now.
    fn due(&self, parts: &[usize], weight: u64) -> Option<u64> {
        parts
            .iter()
            .map(|part| &self.models[*part])
            .filter(|model| !model.permits_at(weight, model.latest))
            .map(|model| model.first_time(weight))
            .max()
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
        let waiting = self.waiting.get_mut(&came).unwrap();
        waiting.aside = false;
        let (parts, weight) = (waiting.parts.clone(), waiting.weight);
        let first = self.is_first(came);
        // One who is not first does not look at the clock of the rates.
        if first {
            self.read_clock(&parts, now);
        }
        let expected = match self.due(&parts, weight) {
            _ if !first => Turn::Behind,
            None => Turn::Ready,
            Some(due) => Turn::At(at(due)),
        };
        let ticket = &mut self.waiting.get_mut(&came).unwrap().ticket;
        prop_assert_eq!(ticket.turn(at(now)), expected);
        prop_assert_eq!(ticket.try_start(at(now)), expected);
        if expected == Turn::Ready {
            self.give(&parts, weight, true);
            self.remove(came)?;
        }
        Ok(expected)
    }

    /// Takes a ticket out.
    fn remove(&mut self, came: usize) -> Result<(), TestCaseError> {
        self.tells_new_heads(|world| drop(world.waiting.remove(&came)))
    }

    /// Everybody whose turn can only have come by `change` must have been told.
    fn tells_new_heads(&mut self, change: impl FnOnce(&mut Self)) -> Result<(), TestCaseError> {
        let behind: Vec<_> = self
            .waiting
            .keys()
            .copied()
            .filter(|other| !self.is_first(*other))
            .collect();
        change(self);
        for other in behind {
            if self.waiting.get(&other).is_some_and(|other| !other.aside) && self.is_first(other) {
                let told = signalled(&self.waiting[&other].signal);
                prop_assert!(told, "the new head was not told");
            }
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
                let now = self.now - clock_behind;
                let free = self.queue_is_empty(&parts);
                if free {
                    self.read_clock(&parts, now);
                }
                let expected = free && self.due(&parts, weight).is_none();
                prop_assert_eq!(limiter.try_acquire(weight, at(now)), expected);
                if expected {
                    self.give(&parts, weight, false);
                }
            }
            Step::Enqueue { limiter, weight } => {
                let (parts, limiter, weight) = self.limiter(limiter, weight);
                let signal = Arc::new(Signal::default());
                let ticket = limiter.enqueue(weight, Arc::clone(&signal));
                self.waiting.insert(
                    self.came,
                    Waiting {
                        ticket,
                        signal,
                        parts,
                        weight,
                        aside: false,
                    },
                );
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
                if let Some(came) = self.chosen(ticket) {
                    self.remove(came)?;
                }
            }
            Step::Aside { ticket } => {
                if let Some(came) = self.chosen(ticket) {
                    self.tells_new_heads(|world| {
                        let waiting = world.waiting.get_mut(&came).unwrap();
                        waiting.ticket.step_aside();
                        waiting.aside = true;
                    })?;
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
                let latest = parts
                    .iter()
                    .map(|part| self.models[*part].paused_until)
                    .max();
                prop_assert_eq!(limiter.paused_until(), at(latest.unwrap()));
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

    /// Lets everybody who waits for the part go first, each as early as may be.
    fn wait_time(&self, part: usize, weight: u64) -> u64 {
        let mut model = self.models[part].clone();
        for ahead in self
            .waiting
            .values()
            .filter(|other| other.is_ahead(&[part]))
        {
            model.latest = model.first_time(ahead.weight);
            model.give(ahead.weight, true);
        }
        model.first_time(weight).saturating_sub(self.now)
    }

    /// Everybody starts in the end, woken by nothing but signals and times they were told.
    pub(crate) fn drain(&mut self) -> Result<(), TestCaseError> {
        let mut wakes: BTreeMap<usize, Time> = self
            .waiting
            .keys()
            .map(|came| (*came, Time::default()))
            .collect();
        while !self.waiting.is_empty() {
            let awake = self
                .waiting
                .iter()
                .find(|(came, waiting)| signalled(&waiting.signal) || wakes[came] <= at(self.now));
            let Some((&came, _)) = awake else {
                let next = wakes.values().min().copied().unwrap_or(Time::NEVER);
                prop_assert!(
                    next != Time::NEVER,
                    "everybody waits and nobody will be told"
                );
                self.now = next.as_nanos();
                continue;
            };
            match self.try_start(came, self.now)? {
                Turn::Ready => {
                    wakes.remove(&came);
                    // The check of the model took the signals of those that are first now.
                    for (other, wake) in &mut wakes {
                        if self.is_first(*other) {
                            *wake = Time::default();
                        }
                    }
                }
                Turn::At(due) => *wakes.get_mut(&came).unwrap() = due,
                Turn::Behind => *wakes.get_mut(&came).unwrap() = Time::NEVER,
            }
        }
        Ok(())
    }
}

pub(crate) fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..12_u64).prop_map(|units| units * UNIT),
        4 => 0..12 * UNIT,
        1 => (0..400_u64).prop_map(|units| units * UNIT),
    ]
}

pub(crate) fn setting() -> impl Strategy<Value = Setting> {
    (1..8_u64, 1..100_u64, 0..8_u64, prop::option::of(0..8_u64)).prop_map(
        |(limit, per, margin, burst)| Setting {
            limit,
            per: per * UNIT,
            margin: margin * UNIT,
            burst: burst.map(|burst| 1 + burst % limit),
        },
    )
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let behind = prop_oneof![3 => Just(0), 1 => 0..8 * UNIT];
    let any = 0..1000_usize;
    prop_oneof![
        6 => length().prop_map(Step::Idle),
        6 => (any.clone(), any_weight(), behind.clone()).prop_map(
            |(limiter, weight, clock_behind)| Step::TryAcquire { limiter, weight, clock_behind }
        ),
        3 => (any.clone(), any_weight())
            .prop_map(|(limiter, weight)| Step::Enqueue { limiter, weight }),
        6 => (any.clone(), behind)
            .prop_map(|(ticket, clock_behind)| Step::TryStart { ticket, clock_behind }),
        1 => any.clone().prop_map(|ticket| Step::Leave { ticket }),
        1 => any.clone().prop_map(|ticket| Step::Aside { ticket }),
        1 => (any.clone(), length())
            .prop_map(|(limiter, length)| Step::Pause { limiter, length }),
        2 => (any, any_weight())
            .prop_map(|(limiter, weight)| Step::WaitTime { limiter, weight }),
    ]
}

fn any_weight() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 1 => 0..8_u64]
}
