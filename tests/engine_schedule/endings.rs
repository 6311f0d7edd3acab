//! How sources end before their input does, and how a scheduler comes to its end.

use std::sync::Arc;

use paceline::engine::ledger::Keep;
use paceline::engine::schedule::{Claim, Step};
use paceline::engine::signal::Signal;
use paceline::engine::source::Source;
use paceline::engine::terms::{End, FailureLimit, Terms};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, CALLS, Started, at, batch, delivered, done, failed, fatal, given, limited, stream,
    unlimited, until, woken,
};

#[test]
fn a_number_of_failures_ends_a_batch() {
    let scheduler = unlimited(2);
    let terms = Terms {
        failure_limit: Some(FailureLimit::Count(2)),
        ..batch()
    };
    let (source, owner) = scheduler.add_complete(terms, 9, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let mut start = scheduler.start(&mut seats[0], at(1));
    let other = scheduler.start(&mut seats[1], at(1));
    assert!(matches!(
        scheduler.step(source, false, at(1)),
        Step::Rest(_)
    ));
    start = scheduler.start_next(&mut seats[0], failed(&start, at(2)), at(2));
    start = scheduler.start_next(&mut seats[0], done(&start, at(2)), at(2));
    assert!(!given(&owner));
    scheduler.rest_after(&mut seats[0], failed(&start, at(3)), at(3));
    assert!(given(&owner));
    assert_eq!(scheduler.ended(source), Some(End::MaxFailures));
    assert_eq!(scheduler.step(source, false, at(3)), Step::Settled);
    // What runs is waited for.
    assert!(scheduler.runs(source));
    scheduler.rest_after(&mut seats[1], failed(&other, at(4)), at(4));
    assert!(given(&owner));
    assert!(!scheduler.runs(source));
    let mut closed = scheduler.remove(source, at(4)).unwrap();
    let totals = closed.ledger().totals;
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
        let terms = Terms {
            failure_limit: Some(limit),
            ..batch()
        };
        let (source, _) = scheduler.add_complete(terms, 100, at(1));
        let mut seat = scheduler.seat();
        let mut start = Some(scheduler.start(&mut seat, at(1)));
        for (place, letter) in history.chars().enumerate() {
            assert_eq!(scheduler.ended(source), None, "{history} after {place}");
            let now = at(2);
            let started = start.take().unwrap();
            let ended = if letter == 'F' {
                failed(&started, now)
            } else {
                done(&started, now)
            };
            let (_, claim) = scheduler.claim_next(&mut seat, ended, now);
            start = Started::by(&seat, claim);
        }
        assert_eq!(
            scheduler.ended(source) == Some(End::MaxFailures),
            ends,
            "{history}"
        );
        assert_eq!(start.is_none(), ends);
    }
}

#[test]
fn the_failure_that_ends_a_batch_is_the_first() {
    for (terms, is_fatal) in [
        (
            Terms {
                stop_on_failure: true,
                ..batch()
            },
            false,
        ),
        (batch(), true),
    ] {
        let scheduler = unlimited(3);
        let (source, owner) = scheduler.add_complete(terms, 9, at(1));
        let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
        let running = seats.each_mut().map(|seat| scheduler.start(seat, at(1)));
        scheduler.step(source, false, at(1));
        let worst = if is_fatal { fatal } else { failed };
        for worker in [1, 0, 2] {
            assert!(scheduler.runs(source));
            scheduler.rest_after(&mut seats[worker], worst(&running[worker], at(2)), at(2));
            assert!(given(&owner));
        }
        assert_eq!(scheduler.ended(source), Some(End::Operation));
        let error = scheduler
            .with(source, |source| source.ending_error().copied())
            .unwrap();
        assert_eq!(error, Some(1));
        assert!(!scheduler.runs(source));
    }
}

#[test]
fn a_failure_that_is_not_to_end_a_batch_does_not() {
    let scheduler = unlimited(1);
    let (source, _) = scheduler.add_complete(batch(), 2, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    let start = scheduler.start_next(&mut seat, failed(&start, at(1)), at(1));
    scheduler.rest_after(&mut seat, failed(&start, at(1)), at(1));
    assert_eq!(scheduler.ended(source), None);
    assert_eq!(
        scheduler.with(source, |source| source.ending_error().copied()),
        Some(None)
    );
    assert_eq!(scheduler.step(source, false, at(1)), Step::Settled);
}

#[test]
fn the_first_reason_to_end_counts() {
    let scheduler = unlimited(1);
    let (source, owner) = scheduler.add_complete(batch(), 3, at(1));
    scheduler.end(source, End::Failed, at(1));
    assert!(given(&owner));
    scheduler.end(source, End::Owner, at(1));
    drop(scheduler.end_where(End::Cancelled, |_| true));
    assert_eq!(scheduler.ended(source), Some(End::Failed));
    let limiter = |source: &mut Source<_>| {
        (
            source.fail_limiter(1),
            source.fail_limiter(2),
            source.take_limiter_error(),
        )
    };
    assert_eq!(
        scheduler.with(source, limiter),
        Some((None, Some(2), Some(1)))
    );
}

#[test]
fn a_source_that_ends_lets_go_of_who_waits_for_its_permit() {
    let (scheduler, limiter) = limited(1, 1, 10);
    let (source, _) = scheduler.add_complete(batch(), 3, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let start = scheduler.start(&mut seats[0], at(1));
    scheduler.rest_after(&mut seats[0], done(&start, at(2)), at(2));
    assert!(!limiter.try_acquire(1, at(2)));
    scheduler.end(source, End::Owner, at(3));
    assert!(woken(&seats[0]));
    assert_eq!(scheduler.rest(&mut seats[0], at(3)), Time::NEVER);
    assert!(
        limiter.try_acquire(1, at(11)),
        "a place in the queue is kept for nothing"
    );
}

#[test]
fn a_source_that_nobody_ends_lets_go_of_who_waits_for_its_permit() {
    let (scheduler, limiter) = limited(2, 1, 10);
    assert!(limiter.try_acquire(1, at(1)));
    for deadline in [at(5), at(7), at(20)] {
        let terms = until(deadline, stream(Keep::Ordered, 9));
        scheduler.add_complete(terms, 3, at(1));
    }
    let mut seat = scheduler.seat();
    // It waits on, for what has time left, until that has none or there is a permit.
    assert_eq!(scheduler.rest(&mut seat, at(1)), at(5));
    assert_eq!(scheduler.rest(&mut seat, at(5)), at(7));
    assert_eq!(scheduler.rest(&mut seat, at(7)), at(11));
    let start = scheduler.start(&mut seat, at(11));
    let finished = done(&start, at(12));
    assert_eq!(scheduler.rest_after(&mut seat, finished, at(12)), at(20));
    assert_eq!(scheduler.rest(&mut seat, at(20)), Time::NEVER);
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
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    let start = scheduler.start_next(&mut seat, delivered(&start, at(1)), at(1));
    assert!(!given(&joiner));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.rest_after(&mut seat, delivered(&start, at(1)), at(1));
    assert!(given(&joiner));
    assert!(scheduler.joined(&joiner, at(1)).is_none());
    // Calls that were taken back are not waited for.
    scheduler.submit(2, at(1)).unwrap();
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    assert_eq!(scheduler.withdraw(CALLS, 2), Some(2));
    assert!(given(&joiner));
    scheduler.submit(3, at(1)).unwrap();
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    assert_eq!(scheduler.withdraw_all(CALLS), [(3, 3)]);
    assert!(given(&joiner));
}

#[test]
fn joining_waits_for_a_batch_until_its_owner_has_closed_it() {
    let scheduler = unlimited(1);
    let joiner = Arc::new(Signal::default());
    let (source, _) = scheduler.add_complete(batch(), 1, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.rest_after(&mut seat, done(&start, at(2)), at(2));
    assert!(!given(&joiner) && scheduler.joined(&joiner, at(1)).is_some());
    scheduler.remove(source, at(3)).unwrap();
    assert!(given(&joiner));
}

#[test]
fn joining_does_not_wait_for_the_owner_of_a_stream() {
    let scheduler = unlimited(1);
    let joiner = Arc::new(Signal::default());
    let (source, _) = scheduler.add_batch(stream(Keep::Completed, 3), at(1));
    scheduler.feed(source, 0..1, false, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.rest_after(&mut seat, done(&start, at(2)), at(2));
    assert!(given(&joiner));
    assert!(scheduler.joined(&joiner, at(1)).is_none());
    assert!(!scheduler.is_over(), "its owner may come back and read on");
}

#[test]
fn owners_that_will_not_come_back_are_not_waited_for() {
    let scheduler = unlimited(1);
    let joiner = Arc::new(Signal::default());
    let (_, owner) = scheduler.add_complete(batch(), 3, at(1));
    assert!(scheduler.joined(&joiner, at(1)).is_some());
    scheduler.close();
    drop(scheduler.end_where(End::Owner, |terms| terms.attended));
    assert!(given(&owner));
    assert!(!given(&joiner));
    scheduler.detach_owners();
    assert!(given(&joiner));
    assert!(scheduler.is_over());
    let mut seat = scheduler.seat();
    assert!(matches!(scheduler.look(&mut seat, at(2)), Claim::Exit));
}

#[test]
fn a_shutdown_ends_what_it_is_told_to() {
    let scheduler = unlimited(2);
    let (batch_source, owner) = scheduler.add_complete(batch(), 3, at(1));
    scheduler.submit(7, at(1)).unwrap();
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let running = scheduler.start(&mut seats[0], at(1));
    let running = if running.source == CALLS {
        let finished = delivered(&running, at(1));
        scheduler.start_next(&mut seats[0], finished, at(1))
    } else {
        running
    };
    scheduler.close();
    drop(scheduler.end_where(End::Cancelled, |terms| terms.keep != Keep::Nothing));
    assert!(given(&owner));
    assert_eq!(scheduler.ended(batch_source), Some(End::Cancelled));
    assert_eq!(scheduler.ended(CALLS), None);
    assert!(!scheduler.is_over());
    let mut rest = Some(done(&running, at(2)));
    loop {
        let (leftover, claim) = scheduler.claim(&mut seats[0], rest.take(), at(2));
        assert!(leftover.is_none());
        let Some(call) = Started::by(&seats[0], claim) else {
            break;
        };
        assert_eq!(call.source, CALLS);
        rest = Some(delivered(&call, at(2)));
    }
    assert!(!scheduler.runs(batch_source));
    let mut closed = scheduler.remove(batch_source, at(3)).unwrap();
    assert_eq!(closed.ledger().totals.done, 1);
    assert_eq!(closed.unstarted().count(), 2);
    assert!(scheduler.is_over());
}

#[test]
fn closing_sends_idle_workers_home() {
    let (scheduler, _) = limited(3, 1, 10);
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    for seat in &mut seats {
        scheduler.rest(seat, at(1));
    }
    scheduler.close();
    for seat in &mut seats {
        assert!(woken(seat));
        assert!(matches!(scheduler.look(seat, at(1)), Claim::Exit));
    }
}

#[test]
fn the_last_to_finish_after_a_shutdown_sends_the_others_home() {
    let (scheduler, _) = limited(3, 2, 10);
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    let first = scheduler.start(&mut seats[0], at(1));
    let second = scheduler.start(&mut seats[1], at(1));
    assert_eq!(scheduler.rest(&mut seats[2], at(1)), at(11));
    scheduler.close();
    assert!(woken(&seats[2]));
    assert_eq!(scheduler.rest(&mut seats[2], at(2)), at(11));
    scheduler.rest_after(&mut seats[0], delivered(&first, at(3)), at(3));
    scheduler.rest_after(&mut seats[1], delivered(&second, at(3)), at(3));
    let third = scheduler.start(&mut seats[2], at(11));
    let (_, claim) = scheduler.claim_next(&mut seats[2], delivered(&third, at(12)), at(12));
    assert!(matches!(claim, Claim::Exit));
    for seat in &mut seats[..2] {
        assert!(woken(seat));
        assert!(matches!(scheduler.look(seat, at(12)), Claim::Exit));
    }
}
