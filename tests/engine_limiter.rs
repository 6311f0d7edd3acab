//! Random histories of a limiter against a model that keeps a plain list of times.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::limiter::{Limiter, Rate, Ticket, Turn};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;
use proptest::prelude::*;

/// Coarse enough that histories often meet at the same instant, and a quarter of the lateness
/// that pacing makes up for.
const UNIT: u64 = 250_000;
const TOLERANCE: u64 = 1_000_000;

fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

fn signalled(signal: &Signal) -> bool {
    signal.wait_until(Time::default())
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    limit: u64,
    per: u64,
    margin: u64,
    burst: Option<u64>,
}

impl Setting {
    fn rate(self) -> Rate {
        Rate::new(
            self.limit,
            Duration::from_nanos(self.per),
            self.burst,
            Some(Duration::from_nanos(self.margin)),
        )
        .unwrap()
    }

    fn largest_weight(self) -> u64 {
        self.burst.unwrap_or(self.limit)
    }

    fn interval(self) -> u64 {
        self.per.div_ceil(self.limit)
    }
}

/// One rate, told by the list of everything it ever permitted.
#[derive(Debug, Clone)]
struct Model {
    setting: Setting,
    permits: Vec<(u64, u64)>,
    earned: u64,
    paused_until: u64,
    latest: u64,
}

impl Model {
    fn new(setting: Setting) -> Self {
        Self {
            setting,
            permits: Vec::new(),
            earned: 0,
            paused_until: 0,
            latest: 0,
        }
    }

    fn paced_from(&self, weight: u64) -> u64 {
        self.setting.burst.map_or(0, |burst| {
            let interval = self.setting.interval();
            (self.earned + (weight - 1) * interval).saturating_sub((burst - 1) * interval)
        })
    }

    fn permits_at(&self, weight: u64, time: u64) -> bool {
        let span = self.setting.per + self.setting.margin;
        let used: u64 = self
            .permits
            .iter()
            .filter(|(given, _)| given + span > time)
            .map(|(_, weight)| weight)
            .sum();
        time >= self.paused_until
            && time >= self.paced_from(weight)
            && used + weight <= self.setting.limit
    }

    /// The first time from now on that it permits `weight`: permission only ever begins when a
    /// permit leaves the window, the pause ends or the pace allows it.
    fn first_time(&self, weight: u64) -> u64 {
        let span = self.setting.per + self.setting.margin;
        let changes = self.permits.iter().map(|(given, _)| given + span);
        changes
            .chain([self.latest, self.paused_until, self.paced_from(weight)])
            .filter(|time| *time >= self.latest && self.permits_at(weight, *time))
            .min()
            .unwrap()
    }

    fn give(&mut self, weight: u64, queued: bool) {
        let now = self.latest;
        let interval = self.setting.interval();
        let tolerance = if queued {
            TOLERANCE.max(interval / 2)
        } else {
            TOLERANCE
        };
        let on_time = now - self.paced_from(weight) <= tolerance;
        let booked = if now > self.earned && on_time {
            self.earned
        } else {
            now
        };
        self.earned = self.earned.max(booked) + weight * interval;
        self.permits.push((now, weight));
    }

    /// What must hold whatever the model thinks.
    fn check_history(&self) -> Result<(), TestCaseError> {
        let span = self.setting.per + self.setting.margin;
        for (first, (start, _)) in self.permits.iter().enumerate() {
            let mut sum = 0;
            for (end, weight) in &self.permits[first..] {
                prop_assert!(end >= start, "permits out of order");
                sum += weight;
                let elapsed = end - start;
                if elapsed < span {
                    prop_assert!(sum <= self.setting.limit, "{sum} permits in {elapsed} ns");
                }
                if let Some(burst) = self.setting.burst {
                    let interval = self.setting.interval();
                    let made_up = TOLERANCE.max(interval / 2);
                    let paced = burst + (elapsed + made_up) / interval;
                    prop_assert!(sum <= paced, "{sum} permits paced in {elapsed} ns");
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
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
}

/// The limiter and its model, side by side.
struct World {
    models: Vec<Model>,
    limiters: Vec<(Vec<usize>, Limiter)>,
    /// By the order of their coming.
    waiting: BTreeMap<usize, Waiting>,
    came: usize,
    now: u64,
}

impl World {
    /// Three rates, and every combination of them.
    fn new(settings: [Setting; 3]) -> Self {
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
        !self
            .waiting
            .values()
            .any(|other| other.parts.iter().any(|part| parts.contains(part)))
    }

    fn is_first(&self, came: usize) -> bool {
        let parts = &self.waiting[&came].parts;
        !self
            .waiting
            .range(..came)
            .any(|(_, other)| other.parts.iter().any(|part| parts.contains(part)))
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
        let Waiting { parts, weight, .. } = &self.waiting[&came];
        let (parts, weight) = (parts.clone(), *weight);
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

    /// Takes a ticket out. Everybody whose turn can only have come by it must have been told.
    fn remove(&mut self, came: usize) -> Result<(), TestCaseError> {
        let behind: Vec<_> = self
            .waiting
            .keys()
            .copied()
            .filter(|other| !self.is_first(*other))
            .collect();
        self.waiting.remove(&came);
        for other in behind {
            if self.waiting.contains_key(&other) && self.is_first(other) {
                let told = signalled(&self.waiting[&other].signal);
                prop_assert!(told, "the new head was not told");
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
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
            Step::Pause { limiter, length } => {
                let (parts, limiter, _) = self.limiter(limiter, 0);
                let until = self.now + length;
                limiter.pause_until(at(until));
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
            .filter(|other| other.parts.contains(&part))
        {
            model.latest = model.first_time(ahead.weight);
            model.give(ahead.weight, true);
        }
        model.first_time(weight).saturating_sub(self.now)
    }

    /// Everybody starts in the end, woken by nothing but signals and times they were told.
    fn drain(&mut self) -> Result<(), TestCaseError> {
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

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..12_u64).prop_map(|units| units * UNIT),
        4 => 0..12 * UNIT,
        1 => (0..400_u64).prop_map(|units| units * UNIT),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    (1..8_u64, 1..100_u64, 0..8_u64, prop::option::of(0..8_u64)).prop_map(
        |(limit, per, margin, burst)| Setting {
            limit,
            per: per * UNIT,
            margin: margin * UNIT,
            burst: burst.map(|burst| 1 + burst % limit),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
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
        1 => (any.clone(), length())
            .prop_map(|(limiter, length)| Step::Pause { limiter, length }),
        2 => (any, any_weight())
            .prop_map(|(limiter, weight)| Step::WaitTime { limiter, weight }),
    ]
}

fn any_weight() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 1 => 0..8_u64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_is_the_models(
        settings in [setting(), setting(), setting()],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(settings);
        for step in &steps {
            world.step(step)?;
        }
        world.drain()?;
        for model in &world.models {
            model.check_history()?;
        }
    }

    /// Whatever the server refuses, an adaptive limiter keeps its limit and nobody waits for ever.
    #[test]
    fn an_adaptive_limit_is_never_exceeded(
        setting in setting(),
        steps in prop::collection::vec((length(), 0..8_u64, 0..6_u32), 1..80),
    ) {
        let limiter = Limiter::new(setting.rate().adaptive().unwrap());
        let mut model = Model::new(setting);
        let mut now = 1_000_000_000;
        for (idle, weight, refused) in steps {
            now += idle;
            if refused == 0 {
                limiter.slow_down(at(now));
            }
            let weight = 1 + weight % setting.largest_weight();
            let mut ticket = limiter.enqueue(weight, Arc::default());
            let foreseen = foreseen(&ticket, now);
            let mut turns = 0;
            loop {
                match ticket.try_start(at(now)) {
                    Turn::Ready => break,
                    Turn::At(due) => {
                        prop_assert!(due > at(now), "told to wait for the past");
                        now = due.as_nanos();
                    }
                    Turn::Behind => prop_assert!(false, "nobody is ahead"),
                }
                turns += 1;
                prop_assert!(turns < 50, "waits for ever");
            }
            prop_assert!(at(now) == foreseen, "foreseen {foreseen:?}, granted at {now}");
            model.permits.push((now, weight));
            let effective = limiter.effective_limit(at(now));
            prop_assert!((1..=setting.limit).contains(&effective));
        }
        // The pace is kept too, and at the full limit it is no faster than without cuts.
        model.check_history()?;
    }
}

fn foreseen(ticket: &Ticket, now: u64) -> Time {
    match ticket.turn(at(now)) {
        Turn::Ready => at(now),
        Turn::At(due) => due,
        Turn::Behind => Time::NEVER,
    }
}

#[test]
fn a_huge_limit_costs_nothing_until_it_is_used() {
    let rate = Rate::new(Rate::LARGEST_LIMIT, Duration::from_secs(1), None, None).unwrap();
    let limiter = Limiter::new(rate);
    assert!(limiter.try_acquire(Rate::LARGEST_LIMIT, at(5)));
    assert!(!limiter.try_acquire(1, at(5)));
    assert!(!limiter.try_acquire(Rate::LARGEST_LIMIT, at(5)));
    assert_eq!(limiter.wait_time(1, at(5)), Duration::from_millis(1010));
}

#[test]
fn more_than_the_rate_ever_allows_is_never_granted() {
    let second = Duration::from_secs(1);
    let whole = Limiter::new(Rate::new(5, second, None, None).unwrap());
    let paced = Limiter::new(Rate::new(5, second, Some(2), None).unwrap());
    for (limiter, weight) in [
        (&whole, 6),
        (&whole, u64::MAX),
        (&paced, 3),
        (&Limiter::all_of([&whole, &paced]), 3),
    ] {
        assert!(weight > limiter.largest_weight());
        assert!(!limiter.try_acquire(weight, at(1)));
        assert_eq!(limiter.wait_time(weight, at(1)), Time::NEVER.since(at(1)));
        let mut ticket = limiter.enqueue(weight, Arc::default());
        assert_eq!(ticket.try_start(at(1)), Turn::At(Time::NEVER));
        assert_eq!(limiter.wait_time(1, at(1)), Time::NEVER.since(at(1)));
    }
    assert!(whole.try_acquire(5, at(1)) && paced.try_acquire(2, at(1)));
}

#[test]
fn a_full_window_frees_itself_permit_by_permit() {
    let second = Duration::from_secs(1);
    let limiter = Limiter::new(Rate::new(3, second, None, Some(Duration::ZERO)).unwrap());
    for start in [0, 10, 20] {
        assert!(limiter.try_acquire(1, at(start)));
    }
    assert!(!limiter.try_acquire(1, at(999_999_999)));
    assert!(limiter.try_acquire(1, at(1_000_000_000)));
    assert!(!limiter.try_acquire(1, at(1_000_000_009)));
    assert!(limiter.try_acquire(1, at(1_000_000_010)));
    assert_eq!(limiter.wait_time(3, at(1_000_000_010)), second);
}

#[test]
fn a_ticket_that_is_dropped_takes_nothing_and_wakes_the_next() {
    let limiter = Limiter::new(Rate::new(2, Duration::from_secs(1), None, None).unwrap());
    let (first, second) = (Arc::new(Signal::default()), Arc::new(Signal::default()));
    let heavy = limiter.enqueue(2, Arc::clone(&first));
    let mut light = limiter.enqueue(1, Arc::clone(&second));
    assert_eq!(light.try_start(at(1)), Turn::Behind);
    assert!(!limiter.try_acquire(1, at(1)), "overtook the queue");
    assert!(!signalled(&second));
    drop(heavy);
    assert!(signalled(&second) && !signalled(&first));
    assert_eq!(light.try_start(at(1)), Turn::Ready);
    drop(light);
    assert!(limiter.try_acquire(1, at(1)));
    assert!(!limiter.try_acquire(1, at(1)));
}
