//! Whether a batch ends before its input does, and why.

use std::collections::VecDeque;

use crate::engine::model::{BatchOptions, EndReason, FailureLimit};
use crate::engine::retry::Hopeless;
use crate::engine::time::Time;

/// What may end a batch early, and what has.
#[derive(Debug)]
pub(super) struct EarlyEnd<E> {
    /// From then on nothing more of the batch starts.
    reason: Option<EndReason>,
    /// The operation whose failure ended it.
    operation: Option<usize>,
    /// Why the server was given up that it waited for, if it was ended by that.
    hopeless: Option<Hopeless>,
    /// What the limiter failed with.
    limiter_error: Option<E>,
    deadline: Time,
    /// The deadline is that of the batch whose operation has begun this one.
    deadline_of_outer: bool,
    stop_on_failure: bool,
    failure_limit: Option<FailureLimit>,
    /// Whether the last operations failed, where a share of them may not.
    recent: VecDeque<bool>,
}

impl<E> EarlyEnd<E> {
    pub(super) const fn new(options: &BatchOptions) -> Self {
        Self {
            reason: None,
            operation: None,
            hopeless: None,
            limiter_error: None,
            deadline: options.deadline,
            deadline_of_outer: false,
            stop_on_failure: options.stop_on_failure,
            failure_limit: options.failure_limit,
            recent: VecDeque::new(),
        }
    }

    #[inline(always)]
    pub(super) const fn reason(&self) -> Option<EndReason> {
        self.reason
    }

    #[inline(always)]
    pub(super) const fn has_come(&self) -> bool {
        self.reason.is_some()
    }

    /// Whether nothing more starts at that time.
    #[inline(always)]
    pub(super) fn keeps_from_starting(&self, now: Time) -> bool {
        self.reason.is_some() || now >= self.deadline
    }

    #[inline(always)]
    pub(super) const fn deadline(&self) -> Time {
        self.deadline
    }

    /// The batch has no deadline any more.
    pub(super) const fn forget_deadline(&mut self) {
        self.deadline = Time::NEVER;
    }

    /// An operation of a batch with that deadline has begun this one, which has no later one.
    pub(super) fn bring_forward(&mut self, outer: Time) {
        self.deadline_of_outer = outer < self.deadline;
        self.deadline = self.deadline.min(outer);
    }

    /// What it is ended by when its deadline passes.
    pub(super) const fn at_deadline(&self) -> EndReason {
        if self.deadline_of_outer {
            EndReason::Outer
        } else {
            EndReason::Timeout
        }
    }

    pub(super) const fn end(&mut self, reason: EndReason) {
        self.reason = Some(reason);
    }

    /// The operation whose failure ended it.
    pub(super) const fn operation(&self) -> Option<usize> {
        self.operation
    }

    /// An operation has ended; `failures` have failed with it. Ends the batch if that asks for it, and
    /// it `may` be ended.
    #[inline(always)]
    pub(super) fn judge(
        &mut self,
        (index, failed, fatal): (usize, bool, bool),
        failures: usize,
        may: bool,
    ) {
        let judged = failed || self.judges_successes();
        if let Some(FailureLimit::Share { of, .. }) = self.failure_limit {
            self.recent.push_back(failed);
            if self.recent.len() > of {
                self.recent.pop_front();
            }
        }
        if judged && may {
            self.judge_failures(index, failed, fatal, failures);
        }
    }

    #[inline(never)]
    fn judge_failures(&mut self, index: usize, failed: bool, fatal: bool, failures: usize) {
        if failed && (fatal || self.stop_on_failure) {
            self.reason = Some(EndReason::Operation);
            self.operation = Some(index);
        } else if self.failure_limit.is_some_and(|limit| match limit {
            FailureLimit::Count(count) => failures >= count,
            FailureLimit::Share { share, of } => {
                self.recent.len() == of && share_of(&self.recent) >= share
            }
        }) {
            self.reason = Some(EndReason::MaxFailures);
        }
    }

    /// Whether an operation that succeeds may end the batch: until as many have ended as the share of
    /// failures is of, the failures before it are still to be judged.
    #[inline(always)]
    pub(super) fn judges_successes(&self) -> bool {
        matches!(
            self.failure_limit,
            Some(FailureLimit::Share { of, .. }) if self.recent.len() < of
        )
    }

    /// Notes why the server is given up that the batch waits for.
    pub(super) const fn note_hopeless(&mut self, why: Hopeless) {
        self.hopeless = Some(why);
    }

    pub(super) const fn hopeless(&self) -> Option<Hopeless> {
        self.hopeless
    }

    /// Notes what the limiter failed with; the first failure counts.
    pub(super) fn fail_limiter(&mut self, error: E) -> Option<E> {
        if self.limiter_error.is_some() {
            return Some(error);
        }
        self.limiter_error = Some(error);
        None
    }

    pub(super) const fn limiter_error(&self) -> Option<&E> {
        self.limiter_error.as_ref()
    }

    pub(super) const fn take_limiter_error(&mut self) -> Option<E> {
        self.limiter_error.take()
    }
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn share_of(recent: &VecDeque<bool>) -> f64 {
    recent.iter().filter(|failed| **failed).count() as f64 / recent.len() as f64
}
