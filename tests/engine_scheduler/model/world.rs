//! The executor's threads, told apart by what they sleep on, and what they may expect.

mod asking;
mod expectations;
mod nested;
mod owners;
mod workers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::clock::Clock;
use paceline::engine::flow::Spacing;
use paceline::engine::limiter::{Limiter, Rate};
use paceline::engine::model::{Ahead, BatchId, BatchOptions, Delivery, EndReason, FailureLimit};
use paceline::engine::recovery::Recovery;
use paceline::engine::scheduler::{Scheduler, Worker};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

use self::nested::Nested;
use crate::fixture::{Plain, SUBMITTED, Started, given};

#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) workers: usize,
    pub(super) foreign: bool,
    /// So many starts in so many units.
    pub(super) limit: Option<(u64, u64)>,
    pub(super) one_at_a_time: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Done,
    Failed,
    Fatal,
    /// To be called again after so many units.
    Again(u64),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Add {
        delivery: Delivery,
        count: usize,
        ahead: usize,
        timeout: Option<u64>,
        failure_limit: Option<FailureLimit>,
        stop_on_failure: bool,
    },
    Submit,
    /// One of those who are awake does the next thing.
    Act(usize),
    Finish(usize, Verdict),
    /// While workers only do what they can, so many operations return at once.
    Run(usize),
    /// The permit that is asked for is granted or refused.
    Answer(bool),
    Pass(u64),
    /// Everybody acts until all are asleep.
    Settle,
    Withdraw(usize),
    /// What a worker has called waits for a call; it may help by calling that itself.
    Nest(usize, bool),
    EndReason(usize, EndReason),
    Orphan(usize),
    Pause(u64),
    /// Somebody else takes a permit of the same limiter.
    Outsider,
}

#[derive(Debug)]
enum Post {
    Awake,
    /// It has seen something to start.
    Attached,
    Calling(Started),
    /// In a limiter that takes as long as it likes.
    Asking(BatchId),
    Resting(Time),
    Gone,
}

#[derive(Debug)]
struct Thread {
    worker: Worker,
    post: Post,
    serves: Option<BatchId>,
    spare: bool,
    /// What it waits for inside what it calls.
    nested: Option<Nested>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Awake,
    Resting(Time),
    /// It may come back to the outcomes it holds, or not.
    Consuming,
    /// It reads so many operations in one go; each may be long in coming.
    Reading(usize),
    /// It waits for what runs.
    Joining,
    Closed,
}

/// A batch, its owner, and what is to become of each operation.
#[derive(Debug)]
struct Account {
    id: BatchId,
    options: BatchOptions,
    owner: Arc<Signal>,
    mood: Mood,
    orphaned: bool,
    /// Operations still in the input.
    input: usize,
    read: usize,
    /// Read, and not added.
    inbox: usize,
    waiting: BTreeSet<usize>,
    /// Due time and attempts so far, by index.
    retries: BTreeMap<usize, (Time, u32)>,
    running: BTreeMap<usize, u32>,
    /// Result and attempts, by index.
    finished: BTreeMap<usize, (Result<usize, usize>, u32)>,
    completed: Vec<usize>,
    handed: Vec<usize>,
    last_first: Option<usize>,
    /// Those that may have started out of order.
    out_of_turn: BTreeSet<usize>,
    starts: usize,
    /// Permits may be refused.
    foreign: bool,
}

impl Account {
    fn new(
        id: BatchId,
        owner: Arc<Signal>,
        options: BatchOptions,
        input: usize,
        foreign: bool,
    ) -> Self {
        Self {
            id,
            options,
            owner,
            mood: Mood::Awake,
            orphaned: false,
            input,
            read: 0,
            inbox: 0,
            waiting: BTreeSet::new(),
            retries: BTreeMap::new(),
            running: BTreeMap::new(),
            finished: BTreeMap::new(),
            completed: Vec::new(),
            handed: Vec::new(),
            last_first: None,
            out_of_turn: BTreeSet::new(),
            starts: 0,
            foreign,
        }
    }

    /// Every attempt but the last is remembered; and the last, where a further one was refused.
    fn check_history(&self, attempts: u32, earlier: usize) {
        let refused = self.foreign && earlier == attempts as usize;
        assert!(refused || earlier + 1 == attempts as usize);
    }

    fn startable(&self, now: Time) -> usize {
        let due = self.retries.values().filter(|(due, _)| *due <= now);
        self.waiting.len() + due.count()
    }

    /// Whether there is an outcome for its owner, or nothing more to wait for.
    fn has_something(&self) -> bool {
        let ready = match self.options.delivery {
            Delivery::InOrder => self.finished.contains_key(&self.handed.len()),
            Delivery::AsCompleted => self.completed.len() > self.handed.len(),
            Delivery::AtEnd | Delivery::Nowhere => false,
        };
        ready || self.input == 0 && self.finished.len() == self.read
    }
}

pub(super) struct World {
    setting: Setting,
    scheduler: Scheduler<Plain>,
    limiter: Option<Limiter>,
    permits: Vec<u64>,
    recovery: Recovery,
    now: u64,
    threads: Vec<Thread>,
    accounts: Vec<Account>,
    /// A permit was granted, and nothing has started since.
    granted: bool,
    closed: bool,
    /// When everybody slept beside work since the last start, for one worker kept monitor.
    left_alone: BTreeSet<u64>,
}

/// As long as one that keeps monitor sleeps between two looks.
const UNIT: u64 = 1_000_000;

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let limiter = setting.limit.map(|(limit, units)| {
            let per = Duration::from_nanos(units * UNIT);
            Limiter::new(Rate::new(limit, per, None, Some(Duration::ZERO)).unwrap())
        });
        let context = Arc::new("calls".into());
        let scheduler = Scheduler::new(setting.workers, limiter.clone(), context, Clock::default())
            .asking(setting.foreign)
            .one_at_a_time(setting.one_at_a_time);
        let options = BatchOptions::submitted();
        let mut calls = Account::new(SUBMITTED, Arc::default(), options, 0, setting.foreign);
        calls.mood = Mood::Closed;
        Self {
            setting,
            scheduler,
            limiter,
            permits: Vec::new(),
            recovery: Recovery::default(),
            now: 1_000_000 * UNIT,
            threads: Vec::new(),
            accounts: vec![calls],
            granted: false,
            closed: false,
            left_alone: BTreeSet::new(),
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.now)
    }

    /// How those follow who have waited for a probe.
    fn spacing(&self) -> Spacing {
        if let Some((limit, units)) = self.setting.limit {
            let window = Duration::from_nanos(units * UNIT);
            let interval = Duration::from_nanos((units * UNIT).div_ceil(limit));
            return Spacing { interval, window };
        }
        let window = self.recovery.length().min(Duration::from_secs(1));
        let workers = u32::try_from(self.setting.workers).unwrap();
        let interval = window / workers;
        Spacing { interval, window }
    }

    fn grow(&mut self) {
        while self.scheduler.reserve_thread(self.now()) {
            let lasting = self.threads.iter().filter(|thread| !thread.spare).count();
            let spare = lasting >= self.setting.workers;
            let worker = if spare {
                self.scheduler.spare_worker()
            } else {
                self.scheduler.worker()
            };
            self.threads.push(Thread {
                worker,
                post: Post::Awake,
                serves: None,
                spare,
                nested: None,
            });
        }
    }

    fn ended(&self, account: usize) -> Option<EndReason> {
        self.scheduler
            .with(self.accounts[account].id, |batch| batch.ended())
            .flatten()
    }

    fn account_of(&self, id: BatchId) -> usize {
        self.accounts
            .iter()
            .position(|account| account.id == id)
            .unwrap()
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Add {
                delivery,
                count,
                ahead,
                timeout,
                failure_limit,
                stop_on_failure,
            } => {
                let deadline = timeout.map_or(Time::NEVER, |units| {
                    Time::from_nanos(self.now + units * UNIT)
                });
                let options = BatchOptions {
                    delivery,
                    attended: delivery == Delivery::AtEnd,
                    ahead: Ahead {
                        least: ahead,
                        heavy: ahead + count,
                        light: ahead + 2 * count,
                    },
                    deadline,
                    stop_on_failure,
                    failure_limit,
                };
                let owner = Arc::<Signal>::default();
                let id = self
                    .scheduler
                    .add(
                        Arc::new("batch".into()),
                        Arc::clone(&owner),
                        options,
                        None,
                        self.now(),
                    )
                    .unwrap();
                let foreign = self.setting.foreign;
                self.accounts
                    .push(Account::new(id, owner, options, count, foreign));
            }
            Step::Submit => self.submit(),
            Step::Act(which) => {
                let awake = self.awake();
                if !awake.is_empty() {
                    self.act(awake[which % awake.len()]);
                }
            }
            Step::Finish(which, verdict) => self.finish(which, verdict),
            Step::Run(count) => {
                for _ in 0..count {
                    let workers = self.awake().into_iter();
                    workers
                        .filter(|actor| matches!(actor, Actor::Thread(_)))
                        .for_each(|actor| self.act(actor));
                    self.finish(0, Verdict::Done);
                    self.check();
                }
            }
            Step::Answer(granted) => self.answer(granted),
            Step::Pass(units) => self.now += units * UNIT,
            Step::Settle => self.settle(),
            Step::Withdraw(which) => self.withdraw(which),
            Step::Nest(which, helps) => self.nest(which, helps),
            Step::EndReason(which, end) => self.end(which, end),
            Step::Orphan(which) => self.orphan(which),
            Step::Pause(units) => self.pause(units),
            Step::Outsider => self.outsider(),
        }
        self.check();
    }

    fn submit(&mut self) {
        let calls = &mut self.accounts[0];
        let index = calls.read;
        calls.read += 1;
        calls.waiting.insert(index);
        assert_eq!(self.scheduler.submit(index, self.now()), Ok(index));
        self.grow();
    }

    fn awake(&self) -> Vec<Actor> {
        let now = self.now();
        let workers = self
            .threads
            .iter()
            .enumerate()
            .filter_map(|(place, thread)| {
                let awake = match thread.post {
                    Post::Awake | Post::Attached => true,
                    Post::Resting(until) => until <= now || peek(&thread.worker),
                    Post::Calling(_) | Post::Asking(_) | Post::Gone => false,
                };
                awake.then_some(Actor::Thread(place))
            });
        let owners = self
            .accounts
            .iter()
            .enumerate()
            .filter_map(|(place, account)| {
                let awake = match account.mood {
                    Mood::Awake | Mood::Consuming | Mood::Reading(_) => true,
                    Mood::Resting(until) => until <= now || peek_signal(&account.owner),
                    Mood::Joining => peek_signal(&account.owner),
                    Mood::Closed => false,
                };
                awake.then_some(Actor::Owner(place))
            });
        let nested = self.threads.iter().enumerate();
        let nested = nested.filter_map(|(place, thread)| {
            let awake = self.is_awake_inside(thread.nested.as_ref()?);
            awake.then_some(Actor::Nested(place))
        });
        workers.chain(owners).chain(nested).collect()
    }

    fn act(&mut self, actor: Actor) {
        match actor {
            Actor::Thread(place) => self.work(place),
            Actor::Owner(place) => self.own(place),
            Actor::Nested(place) => self.wait_inside(place),
        }
    }

    /// Whether it may as well stay away for long, with its outcomes or in its input.
    fn is_away(&self, actor: Actor) -> bool {
        let Actor::Owner(place) = actor else {
            return false;
        };
        matches!(
            self.accounts[place].mood,
            Mood::Consuming | Mood::Reading(_)
        )
    }
}

#[derive(Debug, Clone, Copy)]
enum Actor {
    Thread(usize),
    Owner(usize),
    /// What a worker has called, which waits for something else.
    Nested(usize),
}

fn peek(worker: &Worker) -> bool {
    crate::fixture::signalled(worker)
}

fn peek_signal(signal: &Signal) -> bool {
    let told = given(signal);
    if told {
        signal.notify();
    }
    told
}
