//! The scheduler's side towards those who own sources: they add them, ask what there is to do, end
//! them and take them out.

use std::sync::Arc;

use super::Scheduler;
use super::claim::{SourceId, Step};
use super::locked::Locked;
use crate::engine::ledger::Ledger;
use crate::engine::lock::LockSafe;
use crate::engine::signal::Signal;
use crate::engine::source::Source;
use crate::engine::terms::{End, Terms, Work};
use crate::engine::time::Time;

/// What is to be dropped when an owner has gone: the records so far, or all of the source.
pub type Orphaned<W> = (
    Option<Ledger<<W as Work>::Value, <W as Work>::Error>>,
    Option<Source<W>>,
);

impl<W: Work> Scheduler<W> {
    /// Takes up a source; None after [`close`](Self::close). One that a running operation has begun,
    /// of the source and by the worker in `outer`, ends with that source if it is given up; if it
    /// has been already, at once.
    pub fn add(
        &self,
        context: Arc<W::Context>,
        owner: Arc<Signal>,
        terms: Terms,
        outer: Option<(SourceId, u64)>,
        now: Time,
    ) -> Option<SourceId> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        state.serials += 1;
        let serial = state.serials;
        let unpaused = state.pauses.unpaused(now);
        let mut source = Source::new(context, owner, terms, now, unpaused);
        if let Some((outer, seat)) = outer {
            if state.is_given_up(outer, now) {
                source.ended = Some(End::Outer);
            } else if let Some(outer_source) = state.source(outer) {
                source.begin_within(outer, outer_source, seat);
            }
        }
        let source = (serial, source);
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

    /// Looks at one source, or takes its outcomes; None if it has been removed.
    ///
    /// `look` runs under the lock. It is `Send`, so that it holds nothing that belongs to one thread,
    /// such as the interpreter.
    pub fn with<T>(
        &self,
        id: SourceId,
        look: impl FnOnce(&mut Source<W>) -> T + Send,
    ) -> Option<T> {
        // None of that changes what may start.
        Locked::new(&self.state).source(id).map(look)
    }

    /// The same with something lent to `look` that is not `Send`, and harmless.
    pub fn with_lent<L: LockSafe, T>(
        &self,
        id: SourceId,
        lent: L,
        look: impl FnOnce(&mut Source<W>, L) -> T + Send,
    ) -> Option<T> {
        let mut state = Locked::new(&self.state);
        state.source(id).map(|source| look(source, lent))
    }

    /// Wakes and tells those who were not, as they would only have queued for the interpreter.
    /// For an owner that has let go of it.
    pub fn catch_up(&self, now: Time) {
        let mut state = self.state();
        state.wake_one(now);
        state.tell_owners();
    }

    /// What the owner of a source is to do next. `nested` owners are workers themselves, and start
    /// operations of it meanwhile.
    pub fn step(&self, id: SourceId, nested: bool, now: Time) -> Step {
        let mut state = self.state();
        let opens = state.recovery.opens();
        if now < opens {
            state.end_if_hopeless(id, now);
        }
        let Some(source) = state.source(id) else {
            return Step::Settled;
        };
        source.owner_waits = false;
        if now >= source.terms.deadline && !source.ready() {
            source.expire();
        }
        if source.ready() {
            return Step::HandOver;
        }
        if source.ended().is_some() {
            state.reschedule(now);
            return Step::Settled;
        }
        let room = source.room();
        if room > 0 {
            return Step::Feed(room);
        }
        if source.settled() {
            return Step::Settled;
        }
        let until = source.terms.deadline;
        source.owner_waits = true;
        source.owner_works = nested;
        Step::Rest(until)
    }

    /// Ends a source: nothing more of it starts.
    pub fn end(&self, id: SourceId, end: End, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.end(end);
            let told = source.tell_owner();
            state.notices.add(told);
            state.reschedule(now);
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

    /// Whether an outcome may become ready that is not yet, and until when; if so its owner will be
    /// signalled.
    pub fn expects(&self, id: SourceId) -> Option<Time> {
        let mut state = self.state();
        let source = state.source(id)?;
        source.owner_waits = source.ended.is_none() && !source.ready() && !source.quiet();
        source.owner_waits.then_some(source.terms.deadline)
    }

    /// Takes a source out. Nobody will ask what becomes of what it still runs.
    pub fn remove(&self, id: SourceId, now: Time) -> Option<Source<W>> {
        let (source, _) = self.state().remove(id, false, now)?;
        Some(source)
    }

    /// The owner has gone, and nobody will take the outcomes; what was read still runs. Returns what
    /// is to be dropped: the records so far, or the source if all of it has run.
    pub fn orphan(&self, id: SourceId, now: Time) -> Orphaned<W> {
        let mut state = self.state();
        let Some(source) = state.source(id) else {
            return (None, None);
        };
        source.finish_input();
        source.terms.deadline = Time::NEVER;
        if source.settled() || source.ended.is_some() {
            return (None, state.take_out(id, false).map(|(source, _)| source));
        }
        source.orphaned = true;
        let records = source.ledger.take_left();
        // What its deadline held back may start.
        state.reschedule(now);
        (Some(records), None)
    }

    /// Takes an operation out of the queue, or out of the waiting retries; None if it has started.
    pub fn withdraw(&self, id: SourceId, index: usize) -> Option<W::Job> {
        let mut state = self.state();
        let source = state.source(id)?;
        let job = source
            .withdraw(index)
            .or_else(|| source.withdraw_retry(index));
        if job.is_some() {
            let now = state.latest;
            state.reschedule(now);
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
}
