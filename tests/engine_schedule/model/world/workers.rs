//! What the workers do, and what every start must keep to.

use paceline::engine::schedule::{Claim, Ending, Finished};
use paceline::engine::terms::{End, Gate};
use paceline::engine::time::Time;

use super::{Mood, Post, UNIT, Verdict, World};
use crate::fixture::{CALLS, Plain, Started, woken};

impl World {
    pub(super) fn work(&mut self, place: usize) {
        let now = self.now();
        let worker = &mut self.workers[place];
        if let Post::Resting(_) = worker.post {
            woken(&worker.seat);
            worker.post = Post::Awake;
        }
        let claim = if let Post::Attached = worker.post {
            worker.seat.forget();
            worker.serves = None;
            let (leftover, claim) = self.scheduler.claim(&mut worker.seat, None, now);
            assert!(leftover.is_none());
            self.placed(place, claim);
            return;
        } else {
            self.scheduler.look(&mut worker.seat, now)
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
            Claim::Start(_) => panic!("a look took something"),
        };
        self.workers[place].post = post;
    }

    /// After a claim the worker starts, or goes back to its loop and looks again.
    pub(super) fn placed(&mut self, place: usize, claim: Claim<Plain>) {
        self.workers[place].post = match claim {
            Claim::Rest(_) | Claim::Exit => Post::Awake,
            Claim::Ready | Claim::Collect => panic!("a claim only looked"),
            claim @ Claim::Start(_) => {
                let start = Started::by(&self.workers[place].seat, claim).unwrap();
                self.started(place, &start);
                Post::Calling(start)
            }
        };
    }

    pub(super) fn started(&mut self, place: usize, start: &Started) {
        self.left_alone.clear();
        let now = self.now();
        let account = self.account_of(start.source);
        let ended = self.ended(account);
        if !self.setting.foreign {
            self.take_permit();
        }
        assert!(now >= self.paused_until, "started during a pause");
        let known = self.workers[place].serves.replace(start.source) == Some(start.source);
        assert_eq!(start.context.is_none(), known);
        let account = &mut self.accounts[account];
        let running = start.running;
        let index = running.index;
        assert_eq!((start.job, running.started), (index, now));
        let late = now >= account.terms.deadline && ended.is_none();
        assert!(!late || account.orphaned, "started after the deadline");
        if account.terms.gate == Gate::Worker {
            assert_eq!(ended, None, "started after the end");
        } else {
            let patient = [End::Operation, End::MaxFailures, End::Limiter, End::Failed];
            assert!(
                ended.is_none_or(|end| patient.contains(&end)),
                "started after {ended:?}"
            );
            account.gated_starts += 1;
            assert!(
                account.gated_starts <= account.granted,
                "started without a permit"
            );
        }
        if running.attempt == 1 {
            assert!(account.waiting.remove(&index), "started twice");
            assert!(account.last_first < Some(index), "started out of order");
            account.last_first = Some(index);
        } else {
            let (due, attempts) = account
                .retries
                .remove(&index)
                .expect("it waited for a retry");
            assert!(due <= now, "tried again before it was due");
            assert_eq!(running.attempt, attempts + 1);
            if account.terms.gate == Gate::Worker {
                let earlier = account
                    .retries
                    .iter()
                    .filter(|(other, (time, _))| (*time, **other) < (due, index));
                assert_eq!(earlier.count(), 0, "overtook a retry that was due earlier");
            }
        }
        account.running.insert(index, running.attempt);
        account.starts += 1;
    }

    pub(super) fn finish(&mut self, which: usize, verdict: Verdict) {
        let calling: Vec<_> = (0..self.workers.len())
            .filter(|place| matches!(self.workers[*place].post, Post::Calling(_)))
            .collect();
        if calling.is_empty() {
            return;
        }
        let place = calling[which % calling.len()];
        let now = self.now();
        let Post::Calling(start) = std::mem::replace(&mut self.workers[place].post, Post::Awake)
        else {
            return;
        };
        let account = self.account_of(start.source);
        let gone = self.scheduler.with(start.source, |_| ()).is_none();
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
            None if start.source == CALLS => Ending::Delivered(failed),
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
        let finished = Finished { ended: now, ending };
        let (leftover, claim) =
            self.scheduler
                .claim(&mut self.workers[place].seat, Some(finished), now);
        if gone && start.source != CALLS {
            assert!(
                leftover.is_some(),
                "what is lost was dropped within the lock"
            );
        }
        self.placed(place, claim);
    }
}
