//! What passes between the scheduler and those who work for it or wait for it.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::batch::{Batch, Unkept};
use crate::engine::clock::Clock;
use crate::engine::limiter::{Ended, Ticket};
use crate::engine::model::{Attempt, BatchId, CallResult, Running, Work};
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// A wait for the limit that is longer is told when it begins.
pub const LONG_WAIT: Duration = Duration::from_secs(10);

/// A worker's place at the scheduler. It belongs to one thread.
#[derive(Debug)]
pub struct Worker {
    pub(super) id: u64,
    pub(super) signal: Arc<Signal>,
    pub(super) only: Option<(BatchId, Option<usize>)>,
    pub(super) ticket: Option<Ticket>,
    /// Its thread may go before the executor ends.
    pub(super) spare: bool,
    /// Since when there are threads enough without this one, which has nothing to do.
    pub(super) unneeded_since: Option<Time>,
    /// Since when it waits for permits, by the clock that stands still in pauses.
    pub(super) waiting_since: Option<Time>,
    pub(super) serves: Option<BatchId>,
    pub(super) lease: Option<Lease>,
    /// The limit makes everybody wait until then, which its thread is to tell.
    pub(super) long_wait: Option<Time>,
    /// What it waits for a permit for, as it was told last.
    pub(super) waits_for: Option<BatchId>,
    /// It has called something before.
    pub(super) experienced: bool,
    /// The end of its last call, until the limiter is told.
    pub(super) ended: Option<Ended>,
    /// It could repeat its last claim when it made it: the lock is not taken in vain where not.
    pub(super) may_repeat: bool,
}

impl Worker {
    /// The operation that was claimed last, until it is booked.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The batch that it waits for a permit for, if it does. Takes it.
    pub const fn take_waits_for(&mut self) -> Option<BatchId> {
        self.waits_for.take()
    }

    /// Until when the limit makes everybody wait, if that is long and nobody was told. Takes it.
    pub fn take_long_wait(&mut self) -> Option<Time> {
        self.long_wait.take()
    }

    /// Forgets which batch it served last.
    pub fn forget(&mut self) {
        self.serves = None;
    }

    /// Looks out, until `until`, which is near, for something to start, without going to sleep. Whether
    /// there may be. Only while detached.
    #[must_use]
    pub fn look_out(&self, until: Time) -> bool {
        self.signal.spin_until(until)
    }

    /// Waits until there may be something to start, or until `until`. Only while detached.
    pub fn rest(&self, until: Time, clock: &Clock) {
        clock.wait(&self.signal, until, None);
    }
}

/// What a worker is to do next.
#[derive(Debug)]
pub enum Claim<W: Work> {
    /// Call this operation, now.
    Start(Start<W>),
    /// Something can start: attach, and claim again.
    Ready,
    /// Ask the limiter, which is not ours, for one permit, tell its answer, and claim again.
    Ask(Ask<W>),
    /// An owner waits for its input: attach, add what it has read, and claim again.
    Collect,
    /// A server is to be given up: attach, do so, and claim again.
    GiveUp,
    /// Nothing can start before this time, unless signalled.
    Rest(Time),
    /// Its thread is to end: there will never be anything more, or it is a spare that nobody needs.
    Exit,
}

/// A permit that is to be asked for.
#[derive(Debug)]
pub struct Ask<W: Work> {
    /// For what is next of this.
    pub batch: BatchId,
    /// What its operations share.
    pub context: Arc<W::Context>,
    /// The worker that is to ask waits inside an operation.
    pub nested: bool,
}

/// An operation between its start and its end.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Whose operation it is.
    pub batch: BatchId,
    /// Its place and times.
    pub running: Running,
    /// Its worker has called nothing before.
    first: bool,
    /// The limiter knows of its end, or is not to.
    end_told: bool,
}

impl Lease {
    /// An operation that was started; `first` if its worker has called nothing before.
    #[inline(always)]
    #[must_use]
    pub const fn new(batch: BatchId, running: Running, first: bool) -> Self {
        Self {
            batch,
            running,
            first,
            end_told: running.refused,
        }
    }

    /// Its end, for a limiter that is to know how long calls take; once, and never of what was
    /// refused its permit.
    #[inline(always)]
    pub(super) fn end(&mut self, ended: Time, succeeded: bool) -> Option<Ended> {
        let told = std::mem::replace(&mut self.end_told, true);
        (!told).then_some(Ended {
            started: self.running.started,
            weight: 1,
            ended,
            first: self.first,
            typical: succeeded,
        })
    }

    /// The worker has called the next operation in its place.
    #[inline(always)]
    pub(super) const fn goes_on(&mut self) {
        self.first = false;
        self.end_told = false;
    }
}

/// An operation that has its permit. Its place and times are with the worker.
#[derive(Debug)]
pub struct Start<W: Work> {
    /// What it shares with the others of its batch; None if the worker's last start was of the same.
    pub context: Option<Arc<W::Context>>,
    /// The operation.
    pub job: W::Job,
}

/// What may be left over when a call has been booked, to be dropped without the lock.
pub type Leftover<W> = Option<Box<Remains<W>>>;

/// What is left over when a call has been booked.
#[derive(Debug)]
pub enum Remains<W: Work> {
    /// A batch whose owner has gone, and whose last operation this was.
    Batch(Box<Batch<W>>),
    /// A result that nobody waits for any more.
    Result(CallResult<W>),
    /// Earlier attempts of an operation that has ended.
    Attempts(Vec<Attempt<W::Error>>),
    /// An operation that will not be called again.
    Job(W::Job),
    /// More than one thing.
    Both(Leftover<W>, Leftover<W>),
}

impl<W: Work> Remains<W> {
    /// What is not kept of an operation that has ended.
    #[inline(never)]
    pub(super) fn of(unkept: Unkept<W>) -> Leftover<W> {
        let Unkept {
            result,
            job,
            attempts,
        } = unkept;
        let result = result.map(|result| Box::new(Self::Result(result)));
        let job = job.map(|job| Box::new(Self::Job(job)));
        let attempts = (!attempts.is_empty()).then(|| Box::new(Self::Attempts(attempts)));
        Self::both(Self::both(result, job), attempts)
    }

    pub(super) fn both(one: Leftover<W>, other: Leftover<W>) -> Leftover<W> {
        match (one, other) {
            (None, only) | (only, None) => only,
            both => Some(Box::new(Self::Both(both.0, both.1))),
        }
    }
}

/// What the owner of a batch is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read this many operations from the input, or fewer.
    Feed(usize),
    /// Take outcomes.
    HandOver,
    /// It has ended, or run to the end of its input.
    Settled,
    /// Nothing to do before this time, unless signalled.
    Rest(Time),
}
