//! How batches end before their input does, and how a scheduler comes to its end.

use std::sync::Arc;

use paceline::engine::batch::Batch;
use paceline::engine::model::{BatchOptions, Delivery, EndReason, FailureLimit};
use paceline::engine::scheduler::{Claim, Step};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, SUBMITTED, Started, at, delivered, done, failed, fatal, given, limited, stream, unlimited,
    until, whole_batch, woken,
};

#[test]
fn a_number_of_failures_ends_a_batch() {
    let scheduler = unlimited(2);
    let options = BatchOptions {
        failure_limit: Some(FailureLimit::Count(2)),
        ..whole_batch()
    };
    let (batch, owner) = scheduler.add_complete(options, 9, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let mut start = scheduler.start(&mut workers[0], at(1));
    let other = scheduler.start(&mut workers[1], at(1));
    assert!(matches!(scheduler.step(batch, false, at(1)), Step::Rest(_)));
    start = scheduler.start_next(&mut workers[0], failed(&start, at(2)), at(2));
    start = scheduler.start_next(&mut workers[0], done(&start, at(2)), at(2));
    assert!(!given(&owner));
    scheduler.rest_after(&mut workers[0], failed(&start, at(3)), at(3));
    assert!(given(&owner));
    assert_eq!(scheduler.ended(batch), Some(EndReason::MaxFailures));
    assert_eq!(scheduler.step(batch, false, at(3)), Step::Settled);
    // What runs is waited for.
    assert!(scheduler.runs(batch));
    scheduler.rest_after(&mut workers[1], failed(&other, at(4)), at(4));
    assert!(given(&owner));
    assert!(!scheduler.runs(batch));
    let closed = scheduler.remove(batch, at(4)).unwrap();
    let totals = closed.totals();
    assert_eq!((totals.done, totals.failed, totals.permits), (1, 3, 4));
    assert_eq!(closed.unstarted().count(), 5);
}

#[test]
fn a_share_of_the_last_failures_ends_a_batch() {
    // Failures by F: half of the last four never before the last letter.
    for (history, ends) in [
        ("FF", false),
        ("FFF", false),
        ("FFFF", true),
        ("....FF", true),
        ("F...F", false),
        ("F..F", true),
        ("FF.", false),
        ("FF..", true),
        ("F...", false),
        ("F....F....F....", false),
        ("........F.F", true),
    ] {
        let scheduler = unlimited(1);
        let limit = FailureLimit::Share { share: 0.5, of: 4 };
        let options = BatchOptions {
            failure_limit: Some(limit),
            ..whole_batch()
        };
        let (batch, _) = scheduler.add_complete(options, 100, at(1));
        let mut worker = scheduler.worker();
        let mut start = Some(scheduler.start(&mut worker, at(1)));
        for (place, letter) in history.chars().enumerate() {
            assert_eq!(scheduler.ended(batch), None, "{history} after {place}");
            let now = at(2);
            let started = start.take().unwrap();
            let ended = if letter == 'F' {
                failed(&started, now)
            } else {
                done(&started, now)
            };
            let (_, claim) = scheduler.claim_next(&mut worker, ended, now);
            start = Started::by(&worker, claim);
        }
        assert_eq!(
            scheduler.ended(batch) == Some(EndReason::MaxFailures),
            ends,
            "{history}"
        );
        assert_eq!(start.is_none(), ends);
    }
}

#[test]
fn the_failure_that_ends_a_batch_is_the_first() {
    for (options, is_fatal) in [
        (
            BatchOptions {
                stop_on_failure: true,
                ..whole_batch()
            },
            false,
        ),
        (whole_batch(), true),
    ] {
        let scheduler = unlimited(3);
        let (batch, owner) = scheduler.add_complete(options, 9, at(1));
        let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
        let running = workers
            .each_mut()
            .map(|worker| scheduler.start(worker, at(1)));
        scheduler.step(batch, false, at(1));
        let worst = if is_fatal { fatal } else { failed };
        for place in [1, 0, 2] {
            assert!(scheduler.runs(batch));
            scheduler.rest_after(&mut workers[place], worst(&running[place], at(2)), at(2));
            assert!(given(&owner));
        }
        assert_eq!(scheduler.ended(batch), Some(EndReason::Operation));
        let error = scheduler
            .with(batch, |batch| batch.ending_error().copied())
            .unwrap();
        assert_eq!(error, Some(1));
        assert!(!scheduler.runs(batch));
    }
}

#[test]
fn a_failure_that_is_not_to_end_a_batch_does_not() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    let start = scheduler.start_next(&mut worker, failed(&start, at(1)), at(1));
    scheduler.rest_after(&mut worker, failed(&start, at(1)), at(1));
    assert_eq!(scheduler.ended(batch), None);
    assert_eq!(
        scheduler.with(batch, |batch| batch.ending_error().copied()),
        Some(None)
    );
    assert_eq!(scheduler.step(batch, false, at(1)), Step::Settled);
}

#[test]
fn the_first_reason_to_end_counts() {
    let scheduler = unlimited(1);
    let (batch, owner) = scheduler.add_complete(whole_batch(), 3, at(1));
    scheduler.end(batch, EndReason::Failed, at(1));
    assert!(given(&owner));
    scheduler.end(batch, EndReason::Owner, at(1));
    drop(scheduler.end_where(EndReason::Cancelled, |_| true));
    assert_eq!(scheduler.ended(batch), Some(EndReason::Failed));
    let limiter = |batch: &mut Batch<_>| {
        (
            batch.fail_limiter(1),
            batch.fail_limiter(2),
            batch.take_limiter_error(),
        )
    };
    assert_eq!(
        scheduler.with(batch, limiter),
        Some((None, Some(2), Some(1)))
    );
}

#[test]
fn a_batch_that_ends_lets_go_of_who_waits_for_its_permit() {
    let (scheduler, limiter) = limited(1, 1, 10);
    let (batch, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let start = scheduler.start(&mut workers[0], at(1));
    scheduler.rest_after(&mut workers[0], done(&start, at(2)), at(2));
    assert!(!limiter.try_acquire(1, at(2)));
    scheduler.end(batch, EndReason::Owner, at(3));
    assert!(woken(&workers[0]));
    assert_eq!(scheduler.rest(&mut workers[0], at(3)), Time::NEVER);
    assert!(
        limiter.try_acquire(1, at(11)),
        "a place in the queue is kept for nothing"
    );
}

#[test]
fn a_batch_that_nobody_ends_lets_go_of_who_waits_for_its_permit() {
    let (scheduler, limiter) = limited(2, 1, 10);
    assert!(limiter.try_acquire(1, at(1)));
    for deadline in [at(5), at(7), at(20)] {
        let options = until(deadline, stream(Delivery::InOrder, 9));
        scheduler.add_complete(options, 3, at(1));
    }
    let mut worker = scheduler.worker();
    // It waits on, for what has time left, until that has none or there is a permit.
    assert_eq!(scheduler.rest(&mut worker, at(1)), at(5));
    assert_eq!(scheduler.rest(&mut worker, at(5)), at(7));
    assert_eq!(scheduler.rest(&mut worker, at(7)), at(11));
    let start = scheduler.start(&mut worker, at(11));
    let finished = done(&start, at(12));
    assert_eq!(scheduler.rest_after(&mut worker, finished, at(12)), at(20));
    assert_eq!(scheduler.rest(&mut worker, at(20)), Time::NEVER);
    assert!(
        limiter.try_acquire(1, at(21)),
        "a place in the queue is kept for nothing"
    );
}

#[test]
fn a_scheduler_is_joined_when_nothing_waits_or_runs() {
    let scheduler = unlimited(1);
    let joiner = Arc::new(Signal::default());
    assert!(
        scheduler.joined(&joiner, at(1)).is_none(),
        "there was never anything"
    );
    scheduler.submit(0, at(1)).unwrap();
    scheduler.submit(1, at(1)).unwrap();
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    let start = scheduler.start_next(&mut worker, delivered(&start, at(1)), at(1));
    assert!(!given(&joiner));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.rest_after(&mut worker, delivered(&start, at(1)), at(1));
    assert!(given(&joiner));
    assert!(scheduler.joined(&joiner, at(1)).is_none());
    // Calls that were taken back are not waited for.
    scheduler.submit(2, at(1)).unwrap();
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    assert_eq!(scheduler.withdraw(SUBMITTED, 2), Some(2));
    assert!(given(&joiner));
    scheduler.submit(3, at(1)).unwrap();
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    assert_eq!(scheduler.withdraw_all(SUBMITTED), [(3, 3)]);
    assert!(given(&joiner));
}

#[test]
fn joining_waits_for_a_batch_until_its_owner_has_closed_it() {
    let scheduler = unlimited(1);
    let joiner = Arc::new(Signal::default());
    let (batch, _) = scheduler.add_complete(whole_batch(), 1, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.rest_after(&mut worker, done(&start, at(2)), at(2));
    assert!(!given(&joiner) && scheduler.joined(&joiner, at(1)).is_some());
    scheduler.remove(batch, at(3)).unwrap();
    assert!(given(&joiner));
}

#[test]
fn joining_does_not_wait_for_the_owner_of_a_stream() {
    let scheduler = unlimited(1);
    let joiner = Arc::new(Signal::default());
    let (batch, _) = scheduler.add_batch(stream(Delivery::AsCompleted, 3), at(1));
    scheduler.feed(batch, 0..1, false, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.rest_after(&mut worker, done(&start, at(2)), at(2));
    assert!(given(&joiner));
    assert!(scheduler.joined(&joiner, at(1)).is_none());
    assert!(!scheduler.is_over(), "its owner may come back and read on");
}

#[test]
fn owners_that_will_not_come_back_are_not_waited_for() {
    let scheduler = unlimited(1);
    let joiner = Arc::new(Signal::default());
    let (_, owner) = scheduler.add_complete(whole_batch(), 3, at(1));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.close();
    drop(scheduler.end_where(
        EndReason::Owner,
        paceline::engine::batch::Batch::is_attended,
    ));
    assert!(given(&owner));
    assert!(!given(&joiner));
    scheduler.detach_owners();
    assert!(given(&joiner));
    assert!(scheduler.is_over());
    let mut worker = scheduler.worker();
    assert!(matches!(scheduler.look(&mut worker, at(2)), Claim::Exit));
}

#[test]
fn a_shutdown_ends_what_it_is_told_to() {
    let scheduler = unlimited(2);
    let (attended, owner) = scheduler.add_complete(whole_batch(), 3, at(1));
    scheduler.submit(7, at(1)).unwrap();
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let running = scheduler.start(&mut workers[0], at(1));
    let running = if running.batch == SUBMITTED {
        let finished = delivered(&running, at(1));
        scheduler.start_next(&mut workers[0], finished, at(1))
    } else {
        running
    };
    scheduler.close();
    drop(scheduler.end_where(EndReason::Cancelled, |batch| !batch.is_submitted()));
    assert!(given(&owner));
    assert_eq!(scheduler.ended(attended), Some(EndReason::Cancelled));
    assert_eq!(scheduler.ended(SUBMITTED), None);
    assert!(!scheduler.is_over());
    let mut rest = Some(done(&running, at(2)));
    loop {
        let (leftover, claim) = scheduler.claim(&mut workers[0], rest.take(), at(2));
        assert!(leftover.is_none());
        let Some(call) = Started::by(&workers[0], claim) else {
            break;
        };
        assert_eq!(call.batch, SUBMITTED);
        rest = Some(delivered(&call, at(2)));
    }
    assert!(!scheduler.runs(attended));
    let closed = scheduler.remove(attended, at(3)).unwrap();
    assert_eq!(closed.totals().done, 1);
    assert_eq!(closed.unstarted().count(), 2);
    assert!(scheduler.is_over());
}

#[test]
fn closing_sends_idle_workers_home() {
    let (scheduler, _) = limited(3, 1, 10);
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    for worker in &mut workers {
        scheduler.rest(worker, at(1));
    }
    scheduler.close();
    for worker in &mut workers {
        assert!(woken(worker));
        assert!(matches!(scheduler.look(worker, at(1)), Claim::Exit));
    }
}

#[test]
fn the_last_to_finish_after_a_shutdown_sends_the_others_home() {
    let (scheduler, _) = limited(3, 2, 10);
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    let first = scheduler.start(&mut workers[0], at(1));
    let second = scheduler.start(&mut workers[1], at(1));
    assert_eq!(scheduler.rest(&mut workers[2], at(1)), at(11));
    scheduler.close();
    assert!(woken(&workers[2]));
    assert_eq!(scheduler.rest(&mut workers[2], at(2)), at(11));
    scheduler.rest_after(&mut workers[0], delivered(&first, at(3)), at(3));
    scheduler.rest_after(&mut workers[1], delivered(&second, at(3)), at(3));
    let third = scheduler.start(&mut workers[2], at(11));
    let (_, claim) = scheduler.claim_next(&mut workers[2], delivered(&third, at(12)), at(12));
    assert!(matches!(claim, Claim::Exit));
    for worker in &mut workers[..2] {
        assert!(woken(worker));
        assert!(matches!(scheduler.look(worker, at(12)), Claim::Exit));
    }
}
