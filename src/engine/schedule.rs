//! Which worker starts which operation, and when.
//!
//! Workers pull: one that has finished takes the next operation itself if a permit is free at that
//! instant. Only when the limiter says wait does it rest, and then one worker, the *front*, waits
//! for all of them. One lock guards everything here; it is held for moves and counts only, never
//! while waiting and never while an operation's object is dropped: what is to be dropped is handed
//! back to the caller.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::{Attempt, Left, Record};
use super::limiter::{Limiter, Ticket, Turn};
use super::signal::Signal;
use super::source::{End, Gate, Running, Source, Terms, Work};
use super::time::Time;

/// Names a source as long as it is with the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceId {
    slot: usize,
    serial: u64,
}

/// A worker's place at the scheduler. It belongs to one thread.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    signal: Arc<Signal>,
    only: Option<(SourceId, Option<usize>)>,
    ticket: Option<Ticket>,
    waiting_since: Option<Time>,
    serves: Option<SourceId>,
    ongoing: Option<Ongoing>,
}

impl Seat {
    /// The operation that was claimed last, until it is booked.
    #[must_use]
    pub fn ongoing(&self) -> Option<&Ongoing> {
        self.ongoing.as_ref()
    }

    /// Forgets which source it served last.
    pub fn forget(&mut self) {
        self.serves = None;
    }

    /// Waits until there may be something to start, or until `until`. Only while detached.
    pub fn rest(&self, until: Time) {
        self.signal.wait_until(until);
    }
}

/// What a worker is to do next.
#[derive(Debug)]
pub enum Claim<W: Work> {
    /// Call this operation, now.
    Start(Start<W>),
    /// Something can start: attach, and claim again.
    Ready,
    /// Nothing can start before this time, unless signalled.
    Rest(Time),
    /// There will never be anything more.
    Exit,
}

/// An operation between its start and its end.
#[derive(Debug, Clone, Copy)]
pub struct Ongoing {
    /// Whose operation it is.
    pub source: SourceId,
    /// Its place and times.
    pub running: Running,
}

/// An operation that has its permit. Its place and times are with the seat.
#[derive(Debug)]
pub struct Start<W: Work> {
    /// What it shares with the others of its source; None if the seat's last start was of the same.
    pub context: Option<Arc<W::Context>>,
    /// The operation.
    pub job: W::Job,
}

/// An operation that a worker has called.
#[derive(Debug)]
pub struct Finished<W: Work> {
    /// When it ended.
    pub ended: Time,
    /// How.
    pub ending: Ending<W>,
}

/// How a call ended.
#[derive(Debug)]
pub enum Ending<W: Work> {
    /// It returned, or failed for good; a fatal failure ends its source.
    Result(Result<W::Value, W::Error>, bool),
    /// It failed and is to be called again, not before the time given.
    Again(W::Error, Time, W::Job),
    /// Its result has gone elsewhere; whether it failed.
    Delivered(bool),
}

/// What may be left over when a call has been booked, to be dropped without the lock.
pub type Leftover<W> = Option<Box<Remains<W>>>;

/// What is left over when a call has been booked.
#[derive(Debug)]
pub enum Remains<W: Work> {
    /// A source whose owner has gone, and whose last operation this was.
    Source(Source<W>),
    /// A result that nobody waits for any more.
    Record(Record<W::Value, W::Error>),
    /// Earlier attempts of an operation that has ended.
    Attempts(Vec<Attempt<W::Error>>),
    /// An operation that will not be called again.
    Job(W::Job),
}

/// What the owner of a source is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read this many operations from the input, or fewer.
    Feed(usize),
    /// Ask its own limiter for a permit; a worker is kept free meanwhile.
    Acquire,
    /// Take outcomes.
    HandOver,
    /// It has ended, or run to the end of its input.
    Settled,
    /// Nothing to do before this time, unless signalled.
    Rest(Time),
}

#[derive(Debug)]
struct Front {
    seat: u64,
    signal: Arc<Signal>,
    for_permit: bool,
}

#[derive(Debug)]
struct State<W: Work> {
    sources: Vec<Option<(u64, Source<W>)>>,
    serials: u64,
    /// Where the next turn begins.
    turn: usize,
    parked: Vec<(u64, Arc<Signal>)>,
    waking: Option<u64>,
    front: Option<Front>,
    dispatcher: Arc<Signal>,
    dispatcher_waits: bool,
    joiners: Vec<Arc<Signal>>,
    capacity: usize,
    threads: usize,
    busy: usize,
    /// Nothing starts before.
    paused_until: Time,
    /// When the last pause that a server asked for ends, whoever keeps it.
    pause_known: Time,
    closed: bool,
    /// Some permits come from an owner or the dispatcher.
    gated: bool,
}

/// Shares the workers of one executor among its sources.
#[derive(Debug)]
pub struct Scheduler<W: Work> {
    limiter: Option<Limiter>,
    state: Mutex<State<W>>,
    seats: std::sync::atomic::AtomicU64,
}

impl<W: Work> Scheduler<W> {
    /// The source of the calls that are submitted one by one.
    pub const CALLS: SourceId = SourceId { slot: 0, serial: 0 };

    /// A scheduler for `workers` workers, whose permits come from `limiter`, and for calls that
    /// are submitted one by one on the terms given.
    #[must_use]
    pub fn new(
        workers: usize,
        limiter: Option<Limiter>,
        context: Arc<W::Context>,
        terms: Terms,
    ) -> Self {
        let calls = Source::new(context, Arc::default(), terms, Time::now());
        Self {
            limiter,
            state: Mutex::new(State {
                sources: vec![Some((Self::CALLS.serial, calls))],
                serials: 0,
                turn: 0,
                parked: Vec::new(),
                waking: None,
                front: None,
                dispatcher: Arc::default(),
                dispatcher_waits: false,
                joiners: Vec::new(),
                capacity: workers,
                threads: 0,
                busy: 0,
                paused_until: Time::default(),
                pause_known: Time::default(),
                closed: false,
                gated: terms.gate != Gate::Worker,
            }),
            seats: std::sync::atomic::AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a worker of the pool.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.make_seat(Arc::default(), None)
    }

    /// A seat for a worker that waits inside an operation: it starts what it waits for, only.
    #[must_use]
    pub fn nested_seat(&self, signal: Arc<Signal>, source: SourceId, index: Option<usize>) -> Seat {
        self.make_seat(signal, Some((source, index)))
    }

    fn make_seat(&self, signal: Arc<Signal>, only: Option<(SourceId, Option<usize>)>) -> Seat {
        let id = self
            .seats
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Seat {
            id,
            signal,
            only,
            ticket: None,
            waiting_since: None,
            serves: None,
            ongoing: None,
        }
    }

    /// Takes up a source; None after [`close`](Self::close).
    pub fn add(
        &self,
        context: Arc<W::Context>,
        owner: Arc<Signal>,
        terms: Terms,
        now: Time,
    ) -> Option<SourceId> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        state.gated |= terms.gate != Gate::Worker;
        state.serials += 1;
        let serial = state.serials;
        let source = (serial, Source::new(context, owner, terms, now));
        let slot = state.sources.iter().position(Option::is_none);
        let slot = if let Some(slot) = slot {
            state.sources[slot] = Some(source);
            slot
        } else {
            state.sources.push(Some(source));
            state.sources.len() - 1
        };
        Some(SourceId { slot, serial })
    }

    /// Looks at one source; None if it has been removed.
    pub fn with<T>(&self, id: SourceId, look: impl FnOnce(&mut Source<W>) -> T) -> Option<T> {
        self.state().source(id).map(look)
    }

    /// Adds operations; with `complete`, the last ones.
    pub fn feed(
        &self,
        id: SourceId,
        jobs: impl ExactSizeIterator<Item = W::Job>,
        complete: bool,
        now: Time,
    ) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.feed(jobs, complete);
            state.stir(now);
        }
    }

    /// Adds one call, unless the scheduler is closed; returns its index.
    pub fn submit(&self, job: W::Job, now: Time) -> Result<usize, W::Job> {
        let mut state = self.state();
        if state.closed {
            return Err(job);
        }
        let Some(source) = state.source(Self::CALLS) else {
            return Err(job);
        };
        let index = source.read();
        source.feed(std::iter::once(job), false);
        state.stir(now);
        Ok(index)
    }

    /// Tells that nothing more will be read from the input.
    pub fn finish_input(&self, id: SourceId) {
        if let Some(source) = self.state().source(id) {
            source.finish_input();
        }
    }

    /// Books the call that the worker has finished, if any, and claims the next operation. The
    /// permit is stamped here, so call it immediately before the operation.
    pub fn claim(
        &self,
        seat: &mut Seat,
        finished: Option<Finished<W>>,
        now: Time,
    ) -> (Leftover<W>, Claim<W>) {
        let mut state = self.state();
        let mut leftover = None;
        if let (Some(finished), Some(ongoing)) = (finished, seat.ongoing.take()) {
            if seat.only.is_none() {
                state.busy -= 1;
            }
            leftover = state.book(&ongoing, finished, now);
        } else {
            state.unpark(seat.id);
            state.arrive(seat.id);
        }
        let claim = state.claim(seat, self.limiter.as_ref(), now, true);
        (leftover, claim)
    }

    /// Whether the worker could start something at once; takes nothing.
    pub fn look(&self, seat: &mut Seat, now: Time) -> Claim<W> {
        let mut state = self.state();
        state.unpark(seat.id);
        let claim = state.claim(seat, self.limiter.as_ref(), now, false);
        if !matches!(claim, Claim::Ready) {
            state.arrive(seat.id);
        }
        claim
    }

    /// Books an operation without claiming another.
    pub fn book(&self, ongoing: &Ongoing, finished: Finished<W>, now: Time) -> Leftover<W> {
        self.state().book(ongoing, finished, now)
    }

    /// Gives up a nested seat, in whatever it was doing.
    pub fn leave(&self, mut seat: Seat) {
        let mut state = self.state();
        state.unpark(seat.id);
        state.leave_front(&mut seat);
        state.wake_one(Time::now());
    }

    /// What the owner of a source is to do next. `held` outcomes were taken and not handed on yet;
    /// `nested` owners are workers themselves, and need no other one free.
    pub fn step(&self, id: SourceId, held: usize, nested: bool, now: Time) -> Step {
        let mut state = self.state();
        let free = state.free_slots();
        let paused_until = state.paused_until;
        let Some(source) = state.source(id) else {
            return Step::Settled;
        };
        source.owner_waits = false;
        let late = now >= source.terms.deadline;
        if late && source.ended.is_none() && !source.settled() && !source.ledger.ready() {
            source.end(End::Timeout);
        }
        if source.ended.is_some() {
            state.stir(now);
            return Step::Settled;
        }
        if source.ledger.ready() {
            return Step::HandOver;
        }
        let room = source.room(held);
        if room > 0 {
            return Step::Feed(room);
        }
        if source.settled() {
            return Step::Settled;
        }
        let mut until = source.terms.deadline;
        if source.terms.gate == Gate::Owner {
            if source.wants_permit(now) {
                // A nested owner uses its permit itself, so it asks for one at a time.
                let free = if nested {
                    !source.has_permit()
                } else {
                    free > 0
                };
                if now < paused_until {
                    until = until.min(paused_until);
                } else if free {
                    source.asking += 1;
                    return Step::Acquire;
                }
            } else if let Some(due) = source.next_due() {
                until = until.min(due);
            }
        }
        source.owner_waits = true;
        source.owner_works = nested;
        Step::Rest(until)
    }

    /// What the dispatcher is to do next: ask for a permit for the source named, or rest; None
    /// when there will be nothing more.
    pub fn dispatch(&self, now: Time) -> Option<Result<SourceId, Time>> {
        let mut state = self.state();
        state.dispatcher_waits = false;
        let mut until = Time::NEVER;
        let free = state.free_slots();
        let paused_until = state.paused_until;
        for slot in state.turns() {
            let Some((serial, source)) = &mut state.sources[slot] else {
                continue;
            };
            if source.terms.gate != Gate::Dispatcher {
                continue;
            }
            if source.wants_permit(now) {
                if now < paused_until {
                    until = until.min(paused_until);
                } else if free > 0 {
                    source.asking += 1;
                    let id = SourceId {
                        slot,
                        serial: *serial,
                    };
                    state.turn = slot + 1;
                    return Some(Ok(id));
                }
            } else if let Some(due) = source.next_due() {
                until = until.min(due);
            }
        }
        if state.over() {
            return None;
        }
        state.dispatcher_waits = true;
        Some(Err(until))
    }

    /// The signal on which the dispatcher rests.
    #[must_use]
    pub fn dispatcher_signal(&self) -> Arc<Signal> {
        Arc::clone(&self.state().dispatcher)
    }

    /// Hands on a permit that the owner or the dispatcher was granted.
    pub fn grant(&self, id: SourceId, waited: u64, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.grant(waited, now);
            if source.owner_works && source.owner_waits {
                source.tell_owner();
            }
        }
        state.stir(now);
    }

    /// Gives up asking for a permit.
    pub fn give_up(&self, id: SourceId, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.asking = source.asking.saturating_sub(1);
        }
        state.stir(now);
    }

    /// Takes the next operation as one that was refused its permit. It is booked by
    /// [`book`](Self::book).
    pub fn refuse(&self, id: SourceId, now: Time) -> Option<(Ongoing, Start<W>)> {
        let mut state = self.state();
        let source = state.source(id)?;
        source.asking = source.asking.saturating_sub(1);
        let (running, job) = source.refuse(now)?;
        let context = Some(Arc::clone(&source.context));
        Some((
            Ongoing {
                source: id,
                running,
            },
            Start { context, job },
        ))
    }

    /// Ends a source: nothing more of it starts.
    pub fn end(&self, id: SourceId, end: End, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.end(end);
            source.tell_owner();
            state.stir(now);
        }
    }

    /// Whether something of the source still runs; if so its owner will be signalled.
    pub fn runs(&self, id: SourceId) -> bool {
        let mut state = self.state();
        let Some(source) = state.source(id) else {
            return false;
        };
        source.owner_waits = !source.idle();
        source.owner_waits
    }

    /// Takes a source out. What its running operations return is lost to it.
    pub fn remove(&self, id: SourceId, now: Time) -> Option<Source<W>> {
        let mut state = self.state();
        state.source(id)?;
        let (_, source) = state.sources[id.slot].take()?;
        state.stir(now);
        state.tell_joiners();
        Some(source)
    }

    /// The owner has gone, and nobody will take the outcomes; what was read still runs. Returns what
    /// is to be dropped: the records so far, or the source if all of it has run.
    pub fn orphan(&self, id: SourceId) -> (Option<Left<W::Value, W::Error>>, Option<Source<W>>) {
        let mut state = self.state();
        let Some(source) = state.source(id) else {
            return (None, None);
        };
        if source.settled() || source.ended.is_some() {
            return (
                None,
                state.sources[id.slot].take().map(|(_, source)| source),
            );
        }
        source.orphaned = true;
        (Some(source.ledger.discard()), None)
    }

    /// Takes an operation out of the queue, or out of the waiting retries; None if it has started.
    pub fn withdraw(&self, id: SourceId, index: usize) -> Option<W::Job> {
        let mut state = self.state();
        let source = state.source(id)?;
        let job = source
            .withdraw(index)
            .or_else(|| source.withdraw_retry(index));
        if job.is_some() {
            state.tell_joiners();
        }
        job
    }

    /// Takes everything of a source that has not started.
    pub fn withdraw_all(&self, id: SourceId) -> Vec<(usize, W::Job)> {
        let mut state = self.state();
        let jobs = state
            .source(id)
            .map(Source::withdraw_all)
            .unwrap_or_default();
        state.tell_joiners();
        jobs
    }

    /// Books a server's wish that nothing starts before `until`. With `here` it is this scheduler
    /// that keeps it; otherwise its limiter does.
    pub fn pause(&self, now: Time, until: Time, new_episode: bool, here: bool) {
        let mut state = self.state();
        let longer = until.nanos_since(state.pause_known.max(now));
        state.pause_known = state.pause_known.max(until);
        if here {
            state.paused_until = state.pause_known;
        }
        for (_, source) in state.sources.iter_mut().flatten() {
            source.ledger.totals.paused += longer;
            source.ledger.totals.pauses += usize::from(new_episode);
        }
    }

    /// Whether a further worker thread would have something to do; counts it as started.
    pub fn take_on(&self, now: Time) -> bool {
        let mut state = self.state();
        let wanted = state.wants_thread(now);
        state.threads += usize::from(wanted);
        wanted
    }

    /// Whether a further worker thread would have something to do.
    pub fn wants_thread(&self, now: Time) -> bool {
        self.state().wants_thread(now)
    }

    /// A worker thread could not be started, or has ended. Returns how many are left.
    pub fn let_go(&self) -> usize {
        let mut state = self.state();
        state.threads -= 1;
        state.threads
    }

    /// A worker waits inside an operation, so another may work in its place.
    pub fn block(&self, now: Time) {
        let mut state = self.state();
        state.capacity += 1;
        state.stir(now);
    }

    /// That worker goes on.
    pub fn unblock(&self) {
        self.state().capacity -= 1;
    }

    /// Takes no more sources. Workers end when there is nothing left to do.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.wake_all();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn closed(&self) -> bool {
        self.state().closed
    }

    /// Whether there will never be anything to do any more.
    pub fn is_over(&self) -> bool {
        self.state().over()
    }

    /// Ends every source that `which` picks.
    pub fn end_where(&self, end: End, which: impl Fn(&Terms) -> bool) {
        let mut state = self.state();
        for (_, source) in state.sources.iter_mut().flatten() {
            if which(&source.terms) {
                source.end(end);
                source.tell_owner();
            }
        }
        state.tell_joiners();
        state.wake_all();
    }

    /// No owner will come back: nothing is to wait for one.
    pub fn detach_owners(&self) {
        let mut state = self.state();
        for (_, source) in state.sources.iter_mut().flatten() {
            source.terms.attended = false;
        }
        state.tell_joiners();
    }

    /// Whether nothing waits or runs any more; if something does, `joiner` will be signalled.
    pub fn joined(&self, joiner: &Arc<Signal>) -> bool {
        let mut state = self.state();
        let joined = state.drained();
        if !joined && !state.joiners.iter().any(|other| Arc::ptr_eq(other, joiner)) {
            state.joiners.push(Arc::clone(joiner));
        }
        joined
    }
}

impl<W: Work> State<W> {
    fn source(&mut self, id: SourceId) -> Option<&mut Source<W>> {
        match self.sources.get_mut(id.slot) {
            Some(Some((serial, source))) if *serial == id.serial => Some(source),
            _ => None,
        }
    }

    /// The slots of the sources, beginning with the one whose turn it is.
    fn turns(&self) -> impl Iterator<Item = usize> + use<W> {
        let (turn, count) = (self.turn, self.sources.len());
        (0..count).map(move |step| (turn + step) % count)
    }

    fn free_slots(&self) -> usize {
        let sources = self.sources.iter().flatten();
        let reserved: usize = sources.map(|(_, source)| source.reserved()).sum();
        self.capacity.saturating_sub(self.busy + reserved)
    }

    fn wants_thread(&self, now: Time) -> bool {
        if self.threads >= self.capacity {
            return false;
        }
        let sources = self.sources.iter().flatten();
        if self.threads == 0 {
            // Near the end of the process no thread may be had later, so one is there from the start.
            return sources.clone().any(|(_, source)| source.startable(now) > 0);
        }
        let startable: usize = sources
            .map(|(_, source)| source.ready_for_workers(now))
            .sum();
        startable > self.threads.saturating_sub(self.busy)
    }

    fn book(&mut self, ongoing: &Ongoing, finished: Finished<W>, now: Time) -> Leftover<W> {
        let leftover = self.enter(ongoing, finished, now);
        // A worker is free now, whatever has become of the source.
        if self.gated {
            self.offer_slot(now);
        }
        if self.closed || !self.joiners.is_empty() {
            self.tell_joiners();
        }
        leftover
    }

    #[inline]
    fn enter(&mut self, ongoing: &Ongoing, finished: Finished<W>, now: Time) -> Leftover<W> {
        let Ongoing {
            source: id,
            running,
        } = ongoing;
        let Finished { ended, ending } = finished;
        let Some(source) = self.source(*id) else {
            let result = match ending {
                Ending::Result(result, _) => result,
                Ending::Again(error, ..) => Err(error),
                Ending::Delivered(_) => return None,
            };
            return Some(Box::new(Remains::Record(Record::of(
                result, running, ended,
            ))));
        };
        source.leave(running.index);
        if running.attempt > 0 {
            source.ledger.book(ended.nanos_since(running.started));
        }
        let mut leftover = None;
        match ending {
            Ending::Again(error, due, job) if source.ended.is_none() => {
                source
                    .ledger
                    .remember(running.index, Attempt::of(error, running, ended));
                source.retry(running, due, job);
                self.stir(now);
                return leftover;
            }
            Ending::Again(error, _, job) => {
                source
                    .ledger
                    .enter(running.index, Record::of(Err(error), running, ended));
                source.judge(running.index, true, false);
                leftover = Some(Box::new(Remains::Job(job)));
            }
            Ending::Result(result, fatal) => {
                let failed = result.is_err();
                let record = Record::of(result, running, ended);
                leftover = source
                    .ledger
                    .enter(running.index, record)
                    .map(|record| Box::new(Remains::Record(record)));
                source.judge(running.index, failed, fatal);
            }
            Ending::Delivered(failed) => {
                source.ledger.count(failed);
                let earlier = source.ledger.history_of(running.index);
                leftover = (!earlier.is_empty()).then(|| Box::new(Remains::Attempts(earlier)));
            }
        }
        if source.owner_waits && source.owner_has_something(now) {
            source.tell_owner();
        }
        if source.orphaned
            && source.settled()
            && let Some((_, source)) = self.sources[id.slot].take()
        {
            leftover = Some(Box::new(Remains::Source(source)));
        }
        leftover
    }

    fn claim(
        &mut self,
        seat: &mut Seat,
        limiter: Option<&Limiter>,
        now: Time,
        attached: bool,
    ) -> Claim<W> {
        let Some(slot) = self.pick(seat, now) else {
            return self.nothing_to_start(seat, now);
        };
        if seat.only.is_none() && self.busy >= self.capacity {
            self.leave_front(seat);
            return self.park(seat);
        }
        if now < self.paused_until {
            return self.wait_for_permit(seat, self.paused_until, now);
        }
        let gated = self.sources[slot]
            .as_ref()
            .is_some_and(|(_, source)| source.terms.gate != Gate::Worker);
        let mut permit_wait = 0;
        if let Some(limiter) = limiter.filter(|_| !gated) {
            let turn = if let Some(ticket) = &mut seat.ticket {
                if attached {
                    ticket.try_start(now)
                } else {
                    ticket.turn(now)
                }
            } else if seat.only.is_none() && self.another_waits(seat) {
                return self.park(seat);
            } else if !attached || limiter.try_acquire(1, now) {
                Turn::Ready
            } else {
                let mut ticket = limiter.enqueue(1, Arc::clone(&seat.signal));
                let turn = ticket.try_start(now);
                seat.ticket = Some(ticket);
                turn
            };
            match turn {
                Turn::Ready => {}
                Turn::At(time) => return self.wait_for_permit(seat, time, now),
                Turn::Behind => return self.wait_for_permit(seat, Time::NEVER, now),
            }
        }
        if !attached {
            return Claim::Ready;
        }
        if let Some(since) = seat.waiting_since {
            permit_wait = now.nanos_since(since);
        }
        self.leave_front(seat);
        self.turn = slot + 1;
        let Some(start) = self.start(seat, slot, now, permit_wait) else {
            return self.nothing_to_start(seat, now);
        };
        if seat.only.is_none() {
            self.busy += 1;
        }
        self.wake_one(now);
        Claim::Start(start)
    }

    fn start(
        &mut self,
        seat: &mut Seat,
        slot: usize,
        now: Time,
        permit_wait: u64,
    ) -> Option<Start<W>> {
        let (serial, source) = self.sources[slot].as_mut()?;
        let (running, job) = match seat.only {
            Some((_, Some(index))) => source.start_exactly(index, now, permit_wait)?,
            _ => source.start(now, permit_wait)?,
        };
        if source.owner_waits && source.room(0) > 0 {
            source.tell_owner();
        }
        let id = SourceId {
            slot,
            serial: *serial,
        };
        let known = seat.serves.replace(id) == Some(id);
        let context = if known {
            None
        } else {
            Some(Arc::clone(&source.context))
        };
        seat.ongoing = Some(Ongoing {
            source: id,
            running,
        });
        Some(Start { context, job })
    }

    fn pick(&self, seat: &Seat, now: Time) -> Option<usize> {
        if let Some((id, index)) = seat.only {
            let (serial, source) = self.sources.get(id.slot)?.as_ref()?;
            let there = index.is_none_or(|index| source.holds(index));
            return (*serial == id.serial && there && source.available(now)).then_some(id.slot);
        }
        self.turns().find(|slot| {
            self.sources[*slot]
                .as_ref()
                .is_some_and(|(_, source)| source.available(now))
        })
    }

    fn nothing_to_start(&mut self, seat: &mut Seat, now: Time) -> Claim<W> {
        self.leave_front(seat);
        if let Some((id, _)) = seat.only {
            let due = self.source(id).and_then(|source| source.next_due());
            return Claim::Rest(due.unwrap_or(Time::NEVER));
        }
        if self.over() {
            return Claim::Exit;
        }
        let due = self
            .sources
            .iter()
            .flatten()
            .filter(|(_, source)| source.terms.gate == Gate::Worker)
            .filter_map(|(_, source)| source.next_due())
            .min();
        match due {
            Some(due) if self.front.is_none() => {
                self.front = Some(Front {
                    seat: seat.id,
                    signal: Arc::clone(&seat.signal),
                    for_permit: false,
                });
                Claim::Rest(due.max(now))
            }
            _ => self.park(seat),
        }
    }

    fn wait_for_permit(&mut self, seat: &mut Seat, until: Time, now: Time) -> Claim<W> {
        seat.waiting_since.get_or_insert(now);
        if seat.only.is_none() {
            if self.another_waits(seat) {
                self.leave_front(seat);
                return self.park(seat);
            }
            self.front = Some(Front {
                seat: seat.id,
                signal: Arc::clone(&seat.signal),
                for_permit: true,
            });
        }
        Claim::Rest(until)
    }

    fn leave_front(&mut self, seat: &mut Seat) {
        seat.ticket = None;
        seat.waiting_since = None;
        if self
            .front
            .as_ref()
            .is_some_and(|front| front.seat == seat.id)
        {
            self.front = None;
        }
    }

    fn park(&mut self, seat: &Seat) -> Claim<W> {
        self.parked.push((seat.id, Arc::clone(&seat.signal)));
        Claim::Rest(Time::NEVER)
    }

    fn unpark(&mut self, seat: u64) {
        if let Some(place) = self.parked.iter().rposition(|(id, _)| *id == seat) {
            self.parked.remove(place);
        }
    }

    /// Another worker waits for a permit on behalf of all.
    fn another_waits(&self, seat: &Seat) -> bool {
        self.front
            .as_ref()
            .is_some_and(|front| front.for_permit && front.seat != seat.id)
    }

    fn arrive(&mut self, seat: u64) {
        if self.waking == Some(seat) {
            self.waking = None;
        }
    }

    /// Wakes one worker if there is something for it to do. At most one is on its way at a time:
    /// each wakes the next when it starts, so those that would only queue for the interpreter sleep
    /// on.
    fn wake_one(&mut self, now: Time) {
        if self.waking.is_some() || self.front.as_ref().is_some_and(|front| front.for_permit) {
            return;
        }
        if self.busy >= self.capacity || self.parked.is_empty() && self.front.is_none() {
            return;
        }
        if !self
            .sources
            .iter()
            .flatten()
            .any(|(_, source)| source.available(now))
        {
            return;
        }
        if let Some((seat, signal)) = self.parked.pop() {
            self.waking = Some(seat);
            signal.notify();
        } else if let Some(front) = &self.front {
            front.signal.notify();
        }
    }

    /// Something has changed: whoever may be concerned looks again.
    fn stir(&mut self, now: Time) {
        self.wake_one(now);
        if let Some(front) = &self.front {
            // The front looks again when what it waits for is gone, or a retry is due earlier.
            if !front.for_permit
                || !self
                    .sources
                    .iter()
                    .flatten()
                    .any(|(_, source)| source.available(now))
            {
                front.signal.notify();
            }
        } else if let Some((_, signal)) = self.parked.last()
            && self.waking.is_none()
            && self
                .sources
                .iter()
                .flatten()
                .any(|(_, source)| source.next_due().is_some())
        {
            signal.notify();
        }
        self.offer_slot(now);
        if !self.joiners.is_empty() {
            self.tell_joiners();
        }
    }

    /// Tells one owner, and the dispatcher, that a worker is free.
    fn offer_slot(&mut self, now: Time) {
        if !self.gated || self.free_slots() == 0 {
            return;
        }
        for slot in self.turns() {
            let Some((_, source)) = &mut self.sources[slot] else {
                continue;
            };
            let wants = source.wants_permit(now) || source.next_due().is_some();
            if !wants {
                continue;
            }
            match source.terms.gate {
                Gate::Owner if source.owner_waits => {
                    source.tell_owner();
                    self.turn = slot + 1;
                    return;
                }
                Gate::Dispatcher if self.dispatcher_waits => {
                    self.dispatcher_waits = false;
                    self.dispatcher.notify();
                    return;
                }
                _ => {}
            }
        }
    }

    fn wake_all(&mut self) {
        for (_, signal) in self.parked.drain(..) {
            signal.notify();
        }
        if let Some(front) = &self.front {
            front.signal.notify();
        }
        self.dispatcher.notify();
    }

    fn tell_joiners(&mut self) {
        if self.drained() {
            for joiner in self.joiners.drain(..) {
                joiner.notify();
            }
            if self.over() {
                self.wake_all();
            }
        }
    }

    /// Nothing waits or runs, but for batches that wait for their owner.
    fn drained(&self) -> bool {
        self.sources
            .iter()
            .flatten()
            .all(|(_, source)| !source.terms.attended && source.quiet())
    }

    /// There will never be anything to do.
    fn over(&self) -> bool {
        self.closed
            && self
                .sources
                .iter()
                .flatten()
                .all(|(_, source)| source.over())
    }
}
