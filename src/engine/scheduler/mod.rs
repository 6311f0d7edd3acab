//! Which worker starts which operation, and when.
//!
//! Workers pull: one that has finished takes the next operation itself if a permit is free at that
//! instant. Only when the limiter says wait does it rest, and then one worker, the *leader*, waits
//! for all of them. One lock guards everything here; it is held for moves and counts only, never
//! while waiting and never while an operation's object is dropped: what is to be dropped is handed
//! back to the caller.

mod asking;
mod batches;
mod claim;
mod external;
mod fast_path;
mod feeding;
mod idle;
mod owners;
mod pauses;
mod refusals;
mod slots;
mod state;
mod stragglers;
mod threads;
mod waking;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub use self::claim::{Ask, Claim, LONG_WAIT, Lease, Leftover, Remains, Start, Step, Worker};
pub use self::owners::Orphaned;
pub use self::refusals::{GivenUp, Refused};
use self::state::{Locked, State};
pub use self::stragglers::{LateRecord, Stragglers, TakenOut};
use super::batch::Batch;
use super::clock::Clock;
use super::limiter::{Ended, Limiter, Told};
use super::model::{BatchId, BatchOptions, EndReason, Finished, Work};
use super::retry::GiveUp;
use super::signal::Signal;
use super::time::Time;

/// Shares the workers of one executor among its batches.
#[derive(Debug)]
pub struct Scheduler<W: Work> {
    clock: Clock,
    limiter: Option<Limiter>,
    state: Mutex<State<W>>,
    worker_ids: AtomicU64,
}

impl<W: Work> Scheduler<W> {
    /// The batch of the calls that are submitted one by one.
    pub const SUBMITTED: BatchId = BatchId { slot: 0, serial: 0 };

    /// A scheduler for `workers` workers, whose permits come from `limiter`, if that is given. It goes
    /// by `clock`, and so is every time that it is told.
    #[must_use]
    pub fn new(
        workers: usize,
        limiter: Option<Limiter>,
        context: Arc<W::Context>,
        clock: Clock,
    ) -> Self {
        let now = clock.now();
        let options = BatchOptions::submitted();
        let submitted = Batch::new(context, Arc::default(), &options, now, now);
        Self {
            clock,
            limiter,
            state: Mutex::new(State::new(workers, submitted)),
            worker_ids: AtomicU64::new(0),
        }
    }

    /// The time now, by the clock that it goes by.
    #[inline(always)]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The clock that it goes by.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Says when a server is given up that goes on refusing.
    #[must_use]
    pub fn giving_up(self, gives_up: Option<GiveUp>) -> Self {
        self.state().gives_up = gives_up;
        self
    }

    #[inline(always)]
    fn state(&self) -> Locked<'_, W> {
        let mut state = Locked::new(&self.state);
        // What is done now may change anything.
        state.fast.close();
        state
    }

    /// A worker for a thread of the pool.
    #[must_use]
    pub fn worker(&self) -> Worker {
        self.make_worker(Arc::default(), None)
    }

    /// A worker that gives a signal of its own: for what is no thread.
    #[must_use]
    pub fn worker_on(&self, signal: Arc<Signal>) -> Worker {
        let mut worker = self.make_worker(signal, None);
        worker.spare = true;
        worker
    }

    /// A further worker for a thread that waits inside an operation: it starts what is waited for, only.
    #[must_use]
    pub fn nested_worker(
        &self,
        signal: Arc<Signal>,
        batch: BatchId,
        index: Option<usize>,
    ) -> Worker {
        self.make_worker(signal, Some((batch, index)))
    }

    /// A worker whose thread may go before the executor ends.
    #[must_use]
    pub fn spare_worker(&self) -> Worker {
        let mut worker = self.make_worker(Arc::default(), None);
        worker.spare = true;
        worker
    }

    fn make_worker(&self, signal: Arc<Signal>, only: Option<(BatchId, Option<usize>)>) -> Worker {
        let id = self.worker_ids.fetch_add(1, Ordering::Relaxed);
        Worker {
            id,
            signal,
            only,
            ticket: None,
            spare: false,
            unneeded_since: None,
            waiting_since: None,
            serves: None,
            lease: None,
            long_wait: None,
            waits_for: None,
            experienced: false,
            ended: None,
            may_repeat: false,
        }
    }

    /// The end of a call, if the limiter is to be told.
    #[inline(always)]
    fn end_of(&self, lease: Option<Lease>, finished: &Finished<W>) -> Option<Ended> {
        self.limiter.as_ref().filter(|limiter| limiter.learns())?;
        lease?.end(finished.ended, finished.ending.is_success())
    }

    /// Tells the limiter that a call has ended.
    #[inline(always)]
    fn tell_end(&self, ended: Option<Ended>, now: Time) {
        if let (Some(limiter), Some(ended)) = (&self.limiter, ended) {
            limiter.end(&ended, now);
        }
    }

    /// Books the call that the worker has finished, if any, and claims the next operation. The
    /// permit is stamped here, so call it immediately before the operation.
    ///
    /// If anything is left over, nothing is claimed yet ([`Claim::Ready`]): to drop that may take
    /// any time, and none may pass between a permit and its call.
    #[inline(always)]
    pub fn claim(
        &self,
        worker: &mut Worker,
        finished: Option<Finished<W>>,
        now: Time,
    ) -> (Leftover<W>, Claim<W>) {
        let mut state = self.state();
        if let Some(finished) = finished {
            self.note_end(&mut state, worker.lease(), &finished, now);
            let ended = self.end_of(worker.lease, &finished);
            let leftover = state.finish(worker, finished, now);
            if leftover.is_some() {
                self.tell_end(ended, now);
                // What can start is not to wait for this worker.
                state.wake_one(now);
                return (leftover, Claim::Ready);
            }
            // Most often it is told with the next permit, which saves taking its lock twice.
            worker.ended = ended;
        } else {
            state.idle.unpark(worker);
            state.idle.arrive(worker);
        }
        #[cfg(debug_assertions)]
        state.idle.note_coming(worker, false, now);
        let claim = state.claim(worker, self.limiter.as_ref(), now, true);
        #[cfg(debug_assertions)]
        if matches!(claim, Claim::Ask(_)) {
            state.idle.note_asker(worker);
        }
        state.note_repeater(worker);
        drop(state);
        self.tell_end(worker.ended.take(), now);
        (None, claim)
    }

    /// Books the call that the worker has finished; it claims the next one later.
    pub fn finish(&self, worker: &mut Worker, finished: Finished<W>, now: Time) -> Leftover<W> {
        self.tell_end(self.end_of(worker.lease, &finished), now);
        let mut state = self.state();
        self.note_end(&mut state, worker.lease(), &finished, now);
        #[cfg(debug_assertions)]
        state.idle.note_coming(worker, true, now);
        state.finish(worker, finished, now)
    }

    /// Whether the worker could start something at once; takes nothing. A thread that is to exit is
    /// not counted any more.
    pub fn look(&self, worker: &mut Worker, now: Time) -> Claim<W> {
        let mut state = self.state();
        state.idle.unpark(worker);
        state.tell_owners();
        let instead = state
            .keep_monitoring(worker, now)
            .or_else(|| state.collect_reading(worker));
        let claim = match instead {
            Some(claim) => claim,
            None => state.claim(worker, self.limiter.as_ref(), now, false),
        };
        if !matches!(claim, Claim::Ready | Claim::Collect) {
            state.idle.arrive(worker);
        }
        let claim = match claim {
            Claim::Rest(until) => state.rest_or_go(worker, until, now),
            claim => {
                worker.unneeded_since = None;
                claim
            }
        };
        if matches!(claim, Claim::Exit) {
            state.release_thread();
        }
        #[cfg(debug_assertions)]
        state
            .idle
            .note_coming(worker, !matches!(claim, Claim::Rest(_) | Claim::Exit), now);
        claim
    }

    /// Books an operation without claiming another.
    pub fn book(&self, lease: &Lease, finished: Finished<W>, now: Time) -> Leftover<W> {
        self.tell_end(self.end_of(Some(*lease), &finished), now);
        let mut state = self.state();
        self.note_end(&mut state, Some(lease), &finished, now);
        state.book(lease, finished, now)
    }

    /// Gives up a nested worker, in whatever it was doing.
    pub fn leave(&self, mut worker: Worker) {
        let mut state = self.state();
        state.idle.unpark(&worker);
        let now = self.now();
        #[cfg(debug_assertions)]
        state.idle.note_coming(&worker, false, now);
        state.leave_lead(&mut worker, now);
        state.wake_one(now);
    }

    /// Takes note of what the answer to a call that still runs says is left of the server's limit, and
    /// until when. Nothing starts meanwhile that would not be counted.
    pub fn hear(&self, started: Time, remaining: u64, until: Time, now: Time) {
        let Some(limiter) = &self.limiter else {
            return;
        };
        let state = self.state();
        let running: usize = state
            .batches
            .live()
            .map(|batch| batch.running().len())
            .sum();
        let told = Told {
            started,
            remaining,
            until,
            running: u64::try_from(running.saturating_sub(1)).unwrap_or(u64::MAX),
        };
        limiter.hear(&told, now);
    }

    /// Whether there is something to start, and no thread to do it.
    pub fn is_stranded(&self, now: Time) -> bool {
        let state = self.state();
        state.slots.threads() == 0 && state.wants_thread(now)
    }

    /// Whether there is something to start, and all threads wait inside operations.
    pub fn is_stuck(&self, now: Time) -> bool {
        let state = self.state();
        state.slots.all_wait() && state.wants_thread(now)
    }

    /// Whether `which` picks the context of a batch that its owner attends.
    pub fn attends(&self, which: impl Fn(&W::Context) -> bool + Send) -> bool {
        let state = self.state();
        state
            .batches
            .live()
            .any(|batch| batch.is_attended() && which(batch.context()))
    }

    /// Takes no more batches. Workers end when there is nothing left to do.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.idle.wake_all();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn closed(&self) -> bool {
        self.state().closed
    }

    /// Whether there will never be anything to do any more.
    pub fn is_over(&self) -> bool {
        self.state().over()
    }

    /// Ends every batch that `which` picks. Gives those that nobody else will take out, to be
    /// dropped.
    #[must_use]
    pub fn end_where(
        &self,
        end: EndReason,
        which: impl Fn(&Batch<W>) -> bool + Send,
    ) -> Vec<Batch<W>> {
        let state = &mut *self.state();
        let mut forgotten = Vec::new();
        for (id, batch) in state.batches.with_ids_mut() {
            if which(batch) {
                batch.end(end);
                state.idle.wake([batch.tell_owner()]);
                if batch.owner.is_gone() && batch.idle() {
                    forgotten.push(id);
                }
            }
        }
        let forgotten = forgotten.into_iter();
        let forgotten = forgotten
            .filter_map(|id| state.batches.remove(id))
            .collect();
        state.wake_joiners_if_drained();
        state.idle.wake_all();
        forgotten
    }

    /// No owner will come back: nothing is to wait for one.
    pub fn detach_owners(&self) {
        let mut state = self.state();
        for batch in state.batches.live_mut() {
            batch.owner.detach();
        }
        state.wake_joiners_if_drained();
    }

    /// None if nothing waits or runs any more. If something does, `joiner` will be signalled, and is to
    /// look again at the time given: a batch whose deadline has passed by then is ended, as its owner
    /// may not be there to do so.
    pub fn joined(&self, joiner: &Arc<Signal>, now: Time) -> Option<Time> {
        let mut state = self.state();
        let owners = state.batches.expire(now);
        if !owners.is_empty() {
            state.idle.wake(owners);
            state.idle.wake_all();
        }
        if state.batches.drained() {
            return None;
        }
        state.idle.join(joiner);
        Some(state.batches.next_deadline())
    }

    /// Whether all worker threads have left, those too that ran what is no more known here, but for
    /// one that asks for a permit, which it may never be given. If not,
    /// `joiner` will be signalled when the last one does.
    pub fn deserted(&self, joiner: &Arc<Signal>) -> bool {
        let mut state = self.state();
        let deserted = state.deserted();
        if !deserted {
            state.idle.join(joiner);
        }
        deserted
    }
}
