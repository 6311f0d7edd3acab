//! Permits of a limiter that is not ours: who is to ask for one, and what comes of it.

use std::sync::Arc;

use super::Scheduler;
use super::claim::{Dispatch, Ongoing, Seat, SourceId, Start};
use crate::engine::signal::Signal;
use crate::engine::terms::{Acquirer, Work};
use crate::engine::time::Time;

impl<W: Work> Scheduler<W> {
    /// What the dispatcher is to do next.
    pub fn dispatch(&self, now: Time) -> Dispatch {
        let mut state = self.state();
        state.dispatcher_waits = false;
        let mut until = Time::NEVER;
        let free = state.free_slots(now);
        let opens = state.recovery.opens();
        if now < opens && state.is_to_give_up(None, now) {
            return Dispatch::GiveUp;
        }
        let unpaused = state.pauses.unpaused(now);
        for slot in state.turns() {
            let Some((serial, source)) = &mut state.sources[slot] else {
                continue;
            };
            if source.terms.acquirer != Acquirer::Dispatcher {
                continue;
            }
            if source.wants_permit(now) {
                if now < opens {
                    until = until.min(opens);
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
        state.reschedule(now);
    }

    /// Gives up asking for a permit.
    pub fn stop_asking(&self, id: SourceId, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(id) {
            let told = source.asked();
            state.notices.extend(told);
        }
        state.reschedule(now);
    }

    /// Whether a worker that waits for one call is to ask for its permit, and then tell by
    /// [`grant_held`](Self::grant_held) or [`withdraw`](Self::withdraw). Nobody else asks for it.
    pub fn hold(&self, seat: &Seat, now: Time) -> bool {
        let mut state = self.state();
        let Some((id, Some(index))) = seat.only else {
            return false;
        };
        if now < state.recovery.opens() {
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
            if source.holds(index) {
                #[cfg(debug_assertions)]
                state.note_granted();
            } else {
                state.reschedule(now);
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
            state.reschedule(now);
            return None;
        };
        Some((Ongoing::new(id, running, true), Start { context, job }))
    }

    /// Leaves it to a worker to tell that an operation was refused its permit: the worker starts
    /// `job`, with [`Running::refused`](crate::engine::source::Running::refused).
    pub fn leave_refusal(&self, ongoing: &Ongoing, job: W::Job, now: Time) {
        let mut state = self.state();
        if let Some(source) = state.source(ongoing.source) {
            source.leave_refusal(&ongoing.running, job);
            state.reschedule(now);
        }
    }
}
