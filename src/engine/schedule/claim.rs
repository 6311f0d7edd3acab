//! What passes between the scheduler and those who work for it or wait for it.

use std::sync::Arc;

use crate::engine::ledger::Attempt;
use crate::engine::limiter::{Ended, Ticket};
use crate::engine::signal::Signal;
use crate::engine::source::{Running, Source};
use crate::engine::terms::Work;
use crate::engine::time::Time;

/// Names a source as long as it is with the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceId {
    pub(super) slot: usize,
    pub(super) serial: u64,
}

/// A worker's place at the scheduler. It belongs to one thread.
#[derive(Debug)]
pub struct Seat {
    pub(super) id: u64,
    pub(super) signal: Arc<Signal>,
    pub(super) only: Option<(SourceId, Option<usize>)>,
    pub(super) ticket: Option<Ticket>,
    /// Its thread may go before the executor ends.
    pub(super) spare: bool,
    /// Since when there are threads enough without this one, which has nothing to do.
    pub(super) unneeded_since: Option<Time>,
    /// Since when it waits for permits, by the clock that stands still in pauses.
    pub(super) waiting_since: Option<Time>,
    pub(super) serves: Option<SourceId>,
    pub(super) ongoing: Option<Ongoing>,
    /// The limit makes everybody wait until then, which its thread is to tell.
    pub(super) long_wait: Option<Time>,
    /// It has called something before.
    pub(super) experienced: bool,
    /// The end of its last call, until the limiter is told.
    pub(super) ended: Option<Ended>,
    /// It could repeat its last claim when it made it: the lock is not taken in vain where not.
    pub(super) may_repeat: bool,
}

impl Seat {
    /// The operation that was claimed last, until it is booked.
    #[must_use]
    pub fn ongoing(&self) -> Option<&Ongoing> {
        self.ongoing.as_ref()
    }

    /// Until when the limit makes everybody wait, if that is long and nobody was told. Takes it.
    pub fn take_long_wait(&mut self) -> Option<Time> {
        self.long_wait.take()
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
    pub source: SourceId,
    /// What its operations share.
    pub context: Arc<W::Context>,
    /// The worker that is to ask waits inside an operation.
    pub nested: bool,
}

/// An operation between its start and its end.
#[derive(Debug, Clone, Copy)]
pub struct Ongoing {
    /// Whose operation it is.
    pub source: SourceId,
    /// Its place and times.
    pub running: Running,
    /// Its worker has called nothing before.
    first: bool,
    /// The limiter knows of its end, or is not to.
    end_told: bool,
}

impl Ongoing {
    /// An operation that was started; `first` if its worker has called nothing before.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: SourceId, running: Running, first: bool) -> Self {
        Self {
            source,
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
    /// Nanoseconds of its time in which it waited for permits that it asked for itself.
    pub waited: u64,
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

impl<W: Work> Ending<W> {
    #[inline(always)]
    pub(super) const fn is_success(&self) -> bool {
        matches!(self, Self::Result(Ok(_), _) | Self::Delivered(false))
    }
}

/// What may be left over when a call has been booked, to be dropped without the lock.
pub type Leftover<W> = Option<Box<Remains<W>>>;

/// What is left over when a call has been booked.
#[derive(Debug)]
pub enum Remains<W: Work> {
    /// A source whose owner has gone, and whose last operation this was.
    Source(Box<Source<W>>),
    /// A result that nobody waits for any more.
    Result(Result<W::Value, W::Error>),
    /// Earlier attempts of an operation that has ended.
    Attempts(Vec<Attempt<W::Error>>),
    /// An operation that will not be called again.
    Job(W::Job),
    /// More than one thing.
    Both(Leftover<W>, Leftover<W>),
}

/// What the owner of a source is to do next.
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
