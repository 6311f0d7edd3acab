//! That nobody sleeps through what can start, and that everything ends.

use std::sync::Arc;

use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

use super::{Mood, Post, Thread, UNIT, Verdict, World};

impl World {
    /// With everybody asleep, nothing is left that could start.
    pub(super) fn check(&mut self) {
        let free = self.setting.workers.saturating_sub(self.active());
        if self.awake().iter().any(|actor| !self.is_away(*actor)) {
            return;
        }
        let now = self.now();
        let resting = self
            .threads
            .iter()
            .any(|thread| matches!(thread.post, Post::Resting(_)));
        let asking = self.is_asking();
        for (place, account) in self.accounts.iter().enumerate() {
            let present = self.scheduler.with(account.id, |_| ()).is_some();
            let over = !present || self.ended(place).is_some() || now >= account.options.deadline;
            if account.inbox > 0 && self.ended(place).is_none() && resting {
                self.left_alone.insert(self.now);
                assert!(self.monitored(), "what batch {place} has read is not added");
            }
            let untold = matches!(account.mood, Mood::Resting(_)) && account.has_something();
            if present && untold {
                self.left_alone.insert(self.now);
                assert!(self.monitored(), "the owner of batch {place} is not told");
            }
            if over || account.startable(now) == 0 || now < self.recovery.opens() {
                continue;
            }
            if resting && free > 0 && self.permit_there() && !asking {
                self.left_alone.insert(self.now);
                assert!(
                    self.monitored(),
                    "all sleep beside a permit, a worker and batch {place}"
                );
            }
        }
        // One look finds that something has started since the one before; the next goes to work.
        assert!(self.left_alone.len() <= 2, "the monitor sleeps on");
    }

    /// Whether somebody looks again soon.
    fn monitored(&self) -> bool {
        let soon = Time::from_nanos(self.now + UNIT);
        self.setting.one_at_a_time
            && self
                .threads
                .iter()
                .any(|thread| matches!(thread.post, Post::Resting(until) if until <= soon))
    }

    pub(super) fn settle(&mut self) {
        let mut turns = 0;
        loop {
            let awake = self.awake();
            let Some(actor) = awake.into_iter().find(|actor| !self.is_away(*actor)) else {
                return;
            };
            self.act(actor);
            turns += 1;
            assert!(turns < 10_000, "{actor:?} runs in circles");
        }
    }

    /// Everything comes to its end, by nothing but signals and times.
    pub(crate) fn drain(&mut self) {
        for round in 0.. {
            self.settle();
            self.check();
            let consumer = self.awake().into_iter().find(|actor| self.is_away(*actor));
            if let Some(actor) = consumer {
                self.act(actor);
            } else if self.is_asking() {
                self.answer(true);
            } else if self.threads.iter().any(Thread::calls) {
                self.finish(round, Verdict::Done);
            } else if let Some(next) = self.next_wake() {
                self.now = next;
            } else {
                break;
            }
            assert!(round < 100_000, "no end");
        }
        for (place, account) in self.accounts.iter().enumerate() {
            assert_eq!(account.mood, Mood::Closed, "batch {place} is stuck");
        }
        let calls = &self.accounts[0];
        assert_eq!(calls.finished.len(), calls.read, "calls are stuck");
        let joiner = Arc::<Signal>::default();
        assert!(
            self.scheduler.joined(&joiner, self.now()).is_none(),
            "something waits or runs"
        );
        self.closed = true;
        self.scheduler.close();
        self.settle();
        assert!(self.scheduler.is_over());
        assert!(
            self.threads
                .iter()
                .all(|thread| matches!(thread.post, Post::Gone)),
            "workers stay"
        );
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let workers = self.threads.iter().filter_map(|thread| match thread.post {
            Post::Resting(until) => Some(until),
            _ => None,
        });
        let nested = self.threads.iter();
        let nested = nested.filter_map(|thread| thread.nested.as_ref()?.rests_until());
        let moods = self.accounts.iter().map(|account| account.mood);
        let others = moods.filter_map(|mood| match mood {
            Mood::Resting(until) => Some(until),
            _ => None,
        });
        let next = workers
            .chain(others)
            .chain(nested)
            .filter(|until| *until != Time::NEVER)
            .min()?;
        Some(next.as_nanos().max(self.now))
    }
}
