//! Permits: of the limiter that the workers share, and of one of another make that is asked.

use paceline::engine::recovery::Refusal;
use paceline::engine::schedule::{Dispatch, Ending, Finished};
use paceline::engine::terms::Acquirer;

use std::time::Duration;

use super::nested::Nested;
use super::{Mood, UNIT, World};
use crate::fixture::{CALLS, attempts, given};

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
            .refused(CALLS, &refusal, (), |_, _, _, ()| {}, now);
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

    pub(super) fn dispatch(&mut self) {
        given(&self.scheduler.dispatcher_signal());
        let now = self.now();
        self.dispatcher = match self.scheduler.dispatch(now) {
            Dispatch::Exit => {
                assert!(self.closed, "the dispatcher went home");
                Mood::Closed
            }
            Dispatch::Rest(until) => {
                assert!(
                    until > now,
                    "a dispatcher that rests until the past runs in circles"
                );
                Mood::Resting(until)
            }
            Dispatch::GiveUp => panic!("nobody gives up"),
            Dispatch::Acquire(id) => {
                let account = self.account_of(id);
                assert_eq!(self.accounts[account].terms.acquirer, Acquirer::Dispatcher);
                let late = now >= self.accounts[account].terms.deadline;
                assert!(
                    !late || self.accounts[account].orphaned,
                    "dispatched too late"
                );
                self.accounts[account].asking = true;
                self.dispatching = Some(account);
                Mood::Asking
            }
        };
    }

    pub(super) fn answer(&mut self, which: usize, granted: bool) {
        let mut asked: Vec<_> = (0..self.accounts.len())
            .filter(|place| self.accounts[*place].mood == Mood::Asking)
            .collect();
        asked.extend(self.dispatching);
        let inside: Vec<_> = (0..self.workers.len())
            .filter(|place| {
                self.workers[*place]
                    .nested
                    .as_ref()
                    .is_some_and(Nested::asks)
            })
            .collect();
        if asked.is_empty() && inside.is_empty() {
            return;
        }
        let which = which % (asked.len() + inside.len());
        if which >= asked.len() {
            return self.answer_inside(inside[which - asked.len()], granted);
        }
        let place = asked[which];
        let now = self.now();
        if self.dispatching == Some(place) {
            self.dispatching = None;
            self.dispatcher = Mood::Awake;
        } else {
            self.accounts[place].mood = Mood::Awake;
        }
        self.accounts[place].asking = false;
        let id = self.accounts[place].id;
        if self.scheduler.with(id, |_| ()).is_none() {
            return;
        }
        if granted {
            self.accounts[place].granted += 1;
            self.scheduler.grant(id, now);
        } else if let Some((ongoing, start)) = self.scheduler.refuse(id, now) {
            let account = &mut self.accounts[place];
            let index = ongoing.running.index;
            let fresh = account.waiting.remove(&index);
            let attempts = account
                .retries
                .remove(&index)
                .map_or(0, |(_, attempts)| attempts);
            assert!(fresh || attempts > 0, "refused what does not wait");
            assert_eq!(ongoing.running.attempt, attempts);
            if fresh {
                assert!(account.last_first < Some(index));
            }
            if id == CALLS {
                account.refused.insert(index, attempts);
                self.scheduler.leave_refusal(&ongoing, start.job, now);
            } else {
                account.finished.insert(index, (Err(index), attempts));
                account.completed.push(index);
                let ending = Ending::Result(Err(start.job), false);
                let finished = Finished {
                    ended: now,
                    ending,
                    waited: 0,
                };
                self.scheduler.book(&ongoing, finished, now);
            }
        }
        self.grow();
    }

    pub(super) fn withdraw(&mut self, which: usize) {
        let calls = &mut self.accounts[0];
        if calls.read == 0 {
            return;
        }
        let index = calls.read - 1 - which % calls.read.min(4);
        calls.held.remove(&index);
        let waited = calls.waiting.remove(&index)
            || calls.retries.remove(&index).is_some()
            || calls.refused.remove(&index).is_some();
        let job = self.scheduler.withdraw(CALLS, index);
        assert_eq!(job, waited.then_some(index));
        if waited {
            calls.finished.insert(index, (Err(index), 0));
        }
    }
}
