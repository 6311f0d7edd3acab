//! Workers that wait inside an operation, for a batch or a call of their own executor.

use std::sync::Arc;

use paceline::engine::model::{BatchId, EndReason};
use paceline::engine::scheduler::{Scheduler, Step};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, SECOND, SUBMITTED, Started, at, delivered, done, given, limited, unlimited, until,
    whole_batch, woken,
};

#[test]
fn a_nested_batch_runs_on_the_worker_that_waits_for_it() {
    let scheduler = unlimited(1);
    let (_, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    let mut worker = scheduler.worker();
    let outer = scheduler.start(&mut worker, at(1));
    let (inner, owner) = scheduler.add_complete(whole_batch(), 2, at(2));
    let mut nested = scheduler.nested_worker(Arc::clone(&owner), inner, None);
    assert!(matches!(scheduler.step(inner, true, at(2)), Step::Rest(_)));
    let first = scheduler.start(&mut nested, at(2));
    let second = scheduler.start_next(&mut nested, done(&first, at(3)), at(3));
    assert_eq!((second.batch, second.running.index), (inner, 1));
    // It does not take what it does not wait for.
    scheduler.rest_after(&mut nested, done(&second, at(4)), at(4));
    assert_eq!(scheduler.step(inner, true, at(4)), Step::Settled);
    scheduler.leave(nested);
    scheduler.remove(inner, at(5)).unwrap();
    let next = scheduler.start_next(&mut worker, done(&outer, at(5)), at(5));
    assert_eq!(next.running.index, 1);
}

#[test]
fn a_nested_start_takes_no_worker_from_the_others() {
    let scheduler = unlimited(2);
    scheduler.add_complete(whole_batch(), 4, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    scheduler.start(&mut workers[0], at(1));
    let (inner, owner) = scheduler.add_complete(whole_batch(), 3, at(1));
    let mut nested = scheduler.nested_worker(owner, inner, None);
    let start = scheduler.start(&mut nested, at(1));
    let other = scheduler.start(&mut workers[1], at(1));
    assert_eq!(scheduler.rest(&mut workers[2], at(1)), Time::NEVER);
    scheduler.start_next(&mut nested, done(&start, at(2)), at(2));
    assert_eq!(scheduler.rest(&mut workers[2], at(2)), Time::NEVER);
    let finished = done(&other, at(3));
    scheduler.start_next(&mut workers[1], finished, at(3));
    assert_eq!(scheduler.rest(&mut workers[2], at(3)), Time::NEVER);
}

#[test]
fn a_nested_worker_for_one_call_takes_no_other() {
    let scheduler = unlimited(1);
    for job in 0..4 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut worker = scheduler.worker();
    scheduler.start(&mut worker, at(1));
    let mut nested = scheduler.nested_worker(Arc::default(), SUBMITTED, Some(2));
    let start = scheduler.start(&mut nested, at(2));
    assert_eq!((start.running.index, start.job), (2, 2));
    scheduler.book(&start.lease(), delivered(&start, at(3)), at(3));
    assert_eq!(scheduler.rest(&mut nested, at(3)), Time::NEVER);
    scheduler.leave(nested);
    let mut gone = scheduler.nested_worker(Arc::default(), SUBMITTED, Some(0));
    assert_eq!(
        scheduler.rest(&mut gone, at(3)),
        Time::NEVER,
        "it runs elsewhere"
    );
    let left = scheduler.withdraw_all(SUBMITTED);
    assert_eq!(left, [(1, 1), (3, 3)]);
}

#[test]
fn a_nested_worker_queues_for_its_permit_and_leaves_the_queue() {
    let (scheduler, limiter) = limited(2, 1, 10);
    let mut worker = scheduler.worker();
    scheduler.submit(0, at(1)).unwrap();
    scheduler.start(&mut worker, at(1));
    let (inner, owner) = scheduler.add_complete(whole_batch(), 2, at(2));
    let mut nested = scheduler.nested_worker(Arc::clone(&owner), inner, None);
    assert_eq!(scheduler.rest(&mut nested, at(2)), at(11));
    // A free worker stands behind it in the queue of the limiter.
    let mut free = scheduler.worker();
    assert_eq!(scheduler.rest(&mut free, at(3)), Time::NEVER);
    scheduler.leave(nested);
    assert!(woken(&free), "the queue still waits for one that has left");
    assert_eq!(scheduler.rest(&mut free, at(4)), at(11));
    let start = scheduler.start(&mut free, at(11));
    assert_eq!(
        (start.batch, start.running.permit_wait),
        (inner, 8 * SECOND)
    );
    assert!(!limiter.try_acquire(1, at(11)));
}

#[test]
fn blocking_wakes_a_worker_for_what_waits() {
    let scheduler = unlimited(1);
    let (mut worker, mut spare) = (scheduler.worker(), scheduler.worker());
    scheduler.rest(&mut spare, at(1));
    scheduler.submit(0, at(1)).unwrap();
    scheduler.submit(1, at(1)).unwrap();
    woken(&spare);
    let outer = scheduler.start(&mut worker, at(1));
    scheduler.rest(&mut spare, at(1));
    scheduler.block(at(2));
    assert!(woken(&spare));
    let inner = scheduler.start(&mut spare, at(2));
    scheduler.unblock();
    scheduler.submit(2, at(3)).unwrap();
    scheduler.rest_after(&mut spare, delivered(&inner, at(3)), at(3));
    assert!(!woken(&spare));
    let last = scheduler.start_next(&mut worker, delivered(&outer, at(4)), at(4));
    assert_eq!(last.running.index, 2);
    assert!(!woken(&spare));
}

/// A batch that a running operation begins.
fn inner(scheduler: &Scheduler<Plain>, outer: &Started, now: Time) -> (BatchId, Arc<Signal>) {
    let owner = Arc::new(Signal::default());
    let context = Arc::new("inner".into());
    let outer = Some((outer.batch, outer.running.worker));
    let id = scheduler.add(context, Arc::clone(&owner), whole_batch(), outer, now);
    let id = id.unwrap();
    scheduler.feed(id, 0..5, true, now);
    (id, owner)
}

#[test]
fn what_is_given_up_takes_with_it_what_its_running_operations_have_begun() {
    let scheduler = unlimited(4);
    let (outer, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    let running = scheduler.start(&mut workers[0], at(1));
    let over = scheduler.start(&mut workers[1], at(1));
    let (child, owner) = inner(&scheduler, &running, at(2));
    let (left, _) = inner(&scheduler, &over, at(2));
    drop(scheduler.finish(&mut workers[1], done(&over, at(2)), at(2)));
    let mut nested = scheduler.nested_worker(Arc::clone(&owner), child, None);
    let in_child = scheduler.start(&mut nested, at(2));
    let (grandchild, its_owner) = inner(&scheduler, &in_child, at(3));
    given(&owner);
    given(&its_owner);
    scheduler.end(outer, EndReason::Owner, at(4));
    scheduler.remove(outer, at(4));
    for (batch, owner) in [(child, owner), (grandchild, its_owner)] {
        assert!(given(&owner), "its owner is not told");
        assert_eq!(scheduler.ended(batch), Some(EndReason::Outer));
    }
    assert_eq!(scheduler.ended(left), None, "its operation had returned");
    // Its operation, which still runs, can begin no more.
    let (late, owner) = inner(&scheduler, &running, at(5));
    assert_eq!(scheduler.ended(late), Some(EndReason::Outer));
    assert_eq!(scheduler.step(late, true, at(5)), Step::Settled);
    assert!(
        scheduler.feed_some(late, 5..6, at(9)),
        "it is not to read on"
    );
    drop(owner);
}

#[test]
fn what_waits_for_its_running_operations_lets_them_begin_more() {
    let scheduler = unlimited(2);
    let (outer, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    let running = scheduler.start(&mut worker, at(1));
    let (before, _) = inner(&scheduler, &running, at(2));
    scheduler.end(outer, EndReason::Failed, at(3));
    let (after, _) = inner(&scheduler, &running, at(4));
    assert_eq!(scheduler.ended(before), None);
    assert_eq!(scheduler.ended(after), None);
}

#[test]
fn what_an_operation_has_begun_ends_at_the_deadline_of_its_batch() {
    let scheduler = unlimited(2);
    let options = until(at(10), whole_batch());
    scheduler.add_complete(options, 2, at(1));
    let mut worker = scheduler.worker();
    let running = scheduler.start(&mut worker, at(1));
    let (child, _) = inner(&scheduler, &running, at(2));
    // The owner of the outer batch may be anywhere meanwhile.
    assert_eq!(scheduler.step(child, true, at(9)), Step::Rest(at(10)));
    assert_eq!(scheduler.step(child, true, at(10)), Step::Settled);
    assert_eq!(scheduler.ended(child), Some(EndReason::Outer));
    let (late, _) = inner(&scheduler, &running, at(11));
    assert_eq!(scheduler.ended(late), Some(EndReason::Outer));
}

#[test]
fn what_nobody_will_take_is_left_to_run_whoever_began_it() {
    let scheduler = unlimited(2);
    let (outer, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    let running = scheduler.start(&mut worker, at(1));
    let (left, _) = inner(&scheduler, &running, at(2));
    drop(scheduler.orphan(left, at(2)));
    scheduler.end(outer, EndReason::Owner, at(3));
    scheduler.remove(outer, at(3));
    assert_eq!(scheduler.ended(left), None);
    // Not so where everything ends: then nobody else would take it out.
    let forgotten = scheduler.end_where(EndReason::Cancelled, |_| true);
    assert_eq!(forgotten.len(), 1);
    assert_eq!(scheduler.with(left, |_| ()), None);
}

#[test]
fn what_a_nested_owner_starts_takes_nobodys_turn() {
    let scheduler = unlimited(2);
    let (inner, owner) = scheduler.add_complete(whole_batch(), 9, at(1));
    let (outer, _) = scheduler.add_complete(whole_batch(), 9, at(1));
    let mut nested = scheduler.nested_worker(owner, inner, None);
    let mut worker = scheduler.worker();
    let mut running = scheduler.start(&mut worker, at(1));
    let mut own = scheduler.start(&mut nested, at(1));
    let mut served = vec![running.batch];
    for _ in 0..3 {
        running = scheduler.start_next(&mut worker, done(&running, at(2)), at(2));
        own = scheduler.start_next(&mut nested, done(&own, at(2)), at(2));
        served.push(running.batch);
    }
    assert_eq!(served, [inner, outer, inner, outer]);
}
