//! A worker that is left alone repeats its claim, as long as nothing else is to be seen to.

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::model::{BatchOptions, Delivery, EndReason, FailureLimit};
use paceline::engine::scheduler::{Claim, Lease, Scheduler};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, Started, again, at, done, failed, limited, resting, stream, unlimited, until,
    whole_batch,
};
use crate::monitor::{Monitored, SHORT};

const NOT_SHORT: Duration = Duration::from_micros(10);

fn alone(options: BatchOptions) -> Monitored {
    alone_with(unlimited(3), options)
}

/// An executor whose worker has claimed since the one that keeps monitor looked.
fn alone_with(scheduler: Scheduler<Plain>, options: BatchOptions) -> Monitored {
    let mut alone = Monitored::on(scheduler, options, 100);
    alone.claim();
    alone
}

impl Monitored {
    /// Ends the operation, and claims the next without more ado.
    fn claim(&mut self) {
        self.finish_and_start(self.now + SHORT);
    }

    /// Whether the claim is repeated when the operation has returned after so long.
    fn repeats_after(&mut self, duration: Duration) -> bool {
        self.now = self.now + duration;
        let value = self.running.job;
        match self.scheduler.repeat(&mut self.worker, value, self.now) {
            Ok(job) => {
                let Lease { batch, running, .. } = *self.worker.lease().unwrap();
                self.running = Started {
                    batch,
                    running,
                    context: None,
                    job,
                };
                true
            }
            Err(back) => {
                assert_eq!(back, value, "a value was lost");
                false
            }
        }
    }

    fn repeats(&mut self) -> bool {
        self.repeats_after(SHORT)
    }

    /// The other one looks, and goes on with its monitor.
    fn look(&mut self) {
        let until = resting(self.scheduler.look(&mut self.monitor, self.now));
        assert_ne!(until, Time::NEVER);
    }

    fn state(&self) -> String {
        self.scheduler
            .with(self.batch, |batch| format!("{batch:?}"))
            .unwrap()
    }
}

#[test]
fn to_repeat_is_to_claim() {
    let limit = Some(FailureLimit::Share { share: 0.5, of: 3 });
    let limited = BatchOptions {
        failure_limit: limit,
        ..whole_batch()
    };
    for options in [
        whole_batch(),
        limited,
        stream(Delivery::InOrder, 100),
        stream(Delivery::AsCompleted, 100),
    ] {
        let (mut one, mut other) = (alone(options), alone(options));
        // There are enough then to take a share of.
        one.claim();
        other.claim();
        for round in 0..90 {
            let long = round % 7 == 6;
            let duration = if long { NOT_SHORT } else { SHORT };
            let repeated = one.repeats_after(duration);
            // After one that was long, or that was claimed, the next is repeated again.
            assert_eq!(repeated, !long);
            if !repeated {
                one.now = Time::from_nanos(one.now.as_nanos() - 1000);
                one.claim();
            }
            other.now = one.now;
            let finished = done(&other.running, other.now);
            other.running = other
                .scheduler
                .start_next(&mut other.worker, finished, other.now);
            assert_eq!(one.running.job, other.running.job);
            assert_eq!(one.state(), other.state());
        }
    }
}

#[test]
fn every_repetition_takes_a_permit() {
    let (scheduler, limiter) = limited(3, 8, 60);
    let mut alone = alone_with(scheduler, whole_batch());
    for _ in 3..8 {
        assert!(alone.repeats());
    }
    assert!(!limiter.try_acquire(1, alone.now));
    assert!(!alone.repeats(), "a ninth start of eight");
    let finished = done(&alone.running, alone.now);
    let until = alone
        .scheduler
        .rest_after(&mut alone.worker, finished, alone.now);
    assert_eq!(until, at(61));
}

#[test]
fn nobody_who_waits_for_the_limiter_is_overtaken() {
    let (scheduler, limiter) = limited(3, 20, 60);
    let mut alone = alone_with(scheduler, whole_batch());
    assert!(alone.repeats());
    let waiting = limiter.enqueue(1, Arc::new(Signal::default()));
    assert!(!alone.repeats());
    drop(waiting);
    assert!(alone.repeats());
}

#[test]
fn nothing_starts_after_the_deadline() {
    let deadline = at(1) + SHORT * 5;
    let mut alone = alone(until(deadline, whole_batch()));
    assert!(alone.repeats() && alone.repeats());
    assert!(!alone.repeats(), "it is {deadline:?}");
}

#[test]
fn after_the_last_one_no_permit_is_taken() {
    let (scheduler, limiter) = limited(3, 150, 60);
    let mut alone = alone_with(scheduler, whole_batch());
    while alone.repeats() {}
    assert_eq!(alone.running.job, 99);
    assert!(limiter.try_acquire(50, alone.now));
    assert!(!limiter.try_acquire(1, alone.now));
}

#[test]
fn outcomes_can_be_taken_meanwhile() {
    let mut alone = alone(stream(Delivery::AsCompleted, 100));
    // Otherwise more input would be wanted in between.
    alone.scheduler.finish_input(alone.batch);
    alone.claim();
    for expected in 0..90 {
        assert!(alone.repeats());
        let next = alone.scheduler.with(alone.batch, |batch| {
            batch.hand_over().expect("an outcome").index
        });
        assert_eq!(next, Some(expected));
    }
}

/// Something that somebody else does.
type Act = fn(&mut Monitored);

#[test]
fn whatever_somebody_else_does_is_seen_first() {
    let acts: [(&str, Act); 11] = [
        ("ended", |at_work| {
            at_work
                .scheduler
                .end(at_work.batch, EndReason::Owner, at_work.now);
        }),
        ("closed", |at_work| at_work.scheduler.close()),
        ("cancelled", |at_work| {
            drop(at_work.scheduler.end_where(EndReason::Cancelled, |_| true));
        }),
        ("joined", |at_work| {
            let joiner = Arc::new(Signal::default());
            at_work.scheduler.joined(&joiner, at_work.now);
        }),
        ("paused", |at_work| {
            let until = at_work.now + Duration::from_secs(1);
            at_work
                .scheduler
                .pause(at_work.batch, at_work.now, at_work.now, until);
        }),
        ("removed", |at_work| {
            at_work.scheduler.remove(at_work.batch, at_work.now);
        }),
        ("orphaned", |at_work| {
            drop(at_work.scheduler.orphan(at_work.batch, at_work.now));
        }),
        ("withdrawn", |at_work| {
            at_work
                .scheduler
                .withdraw(at_work.batch, at_work.running.job + 1)
                .unwrap();
        }),
        ("submitted", |at_work| {
            at_work.scheduler.submit(0, at_work.now).unwrap();
        }),
        ("another batch", |at_work| {
            at_work
                .scheduler
                .add_complete(whole_batch(), 5, at_work.now);
        }),
        ("another worker", |at_work| {
            let mut third = at_work.scheduler.worker();
            at_work.scheduler.start(&mut third, at_work.now);
        }),
    ];
    for (name, act) in acts {
        let mut alone = alone(whole_batch());
        assert!(alone.repeats(), "{name}");
        act(&mut alone);
        assert!(!alone.repeats(), "repeated beside: {name}");
    }
}

#[test]
fn what_monitors_only_looks() {
    let mut alone = alone(whole_batch());
    assert!(alone.repeats());
    alone.now = alone.now + Duration::from_nanos(10);
    alone.look();
    assert!(!alone.repeats());
    alone.claim();
    assert!(alone.repeats());
}

#[test]
fn what_is_not_short_any_more_is_not_repeated() {
    let mut alone = alone(whole_batch());
    alone.now = alone.now + NOT_SHORT * 10;
    alone.claim();
    assert!(!alone.repeats());
}

#[test]
fn the_watch_sees_that_it_gets_on() {
    let mut alone = alone(whole_batch());
    // The worker has read the clock before the one that looks, and comes to the lock after it.
    alone.now = alone.now + SHORT * 2;
    alone.look();
    alone.now = Time::from_nanos(alone.now.as_nanos() - 2000);
    alone.claim();
    for _ in 0..5 {
        assert!(alone.repeats());
    }
    alone.look();
}

#[test]
fn what_nobody_waits_for_is_given_back_to_be_dropped() {
    let mut alone = alone(whole_batch());
    // It is woken for the next operation, so that the monitor goes on.
    let mut third = alone.scheduler.worker();
    resting(alone.scheduler.look(&mut third, alone.now));
    drop(alone.scheduler.orphan(alone.batch, alone.now));
    for _ in 0..3 {
        alone.claim();
        assert!(!alone.repeats());
    }
}

#[test]
fn retries_keep_their_turns() {
    let (mut one, mut other) = (alone(whole_batch()), alone(whole_batch()));
    for alone in [&mut one, &mut other] {
        let due = alone.now + SHORT * 3;
        let retried = alone.running.job;
        let finished = again(&alone.running, alone.now, due);
        alone.running = alone
            .scheduler
            .start_next(&mut alone.worker, finished, alone.now);
        alone.look();
        for expected in [2, 3] {
            alone.claim();
            assert_eq!(alone.running.job, retried + expected);
        }
        assert!(!alone.repeats(), "a retry is due");
        alone.now = due - SHORT;
        alone.claim();
        assert_eq!(alone.running.job, retried);
    }
    assert!(one.repeats());
    other.claim();
    assert_eq!(one.state(), other.state());
}

#[test]
fn a_worker_that_waits_inside_an_operation_does_not_repeat() {
    let mut alone = alone(whole_batch());
    alone.scheduler.remove(alone.batch, alone.now);
    let (inner, owner) = alone.scheduler.add_batch(whole_batch(), alone.now);
    alone.scheduler.feed_some(inner, 0..100, alone.now);
    alone.worker = alone.scheduler.nested_worker(owner, inner, None);
    alone.running = alone.scheduler.start(&mut alone.worker, alone.now);
    alone.claim();
    for _ in 0..3 {
        alone.look();
        alone.claim();
        assert!(!alone.repeats());
    }
}

#[test]
fn another_batch_of_short_operations_has_its_turn() {
    let mut alone = alone(whole_batch());
    let (other, _) = alone.scheduler.add_batch(whole_batch(), alone.now);
    alone.claim();
    assert!(alone.repeats(), "there is nothing in the other one");
    alone.scheduler.feed_some(other, 0..9, alone.now);
    // One of it has to end before it is known to be short.
    alone.claim();
    alone.claim();
    for _ in 0..4 {
        let served = alone.running.batch;
        alone.look();
        alone.claim();
        assert_ne!(alone.running.batch, served);
        assert!(!alone.repeats());
    }
}

#[test]
fn a_worker_without_a_watch_does_not_repeat() {
    let scheduler = unlimited(1).one_at_a_time(true);
    scheduler.add_complete(whole_batch(), 9, at(1));
    let mut worker = scheduler.worker();
    let mut running = scheduler.start(&mut worker, at(1));
    for _ in 0..5 {
        assert!(scheduler.repeat(&mut worker, running.job, at(1)).is_err());
        running = scheduler.start_next(&mut worker, done(&running, at(1)), at(1));
    }
}

#[test]
fn failures_and_what_follows_from_them_are_seen_to() {
    let mut alone = alone(BatchOptions {
        failure_limit: Some(FailureLimit::Count(1)),
        ..whole_batch()
    });
    assert!(alone.repeats());
    let finished = failed(&alone.running, alone.now);
    let (_, claim) = alone
        .scheduler
        .claim_next(&mut alone.worker, finished, alone.now);
    assert!(matches!(claim, Claim::Rest(_)));
    assert_eq!(
        alone.scheduler.ended(alone.batch),
        Some(EndReason::MaxFailures)
    );
}

#[test]
fn a_worker_of_another_worker_repeats_nothing() {
    let mut alone = alone(whole_batch());
    let mut third = alone.scheduler.worker();
    assert!(alone.scheduler.repeat(&mut third, 7, alone.now).is_err());
    assert!(
        alone
            .scheduler
            .repeat(&mut alone.monitor, 7, alone.now)
            .is_err()
    );
    assert!(alone.repeats());
}

#[test]
fn a_claim_is_not_repeated_where_what_returns_may_end_the_batch() {
    let options = BatchOptions {
        failure_limit: Some(FailureLimit::Share { share: 0.25, of: 4 }),
        ..whole_batch()
    };
    let mut alone = alone(options);
    // Two have returned: with this one, which fails, and the next there are four.
    let finished = failed(&alone.running, alone.now);
    alone.running = alone
        .scheduler
        .start_next(&mut alone.worker, finished, alone.now);
    assert!(!alone.repeats());
    let finished = done(&alone.running, alone.now);
    alone
        .scheduler
        .rest_after(&mut alone.worker, finished, alone.now);
    assert_eq!(
        alone.scheduler.ended(alone.batch),
        Some(EndReason::MaxFailures)
    );
}
