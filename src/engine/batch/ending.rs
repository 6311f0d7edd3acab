//! How a batch comes to its end.

use super::Batch;
use crate::engine::model::{EndReason, Work};
use crate::engine::retry::Hopeless;
use crate::engine::time::Time;

impl<W: Work> Batch<W> {
    /// Why it ended early, if it did: what was to keep the rest of it from starting has not ended it
    /// where there was none.
    #[inline(always)]
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.end.reason().filter(|end| {
            !matches!(end, EndReason::Cancelled | EndReason::Broken)
                || !self.input.is_complete()
                || self.waiting() + self.retries.unretried().len() > 0
        })
    }

    /// Ends the batch, unless it has run to its end or was ended before.
    pub(in crate::engine) fn end(&mut self, reason: EndReason) {
        if !self.settled() && self.ended().is_none() {
            self.end.end(reason);
        }
    }

    #[inline(always)]
    pub(in crate::engine) const fn deadline(&self) -> Time {
        self.end.deadline()
    }

    /// When it expires, if it has not ended.
    pub(in crate::engine) const fn expires(&self) -> Time {
        if self.end.has_come() {
            Time::NEVER
        } else {
            self.end.deadline()
        }
    }

    /// Ends the batch as its deadline has passed.
    pub(in crate::engine) fn expire(&mut self) {
        self.end(self.end.at_deadline());
    }

    /// Whether it is to expire, as its deadline has passed and it has not ended.
    pub(in crate::engine) fn is_overdue(&self, now: Time) -> bool {
        now >= self.end.deadline() && self.ended().is_none() && !self.settled()
    }

    /// An operation has failed from the deadline on, so perhaps because of it: that ends the batch,
    /// also if this was the last one.
    pub(super) fn fail_late(&mut self) {
        if self.ended().is_none() {
            self.end.end(self.end.at_deadline());
        }
    }

    /// What the operation failed with whose failure ended the batch.
    #[must_use]
    pub fn ending_error(&self) -> Option<&W::Error> {
        self.results.error_at(self.end.operation()?)
    }

    /// Notes what the limiter failed with; the first failure counts.
    pub fn fail_limiter(&mut self, error: W::Error) -> Option<W::Error> {
        self.end.fail_limiter(error)
    }

    /// Takes what the limiter failed with.
    pub const fn take_limiter_error(&mut self) -> Option<W::Error> {
        self.end.take_limiter_error()
    }

    /// Ends it, as the server it waits for was given up.
    pub(in crate::engine) fn give_up(&mut self, why: Hopeless) {
        self.end.note_hopeless(why);
        self.end(EndReason::Refused);
    }

    /// Why the server was given up, if the batch was ended by that.
    #[must_use]
    pub const fn hopeless(&self) -> Option<Hopeless> {
        self.end.hopeless()
    }

    /// Refusals that were met before do not tell it that the server is to be given up.
    pub(in crate::engine) const fn hopeful_since(&self) -> Time {
        self.hopeful_since
    }

    /// Those met until now do not.
    pub(in crate::engine) const fn hope_anew(&mut self, now: Time) {
        self.hopeful_since = now;
    }

    /// Counts how much of its time everybody paused, and how long it has waited for the permit that
    /// it will not use, as it ends now.
    pub(in crate::engine) fn note_waiting(&mut self, now: Time, unpaused: Time) {
        let worked = unpaused.nanos_since(self.began_unpaused);
        self.totals.paused = now.nanos_since(self.began).saturating_sub(worked);
        // Otherwise that wait was over when the batch ended, which may be long ago.
        if !self.waits_for_running() {
            self.book_wait(unpaused - now.since(self.end.deadline()));
        }
    }

    /// Whether its end waits for what runs: not where it was given up.
    pub(in crate::engine) fn waits_for_running(&self) -> bool {
        self.end.reason().is_none_or(EndReason::waits_for_running)
    }

    /// Whether what runs is waited for, whatever has ended it.
    pub(in crate::engine) fn is_patient(&self) -> bool {
        self.waits_for_running() || self.end.reason() == Some(EndReason::Refused)
    }

    /// Whether something of it was not begun.
    pub(in crate::engine) fn has_more(&self) -> bool {
        !self.input.is_complete() || self.input.waiting() > 0
    }

    /// Whether something of it may be called that does not run.
    pub(in crate::engine) fn waits_for_server(&self) -> bool {
        let more = !self.input.is_complete() && !self.is_submitted();
        !self.end.has_come() && (self.waiting() > 0 || more)
    }

    /// Whether nothing of it runs.
    pub(in crate::engine) const fn idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Nothing of it waits or runs.
    pub(in crate::engine) fn quiet(&self) -> bool {
        self.idle() && (self.end.has_come() || self.waiting() == 0)
    }

    /// It has run to the end of its input.
    pub(in crate::engine) fn settled(&self) -> bool {
        self.input.is_complete() && self.quiet()
    }

    /// There will never be anything of it to do.
    pub(in crate::engine) fn over(&self) -> bool {
        self.quiet() && (self.end.has_come() || self.input.is_complete() || self.is_submitted())
    }
}
