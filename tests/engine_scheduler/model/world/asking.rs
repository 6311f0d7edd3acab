//! Permits: of the limiter that the workers share, and of one of another make that is asked.

use std::time::Duration;

use paceline::engine::model::{BatchId, Ending, Finished};
use paceline::engine::recovery::Refusal;

use super::nested::Nested;
use super::{Post, UNIT, World};
use crate::fixture::{SUBMITTED, attempts};

impl World {
    pub(super) fn outsider(&mut self) {
        if let Some(limiter) = &self.limiter
            && limiter.try_acquire(1, self.now())
        {
            self.take_permit();
            let (now, spacing) = (self.now(), self.spacing());
            self.recovery.start(now, now, 1, spacing);
        }
    }

    pub(super) fn pause(&mut self, units: u64) {
        let now = self.now();
        let refusal = Refusal {
            policy: &attempts(5),
            started: now,
            retry_after: Some(Duration::from_nanos(units * UNIT)),
        };
        let pause = self.recovery.refused(&refusal, now);
        let (refused, _) = self
            .scheduler
            .refused(SUBMITTED, &refusal, (), |_, _, _, ()| {}, now);
        assert_eq!(refused.pause, pause);
    }

    /// No window holds more than the limit: told by the list of all starts.
    pub(super) fn take_permit(&mut self) {
        assert!(self.permit_there(), "a start beyond the limit");
        self.permits.push(self.now);
    }

    pub(super) fn permit_there(&self) -> bool {
        if self.now() < self.recovery.opens() {
            return false;
        }
        self.setting.limit.is_none_or(|(limit, units)| {
            let window = self.permits.iter().rev();
            let used = window
                .take_while(|start| *start + units * UNIT > self.now)
                .count();
            (used as u64) < limit
        })
    }

    /// A worker is to ask for a permit; whatever was granted before is lost.
    pub(super) fn asks(&mut self, batch: BatchId) {
        assert!(self.setting.foreign && !self.is_asking(), "two ask at once");
        self.granted = false;
        let account = &self.accounts[self.account_of(batch)];
        let late = self.now() >= account.options.deadline;
        assert!(!late || account.orphaned, "asked too late");
        assert!(self.now() >= self.recovery.opens(), "asked during a pause");
    }

    pub(super) fn is_asking(&self) -> bool {
        self.threads.iter().any(|thread| {
            matches!(thread.post, Post::Asking(_))
                || thread.nested.as_ref().is_some_and(Nested::asks)
        })
    }

    /// The worker that asks is answered.
    pub(super) fn answer(&mut self, granted: bool) {
        for place in 0..self.threads.len() {
            let thread = &mut self.threads[place];
            if let Post::Asking(batch) = thread.post {
                thread.post = Post::Attached;
                return self.answered(batch, granted);
            }
            if let Some(batch) = thread.nested.as_mut().and_then(Nested::answered) {
                return self.answered(batch, granted);
            }
        }
    }

    fn answered(&mut self, id: BatchId, granted: bool) {
        let now = self.now();
        if granted {
            self.granted = true;
            self.scheduler.grant();
            return;
        }
        let Some((lease, start)) = self.scheduler.refuse(id, now) else {
            return;
        };
        let place = self.account_of(id);
        let account = &mut self.accounts[place];
        let index = lease.running.index;
        let fresh = account.waiting.remove(&index);
        let attempts = account
            .retries
            .remove(&index)
            .map_or(0, |(_, attempts)| attempts);
        assert!(fresh || attempts > 0, "refused what does not wait");
        assert_eq!(lease.running.attempt, attempts);
        if fresh {
            assert!(account.last_first < Some(index));
        }
        account.finished.insert(index, (Err(index), attempts));
        account.completed.push(index);
        let ending = if id == SUBMITTED {
            Ending::Delivered(true)
        } else {
            Ending::Result(Err(start.job), false)
        };
        let finished = Finished {
            ended: now,
            ending,
            waited: 0,
        };
        self.scheduler.book(&lease, finished, now);
        self.grow();
    }

    pub(super) fn withdraw(&mut self, which: usize) {
        let calls = &mut self.accounts[0];
        if calls.read == 0 {
            return;
        }
        let index = calls.read - 1 - which % calls.read.min(4);
        let waited = calls.waiting.remove(&index) || calls.retries.remove(&index).is_some();
        let job = self.scheduler.withdraw(SUBMITTED, index);
        assert_eq!(job, waited.then_some(index));
        if waited {
            calls.finished.insert(index, (Err(index), 0));
        }
    }
}
