//! Permits of a limiter that is not ours: one worker at a time asks for one, and uses it.

use std::sync::Arc;

use paceline::engine::model::{BatchId, Delivery, EndReason, Ending, Finished};
use paceline::engine::scheduler::{Claim, Lease, Scheduler, Step};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, SECOND, SUBMITTED, again, at, delivered, done, foreign, given, stream, until,
    whole_batch, woken,
};

#[test]
fn one_worker_asks_and_starts_and_then_the_next() {
    let scheduler = foreign(2);
    let (batch, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    let (mut first, mut second) = (scheduler.worker(), scheduler.worker());
    assert_eq!(scheduler.asks(&mut first, at(1)), batch);
    assert_eq!(scheduler.rest(&mut second, at(1)), Time::NEVER);
    scheduler.grant();
    let start = scheduler.start(&mut first, at(4));
    assert_eq!((start.running.index, start.running.started), (0, at(4)));
    assert_eq!(start.running.permit_wait, 3 * SECOND);
    assert!(woken(&second), "nobody asks for what is next");
    assert_eq!(scheduler.asks(&mut second, at(4)), batch);
    scheduler.grant();
    assert_eq!(scheduler.start(&mut second, at(5)).running.index, 1);
    let ends = Some(done(&start, at(6)));
    let (_, claim) = scheduler.claim(&mut first, ends, at(6));
    assert!(matches!(claim, Claim::Ask(ask) if ask.batch == batch && !ask.nested));
}

#[test]
fn nobody_asks_while_no_worker_is_free() {
    let scheduler = foreign(1);
    scheduler.add_complete(whole_batch(), 2, at(1));
    let (mut worker, mut spare) = (scheduler.worker(), scheduler.spare_worker());
    scheduler.asks(&mut worker, at(1));
    scheduler.grant();
    let start = scheduler.start(&mut worker, at(1));
    assert_eq!(scheduler.rest(&mut spare, at(1)), Time::NEVER);
    // It waits inside, so another works in its place.
    scheduler.block(at(2));
    assert!(woken(&spare));
    scheduler.asks(&mut spare, at(2));
    // And goes on before the answer comes: then there is no room.
    scheduler.unblock();
    scheduler.grant();
    assert_eq!(scheduler.rest(&mut spare, at(3)), Time::NEVER);
    let next = scheduler.start_next(&mut worker, done(&start, at(4)), at(4));
    assert_eq!(next.running.index, 1, "the permit is used by who is free");
}

#[test]
fn batches_are_asked_for_in_turn() {
    let scheduler = foreign(1);
    let (first, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let (second, _) = scheduler.add_complete(stream(Delivery::AsCompleted, 5), 2, at(1));
    let mut worker = scheduler.worker();
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(scheduler.asks(&mut worker, at(1)));
        scheduler.grant();
        let start = scheduler.start(&mut worker, at(1));
        assert_eq!(Some(&start.batch), turns.last());
        scheduler.finish(&mut worker, done(&start, at(1)), at(1));
    }
    assert_eq!(turns, [first, second, first, second]);
}

#[test]
fn nobody_asks_during_a_pause_and_a_permit_is_kept_until_its_end() {
    let scheduler = foreign(1);
    scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    scheduler.pause(SUBMITTED, at(1), at(1), at(5));
    assert_eq!(scheduler.rest(&mut worker, at(2)), at(5));
    scheduler.asks(&mut worker, at(5));
    scheduler.pause(SUBMITTED, at(6), at(6), at(20));
    scheduler.grant();
    assert_eq!(scheduler.rest(&mut worker, at(7)), at(20));
    let start = scheduler.start(&mut worker, at(20));
    assert_eq!(start.running.permit_wait, SECOND, "pauses do not count");
}

#[test]
fn a_permit_for_which_nothing_is_left_is_lost() {
    let scheduler = foreign(1);
    scheduler.submit(0, at(1)).unwrap();
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.asks(&mut worker, at(1)), SUBMITTED);
    assert_eq!(scheduler.withdraw(SUBMITTED, 0), Some(0));
    scheduler.grant();
    assert_eq!(scheduler.rest(&mut worker, at(2)), Time::NEVER);
    // It would be too old for what comes later.
    scheduler.submit(1, at(3)).unwrap();
    assert!(woken(&worker));
    assert_eq!(scheduler.asks(&mut worker, at(3)), SUBMITTED);
}

#[test]
fn a_permit_is_for_what_is_next_when_it_comes() {
    let scheduler = foreign(1);
    for job in 0..2 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut worker = scheduler.worker();
    scheduler.asks(&mut worker, at(1));
    scheduler.withdraw(SUBMITTED, 0);
    scheduler.grant();
    assert_eq!(scheduler.start(&mut worker, at(2)).running.index, 1);
}

#[test]
fn nothing_is_asked_for_nor_started_from_the_deadline_on() {
    let scheduler = foreign(1);
    let (batch, _) = scheduler.add_complete(until(at(10), whole_batch()), 3, at(1));
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.asks(&mut worker, at(9)), batch);
    scheduler.grant();
    assert_eq!(scheduler.rest(&mut worker, at(10)), Time::NEVER);
}

/// Lets the next operation of a batch fail as its permit is refused.
fn refuse(scheduler: &Scheduler<Plain>, batch: BatchId, now: Time) -> Option<Lease> {
    let (lease, start) = scheduler.refuse(batch, now)?;
    let ending = if batch == SUBMITTED {
        Ending::Delivered(true)
    } else {
        Ending::Result(Err(start.job), false)
    };
    let finished = Finished {
        ended: now,
        ending,
        waited: 0,
    };
    scheduler.book(&lease, finished, now);
    Some(lease)
}

#[test]
fn a_refusal_hits_the_operation_that_is_next() {
    let scheduler = foreign(2);
    let (batch, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let (mut worker, mut other) = (scheduler.worker(), scheduler.worker());
    scheduler.asks(&mut worker, at(1));
    assert_eq!(scheduler.rest(&mut other, at(1)), Time::NEVER);
    let refused = refuse(&scheduler, batch, at(3)).unwrap().running;
    assert_eq!(
        (refused.index, refused.attempt, refused.refused),
        (0, 0, true)
    );
    assert!(woken(&other), "the other one may ask while this one tells");
    scheduler.asks(&mut other, at(3));
    scheduler.grant();
    let start = scheduler.start(&mut other, at(3));
    assert_eq!(start.running.index, 1);
    scheduler.rest_after(&mut other, done(&start, at(4)), at(4));
    let batch = scheduler.remove(batch, at(4)).unwrap();
    let totals = batch.totals();
    assert_eq!((totals.permits, totals.attempts), (1, 1));
    assert_eq!((totals.done, totals.failed), (1, 1));
    assert_eq!(totals.permit_wait, 2 * SECOND);
}

#[test]
fn a_retry_that_is_refused_keeps_the_attempts_it_had() {
    let scheduler = foreign(1);
    let (batch, _) = scheduler.add_complete(whole_batch(), 1, at(1));
    let mut worker = scheduler.worker();
    scheduler.asks(&mut worker, at(1));
    scheduler.grant();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.rest_after(&mut worker, again(&start, at(2), at(5)), at(2));
    assert_eq!(scheduler.asks(&mut worker, at(5)), batch);
    let refused = refuse(&scheduler, batch, at(6)).unwrap().running;
    assert_eq!((refused.index, refused.attempt), (0, 1));
}

#[test]
fn a_refusal_for_which_nothing_is_left_hits_nothing() {
    let scheduler = foreign(1);
    scheduler.submit(0, at(1)).unwrap();
    let mut worker = scheduler.worker();
    scheduler.asks(&mut worker, at(1));
    scheduler.withdraw(SUBMITTED, 0);
    assert!(refuse(&scheduler, SUBMITTED, at(2)).is_none());
    scheduler.submit(1, at(3)).unwrap();
    assert_eq!(scheduler.asks(&mut worker, at(3)), SUBMITTED);
}

#[test]
fn a_limiter_that_fails_ends_what_it_was_asked_for() {
    let scheduler = foreign(1);
    let (batch, owner) = scheduler.add_complete(whole_batch(), 2, at(1));
    let (other, _) = scheduler.add_complete(whole_batch(), 1, at(1));
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.asks(&mut worker, at(1)), batch);
    scheduler.fail(batch, at(2));
    assert!(given(&owner));
    assert_eq!(scheduler.ended(batch), Some(EndReason::Limiter));
    assert_eq!(scheduler.asks(&mut worker, at(2)), other);
}

#[test]
fn an_owner_that_has_gone_leaves_nobody_asking() {
    let scheduler = foreign(1);
    let (left, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    scheduler.asks(&mut worker, at(1));
    scheduler.end(left, EndReason::Owner, at(2));
    scheduler.remove(left, at(2)).unwrap();
    let (batch, _) = scheduler.add_complete(whole_batch(), 1, at(3));
    // What is asked for is as good for the next.
    scheduler.grant();
    assert_eq!(scheduler.start(&mut worker, at(4)).batch, batch);
}

#[test]
fn a_worker_asks_inside_an_operation_or_waits_for_the_answer() {
    let scheduler = foreign(1);
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut worker = scheduler.worker();
    scheduler.asks(&mut worker, at(1));
    let signal = Arc::new(Signal::default());
    let mut nested = scheduler.nested_worker(Arc::clone(&signal), SUBMITTED, Some(2));
    assert_eq!(scheduler.rest(&mut nested, at(1)), Time::NEVER);
    scheduler.grant();
    let outer = scheduler.start(&mut worker, at(2));
    assert!(given(&signal), "it is not told");
    let (_, claim) = scheduler.claim(&mut nested, None, at(2));
    assert!(matches!(claim, Claim::Ask(ask) if ask.nested));
    scheduler.grant();
    let inner = scheduler.start(&mut nested, at(3));
    assert_eq!(inner.running.index, 2);
    scheduler.book(&inner.lease(), delivered(&inner, at(4)), at(4));
    scheduler.leave(nested);
    let (_, claim) = scheduler.claim(&mut worker, Some(delivered(&outer, at(5))), at(5));
    assert!(matches!(claim, Claim::Ask(ask) if !ask.nested));
}

#[test]
fn a_permit_that_a_nested_worker_cannot_use_is_for_others() {
    let scheduler = foreign(2);
    scheduler.submit(0, at(1)).unwrap();
    let mut nested = scheduler.nested_worker(Arc::default(), SUBMITTED, Some(0));
    scheduler.asks(&mut nested, at(1));
    scheduler.submit(1, at(1)).unwrap();
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.rest(&mut worker, at(1)), Time::NEVER);
    scheduler.withdraw(SUBMITTED, 0);
    scheduler.grant();
    assert_eq!(scheduler.rest(&mut nested, at(2)), Time::NEVER);
    assert!(woken(&worker), "nobody is told that there is a permit");
    assert_eq!(scheduler.start(&mut worker, at(2)).running.index, 1);
}

#[test]
fn what_is_asked_for_is_waited_for_and_the_worker_alone_is_not() {
    let scheduler = foreign(2);
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let mut worker = scheduler.worker();
    scheduler.asks(&mut worker, at(1));
    scheduler.close();
    assert!(!scheduler.is_over() && scheduler.joined(&Arc::default(), at(1)).is_some());
    assert!(scheduler.is_asking() && scheduler.deserted(&Arc::default()));
    assert_eq!(scheduler.withdraw_all(SUBMITTED), [(0, 0)]);
    assert!(scheduler.is_over() && scheduler.joined(&Arc::default(), at(1)).is_none());
    scheduler.grant();
    assert!(!scheduler.deserted(&Arc::default()));
    assert!(matches!(scheduler.look(&mut worker, at(2)), Claim::Exit));
    assert!(scheduler.deserted(&Arc::default()));
}

#[test]
fn a_worker_that_asks_inside_an_operation_is_waited_for() {
    let scheduler = foreign(1);
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let mut nested = scheduler.nested_worker(Arc::default(), SUBMITTED, Some(0));
    scheduler.asks(&mut nested, at(1));
    assert!(!scheduler.is_asking() && !scheduler.deserted(&Arc::default()));
}

#[test]
fn a_nested_owner_hands_over_before_it_asks_for_more() {
    let scheduler = foreign(2);
    let (batch, owner) = scheduler.add_complete(stream(Delivery::AsCompleted, 9), 2, at(1));
    let mut worker = scheduler.worker();
    let mut nested = scheduler.nested_worker(owner, batch, None);
    scheduler.asks(&mut nested, at(1));
    assert_eq!(scheduler.rest(&mut worker, at(1)), Time::NEVER);
    scheduler.grant();
    let start = scheduler.start(&mut nested, at(2));
    let (_, claim) = scheduler.claim(&mut nested, Some(done(&start, at(3))), at(3));
    assert!(matches!(claim, Claim::Rest(until) if until == at(3)));
    assert_eq!(scheduler.step(batch, true, at(3)), Step::HandOver);
    scheduler.leave(nested);
    assert!(woken(&worker), "nobody asks meanwhile");
    assert_eq!(scheduler.asks(&mut worker, at(3)), batch);
}

#[test]
fn threads_are_taken_on_as_there_is_something_to_start() {
    let scheduler = foreign(2);
    assert!(!scheduler.reserve_thread(at(1)));
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    assert!(scheduler.reserve_thread(at(1)));
    assert!(scheduler.reserve_thread(at(1)));
    assert!(!scheduler.reserve_thread(at(1)));
}
