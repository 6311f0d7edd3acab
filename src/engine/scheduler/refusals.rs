//! What a server's refusals do to the executor that meets them: it pauses, sends one call first when
//! the pause is over, and gives the server up in the end.

use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use super::claim::Lease;
use super::state::State;
use crate::engine::batch::Batch;
use crate::engine::flow::Spacing;
use crate::engine::limiter::Limiter;
use crate::engine::lock::LockSafe;
use crate::engine::model::{Attempt, BatchId, Dropped, Ending, Finished, Work};
use crate::engine::recovery::Refusal;
use crate::engine::retry::{Hopeless, Pause};
use crate::engine::time::Time;

/// Where no limit says how fast calls may follow each other after a probe, the workers begin one by
/// one within so long, at most.
const WINDOW: Duration = Duration::from_secs(1);

/// What a refusal leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// For how long everybody pauses.
    pub pause: Pause,
    /// The batch whose call it was goes on.
    pub goes_on: bool,
}

/// What is left of the batches that do not wait for a server any more.
#[derive(Debug)]
pub struct GivenUp<W: Work> {
    /// What the operations of those share that have ended before they were all begun.
    pub ended: Vec<Arc<W::Context>>,
    /// The submitted calls that waited, by their indexes, and why they are not made.
    pub calls: Vec<(usize, W::Job, Hopeless)>,
    /// Operations that are not called again, and results of which no record is kept: to be dropped.
    pub dropped: Vec<Dropped<W>>,
    /// Batches that nobody else will take out: to be dropped.
    pub forgotten: Vec<Batch<W>>,
}

impl<W: Work> Scheduler<W> {
    /// A call of the batch was refused, so nothing starts for a time. The limiter keeps that, for
    /// everybody who shares it; where there is none, the scheduler does.
    ///
    /// What gives up the server by that has ended when anybody else looks.
    pub fn refused<L: LockSafe + Copy>(
        &self,
        id: BatchId,
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
            let now = now.max(state.fast.last_start());
            state.recovery.refused(refusal, now)
        };
        state.pauses.extend(now, pause.until);
        let hopeless = state.hopeless(limiter, now);
        let is_hopeless = |id| hopeless.iter().any(|(given_up, _)| *given_up == id);
        if pause.begins {
            for (each, batch) in state.batches.with_ids_mut() {
                if !is_hopeless(each) {
                    batch.count_pause();
                }
            }
        }
        let goes_on = !is_hopeless(id);
        let given_up = state.give_up(&hopeless, lent, failed, now);
        state.reopen(now);
        (Refused { pause, goes_on }, given_up)
    }

    /// The server has answered a call, whatever that has come to, and has not refused it.
    pub fn answered(&self, lease: &Lease, now: Time) {
        let mut state = self.state();
        if self.recovers(&state) {
            self.probe_ended(&mut state, lease.running.started, true, now);
        }
    }

    /// Ends what does not wait for the server any more. Shows `failed` each operation that has failed
    /// by that, as its batch has nothing else left to start; under the lock, with what is lent to it.
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
        lease: Option<&Lease>,
        finished: &Finished<W>,
        now: Time,
    ) {
        if self.recovers(state)
            && let Some(lease) = lease.filter(|lease| !lease.running.refused)
        {
            // What an error stands for was told before, if anybody could judge it.
            let answered = matches!(
                finished.ending,
                Ending::Result(Ok(_), _) | Ending::Delivered(false)
            );
            self.probe_ended(state, lease.running.started, answered, now);
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
        let workers = u32::try_from(self.slots.workers().max(1)).unwrap_or(u32::MAX);
        Spacing {
            interval: window / workers,
            window,
        }
    }

    /// What is waited for has changed: who waits for it looks again.
    fn reopen(&mut self, now: Time) {
        self.idle.wake_leader();
        let owners = self.batches.live_mut();
        self.idle.wake(owners.filter_map(Batch::tell_working_owner));
        self.wake_one(now);
    }

    /// Why the batch is to give up the server, if so.
    fn despairs(&self, batch: &Batch<W>, limiter: Option<&Limiter>, now: Time) -> Option<Hopeless> {
        let give_up = self.gives_up.as_ref()?;
        let since = batch.hopeful_since();
        match limiter {
            Some(limiter) => limiter.hopeless(give_up, since, now),
            None => self.recovery.hopeless(give_up, since, now),
        }
    }

    /// The batches that are to, and why.
    fn hopeless(&self, limiter: Option<&Limiter>, now: Time) -> Vec<(BatchId, Hopeless)> {
        let batches = self.batches.with_ids();
        batches
            .filter_map(|(id, batch)| Some((id, self.despairs(batch, limiter, now)?)))
            .collect()
    }

    fn give_up<L: LockSafe + Copy>(
        &mut self,
        hopeless: &[(BatchId, Hopeless)],
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
        for (id, why) in hopeless.iter().copied() {
            let Some(batch) = self.batches.get_mut(id) else {
                continue;
            };
            if id == Scheduler::<W>::SUBMITTED {
                // Those that are submitted from now on begin anew.
                batch.hope_anew(now);
                let calls = batch.withdraw_all().into_iter();
                given_up.calls = calls.map(|(index, job)| (index, job, why)).collect();
                continue;
            }
            if !batch.waits_for_server() {
                continue;
            }
            if batch.has_more() {
                batch.give_up(why);
                given_up.ended.push(batch.share_context());
            } else {
                let context = batch.share_context();
                let dropped = batch.fail_retries(|index, last| failed(&context, index, last, lent));
                given_up.dropped.extend(dropped);
            }
            self.idle.wake([batch.tell_owner()]);
            if batch.owner.is_gone() && batch.over() {
                given_up.forgotten.extend(self.batches.remove(id));
            }
        }
        if !hopeless.is_empty() {
            self.reschedule(now);
            self.wake_joiners_if_drained();
        }
        given_up
    }

    /// Whether some batch is that still waits for it.
    pub(super) fn is_to_give_up(&self, limiter: Option<&Limiter>, now: Time) -> bool {
        self.gives_up.is_some()
            && limiter.is_none_or(Limiter::recovers)
            && self
                .batches
                .live()
                .filter(|batch| batch.waits_for_server())
                .any(|batch| self.despairs(batch, limiter, now).is_some())
    }

    /// Ends a batch that is not to wait for as long as the server asks, before anything of it waits
    /// to be called again. For an owner that would wait for it.
    pub(super) fn end_if_hopeless(&mut self, id: BatchId, now: Time) {
        let batch = self.batches.get(id).filter(|batch| batch.has_more());
        let hopeless = batch.and_then(|batch| self.despairs(batch, None, now));
        if let Some(why) = hopeless
            && let Some(batch) = self.batches.get_mut(id)
        {
            batch.give_up(why);
        }
    }
}
