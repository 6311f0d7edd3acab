//! Nothing of a batch starts, or is read, from its deadline on, and that ends it.

use std::sync::Arc;

use paceline::engine::batch::Batch;
use paceline::engine::model::{BatchOptions, Delivery, EndReason};
use paceline::engine::scheduler::{Remains, Step};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, SUBMITTED, at, done, failed, given, limited, remains, stream, unlimited, until,
    whole_batch, woken,
};

#[test]
fn nothing_starts_from_the_deadline_on() {
    let scheduler = unlimited(2);
    let options = until(at(10), whole_batch());
    let (batch, owner) = scheduler.add_complete(options, 5, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let running = scheduler.start(&mut workers[0], at(1));
    assert_eq!(scheduler.step(batch, false, at(1)), Step::Rest(at(10)));
    let last = scheduler.start(&mut workers[1], Time::from_nanos(at(10).as_nanos() - 1));
    scheduler.rest_after(&mut workers[1], done(&last, at(10)), at(10));
    assert_eq!(scheduler.ended(batch), None);
    assert_eq!(scheduler.step(batch, false, at(10)), Step::Settled);
    assert_eq!(scheduler.ended(batch), Some(EndReason::Timeout));
    let mut report = scheduler.remove(batch, at(10)).unwrap();
    assert_eq!(
        report
            .running()
            .iter()
            .map(|running| running.index)
            .collect::<Vec<_>>(),
        [0]
    );
    assert_eq!(report.unstarted().collect::<Vec<_>>(), [2, 3, 4]);
    let slots = report.take_left().slots;
    assert_eq!(slots.iter().filter(|record| record.is_some()).count(), 1);
    assert!(!given(&owner));
    let (leftover, _) = scheduler.claim_next(&mut workers[0], done(&running, at(30)), at(30));
    let Remains::Result(missed) = remains(leftover) else {
        panic!("not a result")
    };
    assert_eq!(missed, Ok(0));
}

#[test]
fn an_owner_reads_no_further_from_the_deadline_on() {
    let scheduler = unlimited(1);
    let options = until(at(10), whole_batch());
    let (batch, _) = scheduler.add_batch(options, at(1));
    let mut worker = scheduler.worker();
    assert!(scheduler.feed_some(batch, 0..1, at(1)), "no thread yet");
    assert!(scheduler.reserve_thread(at(1)));
    scheduler.start(&mut worker, at(1));
    let last = Time::from_nanos(at(10).as_nanos() - 1);
    let room_at = |now| scheduler.with(batch, |it| it.room_at(now)).unwrap();
    assert!(room_at(last) > 0);
    assert_eq!(room_at(at(10)), 0);
    assert!(!scheduler.feed_some(batch, 1..2, last));
    assert!(scheduler.feed_some(batch, 2..3, at(10)));
    assert_eq!(scheduler.step(batch, false, at(10)), Step::Settled);
    assert_eq!(scheduler.ended(batch), Some(EndReason::Timeout));
}

#[test]
fn a_batch_that_is_done_at_its_deadline_is_in_time() {
    let scheduler = unlimited(1);
    let options = until(at(10), whole_batch());
    let (batch, owner) = scheduler.add_complete(options, 1, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.step(batch, false, at(2));
    scheduler.rest_after(&mut worker, done(&start, at(9)), at(9));
    assert!(given(&owner));
    assert_eq!(scheduler.step(batch, false, at(11)), Step::Settled);
    assert_eq!(scheduler.ended(batch), None);
}

#[test]
fn outcomes_that_are_ready_at_the_deadline_are_handed_over_first() {
    let scheduler = unlimited(1);
    let options = until(at(10), stream(Delivery::AsCompleted, 4));
    let (batch, _) = scheduler.add_complete(options, 3, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.start_next(&mut worker, done(&start, at(9)), at(9));
    assert_eq!(scheduler.step(batch, false, at(20)), Step::HandOver);
    let taken = scheduler.with(batch, Batch::hand_over).flatten();
    assert_eq!(taken.map(|taken| taken.index), Some(0));
    assert_eq!(scheduler.step(batch, false, at(20)), Step::Settled);
    assert_eq!(scheduler.ended(batch), Some(EndReason::Timeout));
}

#[test]
fn who_waits_for_a_permit_is_told_of_what_expires_before_it_looks_again() {
    let (scheduler, limiter) = limited(2, 1, 10);
    assert!(limiter.try_acquire(1, at(1)));
    let (lasting, _) = scheduler.add_complete(whole_batch(), 1, at(1));
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.rest(&mut worker, at(1)), at(11));
    let (expiring, _) = scheduler.add_batch(until(at(5), stream(Delivery::InOrder, 9)), at(2));
    scheduler.feed_some(expiring, 0..1, at(1));
    assert!(woken(&worker));
    assert_eq!(scheduler.rest(&mut worker, at(2)), at(5));
    // Nothing that is told to it is news now.
    scheduler.submit(7, at(3)).unwrap();
    assert!(!woken(&worker));
    scheduler.withdraw(SUBMITTED, 0);
    scheduler.remove(lasting, at(3));
    assert_eq!(scheduler.rest(&mut worker, at(5)), Time::NEVER);
}

#[test]
fn whoever_joins_ends_what_is_late_and_has_no_owner_there() {
    let scheduler = unlimited(1);
    let options = until(at(10), stream(Delivery::InOrder, 9));
    let (batch, owner) = scheduler.add_complete(options, 3, at(1));
    let joiner = Arc::default();
    assert_eq!(scheduler.joined(&joiner, at(2)), Some(at(10)));
    assert_eq!(scheduler.ended(batch), None);
    assert_eq!(scheduler.joined(&joiner, at(10)), None);
    assert_eq!(scheduler.ended(batch), Some(EndReason::Timeout));
    assert!(given(&owner));
    scheduler.close();
    assert!(scheduler.is_over());
}

#[test]
fn what_fails_from_the_deadline_on_ends_its_batch_by_that() {
    let options = BatchOptions {
        deadline: at(5),
        stop_on_failure: true,
        ..whole_batch()
    };
    for (now, expected) in [(4, EndReason::Operation), (5, EndReason::Timeout)] {
        let scheduler = unlimited(1);
        let (batch, _) = scheduler.add_complete(options, 1, at(1));
        let mut worker = scheduler.worker();
        let last = scheduler.start(&mut worker, at(1));
        scheduler.rest_after(&mut worker, failed(&last, at(now)), at(now));
        assert_eq!(scheduler.ended(batch), Some(expected), "at {now}");
    }
}
