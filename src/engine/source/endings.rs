//! How a source comes to its end, and why it may do so early.

use std::collections::VecDeque;

use super::Source;
use crate::engine::ledger::Keep;
use crate::engine::retry::Hopeless;
use crate::engine::terms::{End, FailureLimit, Work};
use crate::engine::time::Time;

impl<W: Work> Source<W> {
    /// Ends the source, unless it has run to its end or was ended before.
    pub(in crate::engine) fn end(&mut self, end: End) {
        if !self.settled() && self.ended().is_none() {
            self.ended = Some(end);
        }
    }

    /// Ends the source as its deadline has passed.
    pub(in crate::engine) fn expire(&mut self) {
        self.end(self.end_at_deadline());
    }

    /// An operation has failed from the deadline on, so perhaps because of it: that ends the source,
    /// also if this was the last one.
    pub(in crate::engine) fn fail_late(&mut self) {
        if self.ended().is_none() {
            self.ended = Some(self.end_at_deadline());
        }
    }

    fn end_at_deadline(&self) -> End {
        if self.ends_with_outer {
            End::Outer
        } else {
            End::Timeout
        }
    }

    /// Ends the source if its failures ask for it.
    #[inline]
    pub(in crate::engine) fn judge(&mut self, index: usize, failed: bool, fatal: bool) {
        let judged = failed || self.judges_successes();
        if let Some(FailureLimit::Share { of, .. }) = self.terms.failure_limit {
            self.recent.push_back(failed);
            if self.recent.len() > of {
                self.recent.pop_front();
            }
        }
        if judged && self.ended().is_none() {
            self.judge_failures(index, failed, fatal);
        }
    }

    fn judge_failures(&mut self, index: usize, failed: bool, fatal: bool) {
        let failures = self.ledger.totals.failed;
        if failed && (fatal || self.terms.stop_on_failure) {
            self.ended = Some(End::Operation);
            self.ended_at = Some(index);
        } else if self.terms.failure_limit.is_some_and(|limit| match limit {
            FailureLimit::Count(count) => failures >= count,
            FailureLimit::Share { share, of } => {
                self.recent.len() == of && share_of(&self.recent) >= share
            }
        }) {
            self.ended = Some(End::MaxFailures);
        }
    }

    /// Whether one that succeeds may end the source: until there are as many as the share of
    /// failures is of, the failures before it are still to be judged.
    pub(super) fn judges_successes(&self) -> bool {
        matches!(
            self.terms.failure_limit,
            Some(FailureLimit::Share { of, .. }) if self.recent.len() < of
        )
    }

    /// Books how much of its time everybody paused, and how long it has waited for the permit that
    /// it will not use, as it ends now.
    pub(in crate::engine) fn note_waiting(&mut self, now: Time, unpaused: Time) {
        let worked = unpaused.nanos_since(self.began_unpaused);
        self.ledger.totals.paused = now.nanos_since(self.began).saturating_sub(worked);
        // Otherwise that wait was over when the source ended, which may be long ago.
        if !self.waits_for_running() {
            self.book_wait(unpaused - now.since(self.terms.deadline));
        }
    }

    /// Why it ended early, if it did: what was to keep the rest of it from starting has not ended it
    /// where there was none.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.ended.filter(|end| {
            let withheld = self.live + self.unretried.len();
            !matches!(end, End::Cancelled | End::Broken)
                || !self.complete
                || withheld > 0
                || !self.retries.is_empty()
        })
    }

    /// What the operation failed with whose failure ended the source.
    #[must_use]
    pub fn ending_error(&self) -> Option<&W::Error> {
        self.ledger.error_at(self.ended_at?)
    }

    /// Notes what the limiter failed with; the first failure counts.
    pub fn fail_limiter(&mut self, error: W::Error) -> Option<W::Error> {
        if self.limiter_error.is_some() {
            return Some(error);
        }
        self.limiter_error = Some(error);
        None
    }

    /// Takes what the limiter failed with.
    pub fn take_limiter_error(&mut self) -> Option<W::Error> {
        self.limiter_error.take()
    }

    /// Ends it, as the server it waits for was given up.
    pub(in crate::engine) fn give_up(&mut self, why: Hopeless) {
        self.hopeless = Some(why);
        self.end(End::Refused);
    }

    /// Why the server was given up, if the source was ended by that.
    #[must_use]
    pub fn hopeless(&self) -> Option<Hopeless> {
        self.hopeless
    }

    /// Whether what runs is waited for, whatever has ended it.
    pub(in crate::engine) fn is_patient(&self) -> bool {
        self.waits_for_running() || self.ended == Some(End::Refused)
    }

    /// Whether something of it was not begun.
    pub(in crate::engine) fn has_more(&self) -> bool {
        !self.complete || self.unstarted().next().is_some()
    }

    /// Whether something of it may be called that does not run.
    pub(in crate::engine) fn waits_for_server(&self) -> bool {
        let waits = self.live > 0 || !self.retries.is_empty();
        let more = !self.complete && self.terms.keep != Keep::Nothing;
        self.ended.is_none() && (waits || more)
    }

    /// Whether nothing of it runs.
    pub(in crate::engine) fn idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Nothing of it waits or runs.
    pub(in crate::engine) fn quiet(&self) -> bool {
        let waits = self.live > 0 || !self.retries.is_empty();
        self.idle() && (self.ended.is_some() || !waits)
    }

    /// It has run to the end of its input.
    pub(in crate::engine) fn settled(&self) -> bool {
        self.complete && self.quiet()
    }

    /// There will never be anything of it to do.
    pub(in crate::engine) fn over(&self) -> bool {
        self.quiet() && (self.ended.is_some() || self.complete || self.terms.keep == Keep::Nothing)
    }
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn share_of(recent: &VecDeque<bool>) -> f64 {
    recent.iter().filter(|failed| **failed).count() as f64 / recent.len() as f64
}
