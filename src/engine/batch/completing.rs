//! What becomes of the operations of a batch that have started.

use std::time::Duration;

use super::{Batch, Completed, Unkept};
use crate::engine::model::{Attempt, CallResult, Dropped, Ending, Finished, Running, Work};
use crate::engine::retry::Budget;
use crate::engine::time::Time;

impl<W: Work> Batch<W> {
    /// Books an operation that has ended.
    #[inline(always)]
    pub(in crate::engine) fn complete(
        &mut self,
        running: &Running,
        finished: Finished<W>,
        now: Time,
    ) -> Completed<W> {
        let Finished {
            ended,
            ending,
            waited,
        } = finished;
        let running = &running.having_waited(waited);
        self.forget_running(running.index);
        if !running.refused {
            let nanos = ended.nanos_since(running.started);
            self.totals.count_time(nanos, waited);
            self.typical.see(nanos);
        }
        let (result, job) = match ending {
            Ending::Again(error, due, job) if !self.end.has_come() => {
                let attempt = Attempt::of(error, running, ended);
                self.results.remember(running.index, attempt);
                self.retries.add(running, due, job);
                return Completed::Retried;
            }
            Ending::Again(error, _, job) => {
                let unkept = self.record(running, Err(error), ended);
                self.judge(running.index, true, false);
                self.retries.note_unretried(running.index);
                (unkept, Some(job))
            }
            Ending::Result(result, fatal) => {
                let failed = result.is_err();
                let unkept = self.record(running, result, ended);
                if failed && !fatal && now >= self.end.deadline() {
                    self.fail_late();
                } else {
                    self.judge(running.index, failed, fatal);
                }
                (unkept, None)
            }
            Ending::Cancelled(error) => {
                let running = Running {
                    cancelled: true,
                    ..*running
                };
                self.totals.cancelled += 1;
                (self.results.keep(&running, Err(error), ended), None)
            }
            Ending::Delivered(failed) => {
                self.totals.count_end(failed);
                let attempts = self.results.history_of(running.index);
                if attempts.is_empty() {
                    return Completed::Recorded;
                }
                return Completed::Dropped(Unkept {
                    result: None,
                    job: None,
                    attempts,
                });
            }
        };
        if result.is_none() && job.is_none() {
            return Completed::Recorded;
        }
        Completed::Dropped(Unkept {
            result,
            job,
            attempts: Vec::new(),
        })
    }

    #[inline(always)]
    fn forget_running(&mut self, index: usize) {
        let place = self.running.iter().position(|each| each.index == index);
        if let Some(place) = place {
            self.running.swap_remove(place);
        }
    }

    /// Keeps what an operation has come to, and counts it. Gives that back where no records are kept.
    #[inline(always)]
    pub(super) fn record(
        &mut self,
        running: &Running,
        result: CallResult<W>,
        ended: Time,
    ) -> Option<CallResult<W>> {
        self.totals.count_end(result.is_err());
        self.results.keep(running, result, ended)
    }

    /// Ends the batch if an operation that has ended, or its failures so far, ask for it.
    #[inline(always)]
    pub(super) fn judge(&mut self, index: usize, failed: bool, fatal: bool) {
        let may = self.ended().is_none();
        let ending = (index, failed, fatal);
        self.end.judge(ending, self.totals.failed, may);
    }

    /// Takes those that wait to be tried again for failed, and shows `failed` with what. Returns what
    /// is to be dropped: the operations, and the results of which no record is kept.
    pub(in crate::engine) fn fail_retries(
        &mut self,
        mut failed: impl FnMut(usize, &Attempt<W::Error>),
    ) -> Vec<Dropped<W>> {
        let waiting: Vec<_> = self.retries.take_all().collect();
        let mut dropped = Vec::with_capacity(waiting.len());
        for retry in waiting {
            let mut attempts = self.results.history_of(retry.index);
            let Some(last) = attempts.pop() else {
                // Those of a batch whose owner has gone are not kept.
                self.totals.count_end(true);
                dropped.push((retry.job, None));
                continue;
            };
            for attempt in attempts {
                self.results.remember(retry.index, attempt);
            }
            let running = Running {
                index: retry.index,
                worker: Running::NOBODY,
                attempt: retry.attempts,
                refused: false,
                cancelled: false,
                started: last.started,
                permit_wait: last.permit_wait,
                waited_before: retry.waited.saturating_sub(last.permit_wait),
            };
            let ended = last.started + Duration::from_nanos(last.duration);
            failed(retry.index, &last);
            let result = self.record(&running, Err(last.error), ended);
            dropped.push((retry.job, result));
            self.judge(retry.index, true, false);
        }
        dropped
    }

    /// Spends one repetition of the budget, if it allows one and the batch goes on.
    pub fn spend_retry(&mut self, budget: Option<Budget>) -> bool {
        !self.end.has_come() && self.retries.spend(budget, self.input.read())
    }

    /// Whether its operations are short, as far as one can tell.
    #[inline(always)]
    pub(in crate::engine) const fn is_short(&self) -> bool {
        self.typical.is_short(self.totals.attempts)
    }

    /// An operation took long though they were taken for short.
    pub(in crate::engine) const fn was_not_short(&mut self) {
        self.typical.was_not_short(self.totals.attempts);
    }

    /// Everybody pauses, as a server asks.
    pub(in crate::engine) const fn count_pause(&mut self) {
        self.totals.pauses += 1;
    }
}
