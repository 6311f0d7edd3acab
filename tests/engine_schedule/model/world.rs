//! The executor's threads, told apart by what they sleep on, and what they may expect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::ledger::Keep;
use paceline::engine::limiter::{Limiter, Rate};
use paceline::engine::schedule::{
    Claim, Ending, Finished, Scheduler, Seat, SourceId, Step as Wish,
};
use paceline::engine::signal::Signal;
use paceline::engine::source::Source;
use paceline::engine::terms::{End, FailureLimit, Gate, Terms};
use paceline::engine::time::Time;

use crate::fixture::{CALLS, Plain, Started, calls, given, woken};

#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) workers: usize,
    pub(super) foreign: bool,
    /// So many starts in so many units.
    pub(super) limit: Option<(u64, u64)>,
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
        keep: Keep,
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
    /// A permit that is asked for is granted or refused.
    Answer(usize, bool),
    Pass(u64),
    /// Everybody acts until all are asleep.
    Settle,
    Withdraw(usize),
    End(usize, End),
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
    Resting(Time),
    Gone,
}

#[derive(Debug)]
struct Worker {
    seat: Seat,
    post: Post,
    serves: Option<SourceId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Awake,
    Resting(Time),
    /// In a limiter that takes as long as it likes.
    Asking,
    /// It may come back to the outcomes it holds, or not.
    Consuming,
    /// It waits for what runs.
    Joining,
    Closed,
}

/// A source, its owner, and what is to become of each operation.
#[derive(Debug)]
struct Account {
    id: SourceId,
    terms: Terms,
    owner: Arc<Signal>,
    mood: Mood,
    orphaned: bool,
    /// Operations still in the input.
    input: usize,
    read: usize,
    held: usize,
    waiting: BTreeSet<usize>,
    /// Due time and attempts so far, by index.
    retries: BTreeMap<usize, (Time, u32)>,
    running: BTreeMap<usize, u32>,
    /// Result and attempts, by index.
    finished: BTreeMap<usize, (Result<usize, usize>, u32)>,
    completed: Vec<usize>,
    handed: Vec<usize>,
    last_first: Option<usize>,
    granted: usize,
    starts: usize,
    gated_starts: usize,
    asking: bool,
}

impl Account {
    fn new(id: SourceId, owner: Arc<Signal>, terms: Terms, input: usize) -> Self {
        Self {
            id,
            terms,
            owner,
            mood: Mood::Awake,
            orphaned: false,
            input,
            read: 0,
            held: 0,
            waiting: BTreeSet::new(),
            retries: BTreeMap::new(),
            running: BTreeMap::new(),
            finished: BTreeMap::new(),
            completed: Vec::new(),
            handed: Vec::new(),
            last_first: None,
            granted: 0,
            starts: 0,
            gated_starts: 0,
            asking: false,
        }
    }

    /// Every attempt but the last is remembered; and the last, where a further one was refused.
    fn check_history(&self, attempts: u32, earlier: usize) {
        let refused = self.terms.gate != Gate::Worker && earlier == attempts as usize;
        assert!(refused || earlier + 1 == attempts as usize);
    }

    fn startable(&self, now: Time) -> usize {
        let due = self.retries.values().filter(|(due, _)| *due <= now);
        self.waiting.len() + due.count()
    }

    /// Permits that somebody has, and that can be used.
    fn usable(&self, now: Time) -> usize {
        (self.granted - self.gated_starts).min(self.startable(now))
    }
}

pub(super) struct World {
    setting: Setting,
    scheduler: Scheduler<Plain>,
    limiter: Option<Limiter>,
    permits: Vec<u64>,
    paused_until: Time,
    now: u64,
    workers: Vec<Worker>,
    accounts: Vec<Account>,
    dispatcher: Mood,
    dispatching: Option<usize>,
    closed: bool,
}

const UNIT: u64 = 1_000_000;

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let limiter = setting.limit.map(|(limit, units)| {
            let per = Duration::from_nanos(units * UNIT);
            Limiter::new(Rate::new(limit, per, None, Some(Duration::ZERO)).unwrap())
        });
        let gate = if setting.foreign {
            Gate::Dispatcher
        } else {
            Gate::Worker
        };
        let terms = calls(gate);
        let scheduler = Scheduler::new(
            setting.workers,
            limiter.clone(),
            Arc::new("calls".into()),
            terms,
        );
        let mut calls = Account::new(CALLS, Arc::default(), terms, 0);
        calls.mood = Mood::Closed;
        Self {
            setting,
            scheduler,
            limiter,
            permits: Vec::new(),
            paused_until: Time::default(),
            now: 1_000_000 * UNIT,
            workers: Vec::new(),
            accounts: vec![calls],
            dispatcher: if setting.foreign {
                Mood::Awake
            } else {
                Mood::Closed
            },
            dispatching: None,
            closed: false,
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.now)
    }

    fn grow(&mut self) {
        while self.scheduler.take_on(self.now()) {
            let seat = self.scheduler.seat();
            self.workers.push(Worker {
                seat,
                post: Post::Awake,
                serves: None,
            });
        }
    }

    fn ended(&self, account: usize) -> Option<End> {
        self.scheduler
            .with(self.accounts[account].id, |source| source.ended())
            .flatten()
    }

    fn account_of(&self, id: SourceId) -> usize {
        self.accounts
            .iter()
            .position(|account| account.id == id)
            .unwrap()
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Add {
                keep,
                count,
                ahead,
                timeout,
                failure_limit,
                stop_on_failure,
            } => {
                let gate = match (self.setting.foreign, keep) {
                    (false, _) => Gate::Worker,
                    (true, Keep::All) => Gate::Owner,
                    (true, _) => Gate::Dispatcher,
                };
                let deadline = timeout.map_or(Time::NEVER, |units| {
                    Time::from_nanos(self.now + units * UNIT)
                });
                let terms = Terms {
                    keep,
                    gate,
                    attended: keep == Keep::All,
                    ahead: (ahead, ahead + count),
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
                        terms,
                        self.now(),
                    )
                    .unwrap();
                self.accounts.push(Account::new(id, owner, terms, count));
            }
            Step::Submit => self.submit(),
            Step::Act(which) => {
                let awake = self.awake();
                if !awake.is_empty() {
                    self.act(awake[which % awake.len()]);
                }
            }
            Step::Finish(which, verdict) => self.finish(which, verdict),
            Step::Answer(which, granted) => self.answer(which, granted),
            Step::Pass(units) => self.now += units * UNIT,
            Step::Settle => self.settle(),
            Step::Withdraw(which) => self.withdraw(which),
            Step::End(which, end) => self.end(which, end),
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

    fn outsider(&mut self) {
        if let Some(limiter) = &self.limiter
            && limiter.try_acquire(1, self.now())
        {
            self.take_permit();
        }
    }

    fn pause(&mut self, units: u64) {
        let until = Time::from_nanos(self.now + units * UNIT);
        self.paused_until = self.paused_until.max(until);
        if let Some(limiter) = &self.limiter {
            limiter.pause_until(until);
        }
        self.scheduler
            .pause(self.now(), until, true, self.limiter.is_none());
    }

    /// No window holds more than the limit: told by the list of all starts.
    fn take_permit(&mut self) {
        assert!(self.permit_there(), "a start beyond the limit");
        self.permits.push(self.now);
    }

    fn permit_there(&self) -> bool {
        if self.now() < self.paused_until {
            return false;
        }
        self.setting.limit.is_none_or(|(limit, units)| {
            let window = self.permits.iter().rev();
            let used = window
                .take_while(|start| *start + units * UNIT > self.now)
                .count();
            (used as u64) < limit
        })
    }

    fn awake(&self) -> Vec<Actor> {
        let now = self.now();
        let workers = self
            .workers
            .iter()
            .enumerate()
            .filter_map(|(place, worker)| {
                let awake = match worker.post {
                    Post::Awake | Post::Attached => true,
                    Post::Resting(until) => until <= now || peek(&worker.seat),
                    Post::Calling(_) | Post::Gone => false,
                };
                awake.then_some(Actor::Worker(place))
            });
        let owners = self
            .accounts
            .iter()
            .enumerate()
            .filter_map(|(place, account)| {
                let awake = match account.mood {
                    Mood::Awake | Mood::Consuming => true,
                    Mood::Resting(until) => until <= now || peek_signal(&account.owner),
                    Mood::Joining => peek_signal(&account.owner),
                    Mood::Asking | Mood::Closed => false,
                };
                awake.then_some(Actor::Owner(place))
            });
        let dispatcher = match self.dispatcher {
            Mood::Awake => true,
            Mood::Resting(until) => {
                until <= now || peek_signal(&self.scheduler.dispatcher_signal())
            }
            _ => false,
        };
        workers
            .chain(owners)
            .chain(dispatcher.then_some(Actor::Dispatcher))
            .collect()
    }

    fn act(&mut self, actor: Actor) {
        match actor {
            Actor::Worker(place) => self.work(place),
            Actor::Owner(place) => self.own(place),
            Actor::Dispatcher => self.dispatch(),
        }
    }

    fn work(&mut self, place: usize) {
        let now = self.now();
        let worker = &mut self.workers[place];
        if let Post::Resting(_) = worker.post {
            woken(&worker.seat);
            worker.post = Post::Awake;
        }
        let claim = if let Post::Attached = worker.post {
            worker.seat.forget();
            worker.serves = None;
            let (leftover, claim) = self.scheduler.claim(&mut worker.seat, None, now);
            assert!(leftover.is_none());
            self.placed(place, claim);
            return;
        } else {
            self.scheduler.look(&mut worker.seat, now)
        };
        worker.post = match claim {
            Claim::Ready => Post::Attached,
            Claim::Rest(until) => Post::Resting(until),
            Claim::Exit => {
                self.scheduler.let_go();
                Post::Gone
            }
            Claim::Start(_) => panic!("a look took something"),
        };
    }

    /// After a claim the worker starts, or goes back to its loop and looks again.
    fn placed(&mut self, place: usize, claim: Claim<Plain>) {
        self.workers[place].post = match claim {
            Claim::Rest(_) | Claim::Exit => Post::Awake,
            Claim::Ready => panic!("a claim only looked"),
            claim @ Claim::Start(_) => {
                let start = Started::by(&self.workers[place].seat, claim).unwrap();
                self.started(place, &start);
                Post::Calling(start)
            }
        };
    }

    fn started(&mut self, place: usize, start: &Started) {
        let now = self.now();
        let account = self.account_of(start.source);
        let ended = self.ended(account);
        if !self.setting.foreign {
            self.take_permit();
        }
        assert!(now >= self.paused_until, "started during a pause");
        let known = self.workers[place].serves.replace(start.source) == Some(start.source);
        assert_eq!(start.context.is_none(), known);
        let account = &mut self.accounts[account];
        let running = start.running;
        let index = running.index;
        assert_eq!((start.job, running.started), (index, now));
        let late = now >= account.terms.deadline && ended.is_none();
        assert!(!late || account.orphaned, "started after the deadline");
        if account.terms.gate == Gate::Worker {
            assert_eq!(ended, None, "started after the end");
        } else {
            let patient = [End::Operation, End::MaxFailures, End::Limiter, End::Failed];
            assert!(
                ended.is_none_or(|end| patient.contains(&end)),
                "started after {ended:?}"
            );
            account.gated_starts += 1;
            assert!(
                account.gated_starts <= account.granted,
                "started without a permit"
            );
        }
        if running.attempt == 1 {
            assert!(account.waiting.remove(&index), "started twice");
            assert!(account.last_first < Some(index), "started out of order");
            account.last_first = Some(index);
        } else {
            let (due, attempts) = account
                .retries
                .remove(&index)
                .expect("it waited for a retry");
            assert!(due <= now, "tried again before it was due");
            assert_eq!(running.attempt, attempts + 1);
            if account.terms.gate == Gate::Worker {
                let earlier = account
                    .retries
                    .iter()
                    .filter(|(other, (time, _))| (*time, **other) < (due, index));
                assert_eq!(earlier.count(), 0, "overtook a retry that was due earlier");
            }
        }
        account.running.insert(index, running.attempt);
        account.starts += 1;
    }

    fn finish(&mut self, which: usize, verdict: Verdict) {
        let calling: Vec<_> = (0..self.workers.len())
            .filter(|place| matches!(self.workers[*place].post, Post::Calling(_)))
            .collect();
        if calling.is_empty() {
            return;
        }
        let place = calling[which % calling.len()];
        let now = self.now();
        let Post::Calling(start) = std::mem::replace(&mut self.workers[place].post, Post::Awake)
        else {
            return;
        };
        let account = self.account_of(start.source);
        let gone = self.scheduler.with(start.source, |_| ()).is_none();
        let ended = self.ended(account).is_some();
        let account = &mut self.accounts[account];
        let (index, attempts) = (start.running.index, start.running.attempt);
        if !gone {
            account.running.remove(&index);
        }
        let again = match verdict {
            Verdict::Again(units) => Some(Time::from_nanos(self.now + units * UNIT)),
            _ => None,
        };
        let failed = !matches!(verdict, Verdict::Done);
        let result = if failed { Err(index) } else { Ok(index) };
        let ending = match again {
            Some(due) => Ending::Again(index, due, start.job),
            None if start.source == CALLS => Ending::Delivered(failed),
            None => Ending::Result(result, matches!(verdict, Verdict::Fatal)),
        };
        match again {
            _ if gone => {}
            Some(due) if !ended => {
                account.retries.insert(index, (due, attempts));
            }
            _ => {
                account.finished.insert(index, (result, attempts));
                account.completed.push(index);
            }
        }
        let finished = Finished { ended: now, ending };
        let (leftover, claim) =
            self.scheduler
                .claim(&mut self.workers[place].seat, Some(finished), now);
        if gone && start.source != CALLS {
            assert!(
                leftover.is_some(),
                "what is lost was dropped within the lock"
            );
        }
        self.placed(place, claim);
    }

    fn own(&mut self, place: usize) {
        let now = self.now();
        let account = &mut self.accounts[place];
        let id = account.id;
        match account.mood {
            Mood::Consuming => {
                account.held -= 1;
                let held = account.held;
                if held == 0 {
                    account.mood = Mood::Awake;
                }
                let room = self.scheduler.with(id, |source| source.room(held)).unwrap();
                if room > 0 {
                    self.feed(place, room);
                }
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
        match self.scheduler.step(id, 0, false, now) {
            Wish::Feed(room) => {
                self.accounts[place].mood = Mood::Awake;
                self.feed(place, room);
            }
            Wish::Acquire => {
                assert_eq!(self.accounts[place].terms.gate, Gate::Owner);
                self.accounts[place].asking = true;
                self.accounts[place].mood = Mood::Asking;
            }
            Wish::HandOver => self.hand_over(place),
            Wish::Rest(until) => {
                assert!(
                    until > now,
                    "an owner that rests until the past runs in circles"
                );
                self.accounts[place].mood = Mood::Resting(until);
            }
            Wish::Settled => match self.ended(place) {
                None => {
                    let account = &self.accounts[place];
                    assert_eq!(account.finished.len(), account.read, "settled too early");
                    assert_eq!(account.input, 0);
                    self.close(place);
                }
                Some(End::Owner | End::Timeout) => self.close(place),
                Some(_) => self.join(place),
            },
        }
    }

    fn feed(&mut self, place: usize, room: usize) {
        let now = self.now();
        let account = &mut self.accounts[place];
        let id = account.id;
        for _ in 0..room.min(account.input) {
            let account = &mut self.accounts[place];
            let index = account.read;
            account.input -= 1;
            account.read += 1;
            account.waiting.insert(index);
            let ahead = account.terms.ahead.1;
            let outstanding = if account.terms.keep == Keep::All {
                account.waiting.len()
            } else {
                account.read - account.handed.len() + account.held
            };
            assert!(
                outstanding <= ahead,
                "{outstanding} read ahead where {ahead} are allowed"
            );
            self.scheduler.feed(id, std::iter::once(index), false, now);
            if self.scheduler.wants_thread(now) {
                self.grow();
            }
        }
        if self.accounts[place].input == 0 {
            self.scheduler.finish_input(id);
        }
    }

    fn hand_over(&mut self, place: usize) {
        let id = self.accounts[place].id;
        let records = self.scheduler.with(id, Source::hand_over).unwrap();
        assert!(!records.is_empty(), "told to take nothing");
        for (index, record) in records {
            let account = &mut self.accounts[place];
            let next = match account.terms.keep {
                Keep::Ordered => account.handed.len(),
                _ => account.completed[account.handed.len()],
            };
            assert_eq!(index, next, "handed over out of order");
            assert_eq!((record.result, record.attempts), account.finished[&index]);
            account.handed.push(index);
            account.held += 1;
            let earlier = self
                .scheduler
                .with(id, |source| source.ledger().history_of(index))
                .unwrap();
            account.check_history(record.attempts, earlier.len());
        }
        self.accounts[place].mood = Mood::Consuming;
    }

    fn join(&mut self, place: usize) {
        if self.scheduler.runs(self.accounts[place].id) {
            self.accounts[place].mood = Mood::Joining;
        } else {
            assert!(self.accounts[place].running.is_empty(), "joined too early");
            self.close(place);
        }
    }

    /// Every operation that was read has exactly one record, and the counts agree.
    fn close(&mut self, place: usize) {
        let now = self.now();
        let account = &mut self.accounts[place];
        account.mood = Mood::Closed;
        let mut source = self.scheduler.remove(account.id, now).unwrap();
        assert_eq!(source.read(), account.read);
        let mut seen = account.handed.clone();
        let mut left = source.ledger().take_left();
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
        for running in source.running() {
            assert_eq!(account.running.get(&running.index), Some(&running.attempt));
            seen.push(running.index);
        }
        for index in source.waiting_retries() {
            let (_, attempts) = account.retries[&index];
            assert_eq!(left.history[&index].len(), attempts as usize);
            seen.push(index);
        }
        for index in source.unstarted() {
            assert!(account.waiting.contains(&index), "{index} has been started");
            seen.push(index);
        }
        seen.sort_unstable();
        assert!(
            seen.iter().copied().eq(0..account.read),
            "{seen:?} of {}",
            account.read
        );
        let totals = source.ledger().totals;
        assert_eq!(
            (totals.permits, totals.attempts),
            (account.starts, account.starts)
        );
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

    fn dispatch(&mut self) {
        given(&self.scheduler.dispatcher_signal());
        let now = self.now();
        self.dispatcher = match self.scheduler.dispatch(now) {
            None => {
                assert!(self.closed, "the dispatcher went home");
                Mood::Closed
            }
            Some(Err(until)) => {
                assert!(
                    until > now,
                    "a dispatcher that rests until the past runs in circles"
                );
                Mood::Resting(until)
            }
            Some(Ok(id)) => {
                let account = self.account_of(id);
                assert_eq!(self.accounts[account].terms.gate, Gate::Dispatcher);
                let late = now >= self.accounts[account].terms.deadline;
                assert!(
                    !late || self.accounts[account].orphaned,
                    "dispatched too late"
                );
                self.accounts[account].asking = true;
                self.dispatching = Some(account);
                Mood::Asking
            }
        };
    }

    fn answer(&mut self, which: usize, granted: bool) {
        let mut asked: Vec<_> = (0..self.accounts.len())
            .filter(|place| self.accounts[*place].mood == Mood::Asking)
            .collect();
        asked.extend(self.dispatching);
        if asked.is_empty() {
            return;
        }
        let place = asked[which % asked.len()];
        let now = self.now();
        if self.dispatching == Some(place) {
            self.dispatching = None;
            self.dispatcher = Mood::Awake;
        } else {
            self.accounts[place].mood = Mood::Awake;
        }
        self.accounts[place].asking = false;
        let id = self.accounts[place].id;
        if self.scheduler.with(id, |_| ()).is_none() {
            return;
        }
        if granted {
            self.accounts[place].granted += 1;
            self.scheduler.grant(id, 0, now);
        } else if let Some((ongoing, start)) = self.scheduler.refuse(id, now) {
            let account = &mut self.accounts[place];
            let index = ongoing.running.index;
            let fresh = account.waiting.remove(&index);
            let attempts = account
                .retries
                .remove(&index)
                .map_or(0, |(_, attempts)| attempts);
            assert!(fresh || attempts > 0, "refused what does not wait");
            assert_eq!(ongoing.running.attempt, attempts);
            if fresh {
                assert!(account.last_first < Some(index));
            }
            account.finished.insert(index, (Err(index), attempts));
            account.completed.push(index);
            let ending = match id {
                CALLS => Ending::Delivered(true),
                _ => Ending::Result(Err(start.job), false),
            };
            let finished = Finished { ended: now, ending };
            self.scheduler.book(&ongoing, finished, now);
        }
        self.grow();
    }

    fn withdraw(&mut self, which: usize) {
        let calls = &mut self.accounts[0];
        if calls.read == 0 {
            return;
        }
        let index = calls.read - 1 - which % calls.read.min(4);
        let waited = calls.waiting.remove(&index) | calls.retries.remove(&index).is_some();
        let job = self.scheduler.withdraw(CALLS, index);
        assert_eq!(job, waited.then_some(index));
        if waited {
            calls.finished.insert(index, (Err(index), 0));
        }
    }

    fn end(&mut self, which: usize, end: End) {
        let place = which % self.accounts.len();
        if self.accounts[place].mood == Mood::Closed || self.accounts[place].mood == Mood::Joining {
            return;
        }
        self.accounts[place].asking = self.dispatching == Some(place);
        self.scheduler.end(self.accounts[place].id, end, self.now());
        match self.ended(place) {
            Some(End::Owner | End::Timeout) => self.close(place),
            _ => self.join(place),
        }
    }

    fn orphan(&mut self, which: usize) {
        let place = which % self.accounts.len();
        let account = &mut self.accounts[place];
        let away = matches!(account.mood, Mood::Consuming | Mood::Resting(_));
        if !away || account.terms.keep == Keep::All || self.ended(place).is_some() {
            return;
        }
        let account = &mut self.accounts[place];
        account.mood = Mood::Closed;
        account.orphaned = true;
        self.scheduler.orphan(account.id);
    }

    /// With everybody asleep, nothing is left that could start.
    fn check(&self) {
        let calling = self
            .workers
            .iter()
            .filter(|worker| matches!(worker.post, Post::Calling(_)))
            .count();
        assert!(
            calling <= self.setting.workers,
            "more run than there are workers"
        );
        if self.awake().iter().any(|actor| !self.is_consumer(*actor)) {
            return;
        }
        let now = self.now();
        let resting = self
            .workers
            .iter()
            .any(|worker| matches!(worker.post, Post::Resting(_)));
        let mut kept = 0;
        for account in &self.accounts {
            kept += account.usable(now) + usize::from(account.asking);
        }
        for (place, account) in self.accounts.iter().enumerate() {
            let present = self.scheduler.with(account.id, |_| ()).is_some();
            let over = !present || self.ended(place).is_some() || now >= account.terms.deadline;
            if over || account.startable(now) == 0 || now < self.paused_until {
                continue;
            }
            if account.terms.gate == Gate::Worker {
                let stuck = resting && calling < self.setting.workers && self.permit_there();
                assert!(
                    !stuck,
                    "all sleep beside a permit, a worker and source {place}"
                );
            } else {
                let stuck = account.usable(now) > 0 && resting;
                assert!(
                    !stuck,
                    "all sleep beside a granted permit of source {place}"
                );
                let asleep = match account.terms.gate {
                    Gate::Owner => matches!(account.mood, Mood::Resting(_)),
                    _ => matches!(self.dispatcher, Mood::Resting(_)),
                };
                let wants = !account.asking && account.startable(now) > account.usable(now);
                let free = calling + kept < self.setting.workers;
                assert!(!(asleep && wants && free), "nobody asks for source {place}");
            }
        }
    }

    fn is_consumer(&self, actor: Actor) -> bool {
        matches!(actor, Actor::Owner(place) if self.accounts[place].mood == Mood::Consuming)
    }

    fn settle(&mut self) {
        let mut turns = 0;
        loop {
            let awake = self.awake();
            let Some(actor) = awake.into_iter().find(|actor| !self.is_consumer(*actor)) else {
                return;
            };
            self.act(actor);
            turns += 1;
            assert!(turns < 10_000, "{actor:?} runs in circles");
        }
    }

    /// Everything comes to its end, by nothing but signals and times.
    pub(super) fn drain(&mut self) {
        for round in 0.. {
            self.settle();
            self.check();
            let consumer = self
                .awake()
                .into_iter()
                .find(|actor| self.is_consumer(*actor));
            if let Some(actor) = consumer {
                self.act(actor);
            } else if self.dispatching.is_some()
                || self
                    .accounts
                    .iter()
                    .any(|account| account.mood == Mood::Asking)
            {
                self.answer(round, true);
            } else if self
                .workers
                .iter()
                .any(|worker| matches!(worker.post, Post::Calling(_)))
            {
                self.finish(round, Verdict::Done);
            } else if let Some(next) = self.next_wake() {
                self.now = next;
            } else {
                break;
            }
            assert!(round < 100_000, "no end");
        }
        for (place, account) in self.accounts.iter().enumerate() {
            assert_eq!(account.mood, Mood::Closed, "source {place} is stuck");
        }
        let calls = &self.accounts[0];
        assert_eq!(calls.finished.len(), calls.read, "calls are stuck");
        let joiner = Arc::<Signal>::default();
        assert!(self.scheduler.joined(&joiner), "something waits or runs");
        self.closed = true;
        self.scheduler.close();
        self.settle();
        assert!(self.scheduler.is_over());
        assert_eq!(self.dispatcher, Mood::Closed, "the dispatcher stays");
        assert!(
            self.workers
                .iter()
                .all(|worker| matches!(worker.post, Post::Gone)),
            "workers stay"
        );
    }

    fn next_wake(&self) -> Option<u64> {
        let workers = self.workers.iter().filter_map(|worker| match worker.post {
            Post::Resting(until) => Some(until),
            _ => None,
        });
        let moods = self
            .accounts
            .iter()
            .map(|account| account.mood)
            .chain([self.dispatcher]);
        let others = moods.filter_map(|mood| match mood {
            Mood::Resting(until) => Some(until),
            _ => None,
        });
        let next = workers
            .chain(others)
            .filter(|until| *until != Time::NEVER)
            .min()?;
        Some(next.as_nanos().max(self.now))
    }
}

#[derive(Debug, Clone, Copy)]
enum Actor {
    Worker(usize),
    Owner(usize),
    Dispatcher,
}

fn peek(seat: &Seat) -> bool {
    crate::fixture::signalled(seat)
}

fn peek_signal(signal: &Signal) -> bool {
    let told = given(signal);
    if told {
        signal.notify();
    }
    told
}
