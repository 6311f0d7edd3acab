//! The scheduler's side towards those who own sources: they feed them, ask for their permits, and
//! take what becomes of them.

use std::sync::Arc;

use super::Scheduler;
use super::claim::{Dispatch, Ongoing, Seat, SourceId, Start, Step};
use super::locked::Locked;
use crate::engine::ledger::Ledger;
use crate::engine::signal::Signal;
use crate::engine::source::Source;
use crate::engine::terms::{Acquirer, End, Terms, Work};
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
        state.asks_elsewhere |= terms.acquirer != Acquirer::Worker;
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
    pub fn with<T>(&self, id: SourceId, look: impl FnOnce(&mut Source<W>) -> T) -> Option<T> {
        // None of that changes what may start.
        Locked::new(&self.state).source(id).map(look)
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

    /// Adds operations that were read. Returns whether there is something to do before the next is
    /// read: a further worker thread is wanted, or outcomes can be handed over.
    pub fn feed_some(&self, id: SourceId, jobs: impl ExactSizeIterator<Item = W::Job>) -> bool {
        let mut state = self.state();
        let Some(source) = state.source(id) else {
            return false;
        };
        source.feed(jobs, false);
        // It may have been ended by others.
        let ready = source.ready() || source.ended.is_some();
        let short = source.is_short();
        if short && state.watched() {
            // Whoever is woken would wait until the interpreter is let go, so there is time.
            return ready;
        }
        // What is new can start at once; retries that have become due meanwhile wake by themselves.
        let now = state.latest;
        state.stir(now);
        ready || state.wants_thread(now)
    }

    /// Whether the owner may read `count` operations before it adds them: somebody keeps watch, and
    /// is told by [`Claim::Collect`](super::Claim::Collect) to add them when one is long in coming.
    pub fn begin_reading(&self, id: SourceId, count: usize) -> bool {
        let mut state = self.state();
        if state.source(id).is_some_and(|it| it.deserves_watch(count)) {
            state.post_watch();
        }
        let watched = state.watched();
        let Some(source) = state.source(id) else {
            return false;
        };
        source.being_read = watched && source.is_short();
        source.being_read
    }

    /// The owner reads no more before it adds what it has read.
    pub fn end_reading(&self, id: SourceId) {
        if let Some(source) = self.state().source(id) {
            source.being_read = false;
        }
    }

    /// A source whose owner is reading, and what its operations share: to be added by the caller.
    pub fn take_reading(&self) -> Option<(SourceId, Arc<W::Context>)> {
        let mut state = self.state();
        let mut entries = state.sources.iter_mut().enumerate();
        entries.find_map(|(slot, entry)| {
            let (serial, source) = entry.as_mut()?;
            let id = SourceId {
                slot,
                serial: *serial,
            };
            source
                .cut_short()
                .then(|| (id, Arc::clone(&source.context)))
        })
    }

    /// Wakes and tells those who were not, as they would only have queued for the interpreter.
    /// For an owner that has let go of it.
    pub fn catch_up(&self, now: Time) {
        let mut state = self.state();
        state.wake_one(now);
        state.tell_owners(now);
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

    /// What the owner of a source is to do next. `nested` owners are workers themselves, and need
    /// no other one free.
    pub fn step(&self, id: SourceId, nested: bool, now: Time) -> Step {
        let mut state = self.state();
        let free = state.free_slots(now);
        let paused_until = state.paused_until;
        let unpaused = state.pauses.unpaused(now);
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
        if source.ended.is_some() {
            state.stir(now);
            return Step::Settled;
        }
        let room = source.room();
        if room > 0 {
            return Step::Feed(room);
        }
        if source.settled() {
            return Step::Settled;
        }
        let mut until = source.terms.deadline;
        if source.terms.acquirer == Acquirer::Owner {
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
                    source.ask(unpaused);
                    return Step::Acquire;
                }
            }
            // Even beside what is due: others may use a permit for that, and tell nobody.
            until = until.min(source.next_due_after(now));
        }
        source.owner_waits = true;
        source.owner_works = nested;
        Step::Rest(until)
    }

    /// What the dispatcher is to do next.
    pub fn dispatch(&self, now: Time) -> Dispatch {
        let mut state = self.state();
        state.dispatcher_waits = false;
        let mut until = Time::NEVER;
        let free = state.free_slots(now);
        let paused_until = state.paused_until;
        let unpaused = state.pauses.unpaused(now);
        for slot in state.turns() {
            let Some((serial, source)) = &mut state.sources[slot] else {
                continue;
            };
            if source.terms.acquirer != Acquirer::Dispatcher {
                continue;
            }
            if source.wants_permit(now) {
                if now < paused_until {
                    until = until.min(paused_until);
                } else if free > 0 {
                    source.ask(unpaused);
                    let id = SourceId {
                        slot,
                        serial: *serial,
                    };
                    state.turn = slot + 1;
                    return Dispatch::Acquire(id);
                }
            }
            until = until.min(source.next_due_after(now));
        }
        if state.over() {
            return Dispatch::Exit;
        }
        // It may have been told of a free worker that an owner was not told of.
        state.offer_slot(now);
        state.dispatcher_waits = true;
        Dispatch::Rest(until)
    }

    /// The signal on which the dispatcher rests.
    #[must_use]
    pub fn dispatcher_signal(&self) -> Arc<Signal> {
        Arc::clone(&self.state().dispatcher)
    }

    /// Hands on a permit that the owner or the dispatcher was granted.
    pub fn grant(&self, id: SourceId, now: Time) {
        let mut state = self.state();
        let unpaused = state.pauses.unpaused(now);
        if let Some(source) = state.source(id) {
            let mut told = source.asked();
            source.grant(now, unpaused);
            if source.owner_works && source.owner_waits {
                told.push(source.tell_owner());
            }
            state.notices.extend(told);
        }
        state.stir(now);
    }

    /// Gives up asking for a permit.
    pub fn stop_asking(&self, id: SourceId, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            let told = source.asked();
            state.notices.extend(told);
        }
        state.stir(now);
    }

    /// Whether a worker that waits for one call is to ask for its permit, and then tell by
    /// [`grant_held`](Self::grant_held) or [`withdraw`](Self::withdraw). Nobody else asks for it.
    pub fn hold(&self, seat: &Seat, now: Time) -> bool {
        let mut state = self.state();
        let Some((id, Some(index))) = seat.only else {
            return false;
        };
        if now < state.paused_until {
            return false;
        }
        state.source(id).is_some_and(|source| {
            source.terms.acquirer == Acquirer::Dispatcher && source.hold(index, &seat.signal, now)
        })
    }

    /// The permit was granted that is asked for since [`hold`](Self::hold).
    pub fn grant_held(&self, id: SourceId, index: usize, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.grant_held(index);
            if !source.holds(index) {
                state.stir(now);
            }
        }
    }

    /// Takes the next operation as one that was refused its permit. It is booked by
    /// [`book`](Self::book), or left to a worker by [`leave_refusal`](Self::leave_refusal).
    pub fn refuse(&self, id: SourceId, now: Time) -> Option<(Ongoing, Start<W>)> {
        let mut state = self.state();
        let source = state.source(id)?;
        let told = source.asked();
        let refused = source.refuse(now);
        let context = Some(Arc::clone(&source.context));
        state.notices.extend(told);
        let Some((running, job)) = refused else {
            state.stir(now);
            return None;
        };
        Some((
            Ongoing {
                source: id,
                running,
            },
            Start { context, job },
        ))
    }

    /// Leaves it to a worker to tell that an operation was refused its permit: the worker starts
    /// `job`, with [`Running::refused`](crate::engine::source::Running::refused).
    pub fn leave_refusal(&self, ongoing: &Ongoing, job: W::Job, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(ongoing.source) {
            source.leave_refusal(&ongoing.running, job);
            state.stir(now);
        }
    }

    /// Ends a source: nothing more of it starts.
    pub fn end(&self, id: SourceId, end: End, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            source.end(end);
            let told = source.tell_owner();
            state.notices.add(told);
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
        let (_, mut source) = state.sources[id.slot].take()?;
        source.note_waiting(now, state.pauses.unpaused(now));
        state.end_inner(id, source.running());
        state.stir(now);
        state.tell_joiners();
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
            return (
                None,
                state.sources[id.slot].take().map(|(_, source)| source),
            );
        }
        source.orphaned = true;
        let records = source.ledger.take_left();
        // What its deadline held back may start.
        state.stir(now);
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
            state.stir(now);
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
