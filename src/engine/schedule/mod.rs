//! Which worker starts which operation, and when.
//!
//! Workers pull: one that has finished takes the next operation itself if a permit is free at that
//! instant. Only when the limiter says wait does it rest, and then one worker, the *leader*, waits
//! for all of them. One lock guards everything here; it is held for moves and counts only, never
//! while waiting and never while an operation's object is dropped: what is to be dropped is handed
//! back to the caller.

mod asking;
mod claim;
mod feeding;
mod leader;
mod locked;
mod owners;
mod pauses;
mod refusals;
mod repeat;
mod spares;
mod state;
mod stragglers;
mod wakeups;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use self::asking::Asking;
pub use self::claim::{
    Ask, Claim, Ending, Finished, Leftover, Ongoing, Remains, Seat, SourceId, Start, Step,
};
pub use self::leader::LONG_WAIT;
use self::locked::{Locked, Notices};
pub use self::owners::Orphaned;
use self::pauses::Pauses;
pub use self::refusals::{GivenUp, Refused};
use self::state::State;
pub use self::stragglers::{Late, Stragglers, TakenOut};
use self::watch::Watch;
use super::limiter::{Ended, Limiter, Told};
use super::recovery::Recovery;
use super::retry::GiveUp;
use super::signal::Signal;
use super::source::Source;
use super::terms::{End, Terms, Work};
use super::time::Time;

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

    /// A scheduler for `workers` workers, whose permits come from `limiter`, if that is given.
    #[must_use]
    pub fn new(workers: usize, limiter: Option<Limiter>, context: Arc<W::Context>) -> Self {
        let now = Time::now();
        let calls = Source::new(context, Arc::default(), Terms::calls(), now, now);
        Self {
            limiter,
            state: Mutex::new(State {
                sources: vec![Some((Self::CALLS.serial, calls))],
                stragglers: HashMap::new(),
                serials: 0,
                turn: 0,
                parked: Vec::new(),
                waking: None,
                leader: None,
                joiners: Vec::new(),
                workers,
                capacity: workers,
                threads: 0,
                busy: 0,
                recovery: Recovery::default(),
                gives_up: None,
                pauses: Pauses::default(),
                told_until: Time::default(),
                closed: false,
                latest: Time::default(),
                asking: Asking::Never,
                await_answer: Vec::new(),
                watch: Watch::default(),
                repeater: None,
                notices: Notices::default(),
                #[cfg(debug_assertions)]
                checked: wakeups::Checked::default(),
            }),
            seats: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Says whether operations do not run side by side, but where they wait for something: so one
    /// worker is enough for those that are short.
    #[must_use]
    pub fn one_at_a_time(self, one: bool) -> Self {
        self.state().watch.one_at_a_time = one;
        self
    }

    /// Says whether workers are to [ask](Claim::Ask) for their permits, of a limiter that is not ours.
    #[must_use]
    pub fn asking(self, asks: bool) -> Self {
        self.state().asking = if asks { Asking::Nobody } else { Asking::Never };
        self
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
        state.repeater = None;
        state
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
            spare: false,
            unneeded_since: None,
            waiting_since: None,
            serves: None,
            ongoing: None,
            long_wait: None,
            experienced: false,
            ended: None,
            may_repeat: false,
        }
    }

    /// The end of a call, if the limiter is to be told.
    #[inline(always)]
    fn end_of(&self, ongoing: Option<Ongoing>, finished: &Finished<W>) -> Option<Ended> {
        self.limiter.as_ref().filter(|limiter| limiter.learns())?;
        ongoing?.end(finished.ended, finished.ending.is_success())
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
        seat: &mut Seat,
        finished: Option<Finished<W>>,
        now: Time,
    ) -> (Leftover<W>, Claim<W>) {
        let mut state = self.state();
        if let Some(finished) = finished {
            self.note_end(&mut state, seat.ongoing(), &finished, now);
            let ended = self.end_of(seat.ongoing, &finished);
            let leftover = state.finish(seat, finished, now);
            if leftover.is_some() {
                self.tell_end(ended, now);
                // What can start is not to wait for this worker.
                state.wake_one(now);
                return (leftover, Claim::Ready);
            }
            // Most often it is told with the next permit, which saves taking its lock twice.
            seat.ended = ended;
        } else {
            state.unpark(seat.id);
            state.arrive(seat.id);
        }
        #[cfg(debug_assertions)]
        state.note_coming(seat, false, now);
        let claim = state.claim(seat, self.limiter.as_ref(), now, true);
        #[cfg(debug_assertions)]
        if matches!(claim, Claim::Ask(_)) {
            state.note_asker(seat);
        }
        state.note_repeater(seat);
        drop(state);
        self.tell_end(seat.ended.take(), now);
        (None, claim)
    }

    /// Books the call that the worker has finished; it claims the next one later.
    pub fn finish(&self, seat: &mut Seat, finished: Finished<W>, now: Time) -> Leftover<W> {
        self.tell_end(self.end_of(seat.ongoing, &finished), now);
        let mut state = self.state();
        self.note_end(&mut state, seat.ongoing(), &finished, now);
        #[cfg(debug_assertions)]
        state.note_coming(seat, true, now);
        state.finish(seat, finished, now)
    }

    /// Whether the worker could start something at once; takes nothing. A thread that is to exit is
    /// not counted any more.
    pub fn look(&self, seat: &mut Seat, now: Time) -> Claim<W> {
        let mut state = self.state();
        state.unpark(seat.id);
        state.tell_owners();
        let instead = state
            .keep_watch(seat, now)
            .or_else(|| state.collect_reading(seat));
        let claim = match instead {
            Some(claim) => claim,
            None => state.claim(seat, self.limiter.as_ref(), now, false),
        };
        if !matches!(claim, Claim::Ready | Claim::Collect) {
            state.arrive(seat.id);
        }
        let claim = match claim {
            Claim::Rest(until) => state.rest_or_go(seat, until, now),
            claim => {
                seat.unneeded_since = None;
                claim
            }
        };
        if matches!(claim, Claim::Exit) {
            state.release_thread();
        }
        #[cfg(debug_assertions)]
        state.note_coming(seat, !matches!(claim, Claim::Rest(_) | Claim::Exit), now);
        claim
    }

    /// Books an operation without claiming another.
    pub fn book(&self, ongoing: &Ongoing, finished: Finished<W>, now: Time) -> Leftover<W> {
        self.tell_end(self.end_of(Some(*ongoing), &finished), now);
        let mut state = self.state();
        self.note_end(&mut state, Some(ongoing), &finished, now);
        state.book(ongoing, finished, now)
    }

    /// Gives up a nested seat, in whatever it was doing.
    pub fn leave(&self, mut seat: Seat) {
        let mut state = self.state();
        state.unpark(seat.id);
        let now = Time::now();
        #[cfg(debug_assertions)]
        state.note_coming(&seat, false, now);
        state.leave_lead(&mut seat, now);
        state.wake_one(now);
    }

    /// Takes note of what the answer to a call that still runs says is left of the server's limit, and
    /// until when. Nothing starts meanwhile that would not be counted.
    pub fn hear(&self, started: Time, remaining: u64, until: Time, now: Time) {
        let Some(limiter) = &self.limiter else {
            return;
        };
        let state = self.state();
        let running: usize = state.live().map(|source| source.running().len()).sum();
        let told = Told {
            started,
            remaining,
            until,
            running: u64::try_from(running.saturating_sub(1)).unwrap_or(u64::MAX),
        };
        limiter.hear(&told, now);
    }

    /// Whether a further worker thread would have something to do; counts it as started.
    pub fn reserve_thread(&self, now: Time) -> bool {
        let mut state = self.state();
        let wanted = state.wants_thread(now);
        state.threads += usize::from(wanted);
        wanted
    }

    /// Whether a further worker thread would have something to do.
    pub fn wants_thread(&self, now: Time) -> bool {
        self.state().wants_thread(now)
    }

    /// A worker thread could not be started.
    pub fn release_thread(&self) {
        self.state().release_thread();
    }

    /// Whether there is something to start, and no thread to do it.
    pub fn is_stranded(&self, now: Time) -> bool {
        let state = self.state();
        state.threads == 0 && state.wants_thread(now)
    }

    /// How many worker threads there are.
    pub fn threads(&self) -> usize {
        self.state().threads
    }

    /// Whether `which` picks the context of a source that its owner attends.
    pub fn attends(&self, which: impl Fn(&W::Context) -> bool + Send) -> bool {
        let state = self.state();
        state
            .live()
            .any(|source| source.terms.attended && which(source.context()))
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

    /// Ends every source that `which` picks. Gives those that nobody else will take out, to be
    /// dropped.
    #[must_use]
    pub fn end_where(&self, end: End, which: impl Fn(&Terms) -> bool + Send) -> Vec<Source<W>> {
        let state = &mut *self.state();
        let mut forgotten = Vec::new();
        for entry in &mut state.sources {
            let Some((_, source)) = entry else { continue };
            if which(&source.terms) {
                source.end(end);
                state.notices.add(source.tell_owner());
                if source.orphaned && source.idle() {
                    forgotten.extend(entry.take().map(|(_, source)| source));
                }
            }
        }
        state.tell_joiners();
        state.wake_all();
        forgotten
    }

    /// No owner will come back: nothing is to wait for one.
    pub fn detach_owners(&self) {
        let mut state = self.state();
        for (_, source) in state.sources.iter_mut().flatten() {
            source.terms.attended = false;
        }
        state.tell_joiners();
    }

    /// None if nothing waits or runs any more. If something does, `joiner` will be signalled, and is to
    /// look again at the time given: a source whose deadline has passed by then is ended, as its owner
    /// may not be there to do so.
    pub fn joined(&self, joiner: &Arc<Signal>, now: Time) -> Option<Time> {
        let mut state = self.state();
        if state.expire(now) {
            state.wake_all();
        }
        let drained = state.drained();
        if !drained && !state.joiners.iter().any(|other| Arc::ptr_eq(other, joiner)) {
            state.joiners.push(Arc::clone(joiner));
        }
        (!drained).then(|| state.next_deadline())
    }

    /// Whether all worker threads have left, those too that ran what is no more known here, but for
    /// one that asks for a permit, which it may never be given. If not,
    /// `joiner` will be signalled when the last one does.
    pub fn deserted(&self, joiner: &Arc<Signal>) -> bool {
        let mut state = self.state();
        let deserted = state.deserted();
        if !deserted && !state.joiners.iter().any(|other| Arc::ptr_eq(other, joiner)) {
            state.joiners.push(Arc::clone(joiner));
        }
        deserted
    }
}
