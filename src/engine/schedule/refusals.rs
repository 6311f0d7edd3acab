//! What a server's refusals do to the executor that meets them: it pauses, sends one call first when
//! the pause is over, and gives the server up in the end.

use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use super::claim::{Ending, Finished, Ongoing, SourceId};
use super::state::State;
use crate::engine::flow::Spacing;
use crate::engine::ledger::Attempt;
use crate::engine::limiter::Limiter;
use crate::engine::lock::LockSafe;
use crate::engine::recovery::Refusal;
use crate::engine::retry::{Hopeless, Pause};
use crate::engine::source::Source;
use crate::engine::terms::{Dropped, Work};
use crate::engine::time::Time;

/// Where no limit says how fast calls may follow each other after a probe, the workers begin one by
/// one within so long, at most.
const WINDOW: Duration = Duration::from_secs(1);

/// What a refusal leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// For how long everybody pauses.
    pub pause: Pause,
    /// The source whose call it was goes on.
    pub goes_on: bool,
}

/// What is left of the sources that do not wait for a server any more.
#[derive(Debug)]
pub struct GivenUp<W: Work> {
    /// What the operations of those share that have ended before they were all begun.
    pub ended: Vec<Arc<W::Context>>,
    /// The submitted calls that waited, by their indexes, and why they are not made.
    pub calls: Vec<(usize, W::Job, Hopeless)>,
    /// Operations that are not called again, and results of which no record is kept: to be dropped.
    pub dropped: Vec<Dropped<W>>,
    /// Sources that nobody else will take out: to be dropped.
    pub forgotten: Vec<Source<W>>,
}

impl<W: Work> Scheduler<W> {
    /// A call of the source was refused, so nothing starts for a time. The limiter keeps that, for
    /// everybody who shares it; where there is none, the scheduler does.
    ///
    /// What gives up the server by that has ended when anybody else looks.
    pub fn refused<L: LockSafe + Copy>(
        &self,
        id: SourceId,
        refusal: &Refusal<'_>,
        lent: L,
        failed: impl FnMut(&Arc<W::Context>, usize, &Attempt<W::Error>, L) + Send,
        now: Time,
    ) -> (Refused, GivenUp<W>) {
        let limiter = self.limiter.as_ref();
        let mut state = self.state();
        let pause = if let Some(limiter) = limiter {
            limiter.refused(refusal, now)
        } else {
            // None has started later that was under way.
            let now = now.max(state.watch.last_start);
            state.recovery.refused(refusal, now)
        };
        state.pauses.extend(now, pause.until);
        let hopeless = state.hopeless(limiter, now);
        for (slot, entry) in state.sources.iter_mut().enumerate() {
            if let Some((_, source)) = entry
                && !hopeless.iter().any(|(given_up, _)| *given_up == slot)
            {
                source.ledger.totals.pauses += usize::from(pause.begins);
            }
        }
        let goes_on = !hopeless.iter().any(|(given_up, _)| *given_up == id.slot);
        let given_up = state.give_up(&hopeless, lent, failed, now);
        state.reopen(now);
        (Refused { pause, goes_on }, given_up)
    }

    /// The server has answered a call, whatever that has come to, and has not refused it.
    pub fn answered(&self, ongoing: &Ongoing, now: Time) {
        let mut state = self.state();
        if self.recovers(&state) {
            self.probe_ended(&mut state, ongoing.running.started, true, now);
        }
    }

    /// Ends what does not wait for the server any more. Shows `failed` each operation that has failed
    /// by that, as its source has nothing else left to start; under the lock, with what is lent to it.
    pub fn give_up<L: LockSafe + Copy>(
        &self,
        lent: L,
        failed: impl FnMut(&Arc<W::Context>, usize, &Attempt<W::Error>, L) + Send,
        now: Time,
    ) -> GivenUp<W> {
        let mut state = self.state();
        let hopeless = state.hopeless(self.limiter.as_ref(), now);
        state.give_up(&hopeless, lent, failed, now)
    }

    /// Tells how a call has ended, where that matters to those who wait for it.
    #[inline(always)]
    pub(super) fn note_end(
        &self,
        state: &mut State<W>,
        ongoing: Option<&Ongoing>,
        finished: &Finished<W>,
        now: Time,
    ) {
        if self.recovers(state)
            && let Some(ongoing) = ongoing.filter(|ongoing| !ongoing.running.refused)
        {
            // What an error stands for was told before, if anybody could judge it.
            let answered = matches!(
                finished.ending,
                Ending::Result(Ok(_), _) | Ending::Delivered(false)
            );
            self.probe_ended(state, ongoing.running.started, answered, now);
        }
    }

    #[inline(always)]
    fn recovers(&self, state: &State<W>) -> bool {
        match &self.limiter {
            Some(limiter) => limiter.recovers(),
            None => state.recovery.is_active(),
        }
    }

    #[inline(never)]
    fn probe_ended(&self, state: &mut State<W>, started: Time, answered: bool, now: Time) {
        if let Some(limiter) = &self.limiter {
            limiter.ended(started, answered, now);
            return;
        }
        let spacing = state.spacing();
        let opens = if answered {
            state.recovery.answered(started, now, spacing)
        } else {
            state.recovery.unanswered(started)
        };
        if opens {
            state.reopen(now);
        }
    }
}

impl<W: Work> State<W> {
    /// Notes that a call starts, where no limiter does so: it may be the one that goes first after a
    /// pause.
    #[inline(always)]
    pub(super) fn note_start(&mut self, now: Time) {
        if self.recovery.is_active() {
            let spacing = self.spacing();
            self.recovery.start(now, now, 1, spacing);
        }
    }

    /// How the workers follow a probe where there is no limit of ours.
    fn spacing(&self) -> Spacing {
        let window = self.recovery.length().min(WINDOW);
        let workers = u32::try_from(self.workers.max(1)).unwrap_or(u32::MAX);
        Spacing {
            interval: window / workers,
            window,
        }
    }

    /// What is waited for has changed: who waits for it looks again.
    fn reopen(&mut self, now: Time) {
        if let Some(leader) = &self.leader {
            self.notices.add(Arc::clone(&leader.signal));
        }
        for (_, source) in self.sources.iter_mut().flatten() {
            if source.owner_waits && source.owner_works {
                self.notices.add(source.tell_owner());
            }
        }
        self.wake_one(now);
    }

    /// Why the source is to give up the server, if so.
    fn despairs(
        &self,
        source: &Source<W>,
        limiter: Option<&Limiter>,
        now: Time,
    ) -> Option<Hopeless> {
        let give_up = self.gives_up.as_ref()?;
        let since = source.hopeful_since;
        match limiter {
            Some(limiter) => limiter.hopeless(give_up, since, now),
            None => self.recovery.hopeless(give_up, since, now),
        }
    }

    /// The slots of the sources that are to, and why.
    fn hopeless(&self, limiter: Option<&Limiter>, now: Time) -> Vec<(usize, Hopeless)> {
        let slots = self.sources.iter().enumerate();
        slots
            .filter_map(|(slot, entry)| {
                let (_, source) = entry.as_ref()?;
                Some((slot, self.despairs(source, limiter, now)?))
            })
            .collect()
    }

    fn give_up<L: LockSafe + Copy>(
        &mut self,
        hopeless: &[(usize, Hopeless)],
        lent: L,
        mut failed: impl FnMut(&Arc<W::Context>, usize, &Attempt<W::Error>, L) + Send,
        now: Time,
    ) -> GivenUp<W> {
        let mut given_up = GivenUp {
            ended: Vec::new(),
            calls: Vec::new(),
            dropped: Vec::new(),
            forgotten: Vec::new(),
        };
        for (slot, why) in hopeless.iter().copied() {
            let entry = &mut self.sources[slot];
            let Some((_, source)) = entry else { continue };
            if slot == Scheduler::<W>::CALLS.slot {
                // Those that are submitted from now on begin anew.
                source.hopeful_since = now;
                let calls = source.withdraw_all().into_iter();
                given_up.calls = calls.map(|(index, job)| (index, job, why)).collect();
                continue;
            }
            if !source.waits_for_server() {
                continue;
            }
            if source.has_more() {
                source.give_up(why);
                given_up.ended.push(Arc::clone(&source.context));
            } else {
                let context = Arc::clone(&source.context);
                let dropped =
                    source.fail_retries(|index, last| failed(&context, index, last, lent));
                given_up.dropped.extend(dropped);
            }
            self.notices.add(source.tell_owner());
            if source.orphaned && source.over() {
                let source = entry.take().map(|(_, source)| source);
                given_up.forgotten.extend(source);
            }
        }
        if !hopeless.is_empty() {
            self.reschedule(now);
            self.tell_joiners();
        }
        given_up
    }

    /// Whether some source is that still waits for it.
    pub(super) fn is_to_give_up(&self, limiter: Option<&Limiter>, now: Time) -> bool {
        self.gives_up.is_some()
            && limiter.is_none_or(Limiter::recovers)
            && self
                .live()
                .filter(|source| source.waits_for_server())
                .any(|source| self.despairs(source, limiter, now).is_some())
    }

    /// Ends a source that is not to wait for as long as the server asks, before anything of it waits
    /// to be called again. For an owner that would wait for it.
    pub(super) fn end_if_hopeless(&mut self, id: SourceId, now: Time) {
        let hopeless = match self.sources.get(id.slot) {
            Some(Some((serial, source))) if *serial == id.serial && source.has_more() => {
                self.despairs(source, None, now)
            }
            _ => None,
        };
        if let Some(why) = hopeless
            && let Some(source) = self.source(id)
        {
            source.give_up(why);
        }
    }
}
