//! What the workers do, and what every start must keep to.

use paceline::engine::model::{Ending, Finished};
use paceline::engine::scheduler::{Claim, Lease};
use paceline::engine::time::Time;

use super::nested::Nested;
use super::{Mood, Post, Thread, UNIT, Verdict, World};
use crate::fixture::{Plain, SUBMITTED, Started, woken};

impl Thread {
    /// Whether what it calls can end.
    pub(super) fn calls(&self) -> bool {
        match &self.nested {
            Some(nested) => nested.calls(),
            None => matches!(self.post, Post::Calling(_)),
        }
    }
}

impl World {
    pub(super) fn work(&mut self, place: usize) {
        let now = self.now();
        let thread = &mut self.threads[place];
        if let Post::Resting(_) = thread.post {
            woken(&thread.worker);
            thread.post = Post::Awake;
        }
        let claim = if let Post::Attached = thread.post {
            thread.worker.forget();
            thread.serves = None;
            let (leftover, claim) = self.scheduler.claim(&mut thread.worker, None, now);
            assert!(leftover.is_none());
            self.placed(place, claim);
            return;
        } else {
            self.scheduler.look(&mut thread.worker, now)
        };
        let post = match claim {
            Claim::Ready => Post::Attached,
            Claim::Rest(until) => Post::Resting(until),
            Claim::Exit => Post::Gone,
            Claim::Collect => {
                while let Some((id, _)) = self.scheduler.take_reading() {
                    let account = self.account_of(id);
                    self.accounts[account].mood = Mood::Reading(0);
                    self.add(account, self.accounts[account].inbox);
                }
                Post::Attached
            }
            Claim::Start(_) | Claim::Ask(_) => panic!("a look took something"),
            Claim::GiveUp => panic!("nobody gives up"),
        };
        self.threads[place].post = post;
    }

    /// After a claim the worker starts, or goes back to its loop and looks again.
    pub(super) fn placed(&mut self, place: usize, claim: Claim<Plain>) {
        self.threads[place].post = match claim {
            Claim::Rest(_) | Claim::Exit => Post::Awake,
            Claim::Ready | Claim::Collect | Claim::GiveUp => panic!("a claim only looked"),
            Claim::Ask(ask) => {
                assert!(!ask.nested);
                assert!(self.active() < self.setting.workers, "no worker is free");
                self.asks(ask.batch);
                Post::Asking(ask.batch)
            }
            claim @ Claim::Start(_) => {
                let start = Started::by(&self.threads[place].worker, claim).unwrap();
                assert!(
                    self.active() < self.setting.workers,
                    "more run than there are workers"
                );
                let serves = &mut self.threads[place].serves;
                let known = serves.replace(start.batch) == Some(start.batch);
                assert_eq!(start.context.is_none(), known);
                self.started(&start, false);
                Post::Calling(start)
            }
        };
    }

    /// The worker has started another operation of the batch that it serves.
    fn repeated(&mut self, place: usize, job: usize) {
        let Lease { batch, running, .. } = *self.threads[place].worker.lease().unwrap();
        assert_eq!(self.threads[place].serves, Some(batch));
        let start = Started {
            batch,
            running,
            context: None,
            job,
        };
        self.started(&start, false);
        self.threads[place].post = Post::Calling(start);
    }

    pub(super) fn started(&mut self, start: &Started, inside: bool) {
        self.left_alone.clear();
        let now = self.now();
        let account = self.account_of(start.batch);
        let ended = self.ended(account);
        assert!(now >= self.recovery.opens(), "started during a pause");
        if self.setting.foreign {
            assert!(self.granted, "started without a permit");
            self.granted = false;
        } else {
            self.take_permit();
        }
        let spacing = self.spacing();
        self.recovery.start(now, now, 1, spacing);
        let account = &mut self.accounts[account];
        let running = start.running;
        let index = running.index;
        assert_eq!((start.job, running.started), (index, now));
        let late = now >= account.options.deadline && ended.is_none();
        assert!(!late || account.orphaned, "started after the deadline");
        assert_eq!(ended, None, "started after the end");
        if running.attempt == 1 {
            assert!(account.waiting.remove(&index), "started twice");
            if inside {
                account.out_of_turn.insert(index);
            }
            if !account.out_of_turn.contains(&index) {
                assert!(account.last_first < Some(index), "started out of order");
                account.last_first = Some(index);
            }
        } else {
            let (due, attempts) = account
                .retries
                .remove(&index)
                .expect("it waited for a retry");
            assert!(due <= now, "tried again before it was due");
            assert_eq!(running.attempt, attempts + 1);
            let earlier = account
                .retries
                .iter()
                .filter(|(other, (time, _))| (*time, **other) < (due, index));
            assert_eq!(earlier.count(), 0, "overtook a retry that was due earlier");
        }
        account.running.insert(index, running.attempt);
        account.starts += 1;
    }

    pub(super) fn finish(&mut self, which: usize, verdict: Verdict) {
        let calling: Vec<_> = (0..self.threads.len())
            .filter(|place| self.threads[*place].calls())
            .collect();
        if calling.is_empty() {
            return;
        }
        let place = calling[which % calling.len()];
        if self.threads[place].nested.is_some() {
            return self.finish_inside(place, verdict);
        }
        let now = self.now();
        let Post::Calling(start) = std::mem::replace(&mut self.threads[place].post, Post::Awake)
        else {
            return;
        };
        let (finished, gone) = self.ended_as(&start, verdict);
        let worker = &mut self.threads[place].worker;
        if let Ending::Result(Ok(value), _) = finished.ending {
            match self.scheduler.repeat(worker, value, now) {
                Ok(job) => return self.repeated(place, job),
                Err(back) => assert_eq!(back, value),
            }
        }
        let (leftover, claim) = self.scheduler.claim(worker, Some(finished), now);
        if gone && start.batch != SUBMITTED {
            assert!(
                leftover.is_some(),
                "what is lost was dropped within the lock"
            );
        }
        if leftover.is_some() {
            assert!(
                matches!(claim, Claim::Ready),
                "claimed before it was dropped"
            );
            self.threads[place].post = Post::Attached;
            return;
        }
        self.placed(place, claim);
    }

    /// How many call something, but for those in whose place another may work.
    pub(super) fn active(&self) -> usize {
        let calling = self
            .threads
            .iter()
            .filter(|thread| matches!(thread.post, Post::Calling(_)));
        let aside = |thread: &&Thread| thread.nested.as_ref().is_some_and(Nested::stands_aside);
        calling.filter(|thread| !aside(thread)).count()
    }

    /// Books what has ended, for the tests; whether its batch has gone.
    pub(super) fn ended_as(
        &mut self,
        start: &Started,
        verdict: Verdict,
    ) -> (Finished<Plain>, bool) {
        let now = self.now();
        let (began, spacing) = (start.running.started, self.spacing());
        if matches!(verdict, Verdict::Done) {
            self.recovery.answered(began, now, spacing);
        } else {
            self.recovery.unanswered(began);
        }
        let account = self.account_of(start.batch);
        let gone = self.scheduler.with(start.batch, |_| ()).is_none();
        let ended = self.ended(account).is_some();
        let account = &mut self.accounts[account];
        let (index, attempts) = (start.running.index, start.running.attempt);
        if !gone {
            account.running.remove(&index);
        }
        let again = match verdict {
            Verdict::Again(units) => Some(Time::from_nanos(self.now + units * UNIT)),
            _ => None,
        };
        let failed = !matches!(verdict, Verdict::Done);
        let result = if failed { Err(index) } else { Ok(index) };
        let ending = match again {
            Some(due) => Ending::Again(index, due, start.job),
            None if start.batch == SUBMITTED => Ending::Delivered(failed),
            None => Ending::Result(result, matches!(verdict, Verdict::Fatal)),
        };
        match again {
            _ if gone => {}
            Some(due) if !ended => {
                account.retries.insert(index, (due, attempts));
            }
            _ => {
                account.finished.insert(index, (result, attempts));
                account.completed.push(index);
            }
        }
        (
            Finished {
                ended: now,
                ending,
                waited: 0,
            },
            gone,
        )
    }
}
