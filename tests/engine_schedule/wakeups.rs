//! Whatever can start is started while a worker is free: nobody sleeps through it.

use std::sync::Arc;

use paceline::engine::ledger::Keep;
use paceline::engine::schedule::{Dispatch, Step};
use paceline::engine::terms::{Acquirer, End, Terms};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, CALLS, again, at, batch, delivered, done, foreign, given, limited, owned, stream,
    unlimited, until, woken,
};

#[test]
fn each_of_several_retries_is_waited_for() {
    let scheduler = unlimited(2);
    scheduler.add_complete(batch(), 2, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let running = seats.each_mut().map(|seat| scheduler.start(seat, at(1)));
    scheduler.rest_after(&mut seats[0], again(&running[0], at(2), at(10)), at(2));
    let until = scheduler.rest_after(&mut seats[1], again(&running[1], at(2), at(20)), at(2));
    assert_eq!(until, Time::NEVER);
    woken(&seats[0]);
    assert_eq!(scheduler.rest(&mut seats[0], at(2)), at(10));
    // The first runs for long; the other worker is free, and is to take the second.
    scheduler.start(&mut seats[0], at(10));
    assert!(
        woken(&seats[1]),
        "nobody waits for the retry that is due at 20"
    );
    assert_eq!(scheduler.rest(&mut seats[1], at(10)), at(20));
    scheduler.start(&mut seats[1], at(20));
}

#[test]
fn a_displaced_worker_can_still_be_woken() {
    let (scheduler, _) = limited(2, 2, 10);
    scheduler.add_complete(batch(), 2, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let running = seats.each_mut().map(|seat| scheduler.start(seat, at(1)));
    scheduler.rest_after(&mut seats[0], again(&running[0], at(2), at(1000)), at(2));
    scheduler.rest_after(&mut seats[1], done(&running[1], at(2)), at(2));
    scheduler.submit(7, at(3)).unwrap();
    scheduler.submit(8, at(3)).unwrap();
    assert!(woken(&seats[1]));
    assert_eq!(scheduler.rest(&mut seats[1], at(3)), at(11));
    if woken(&seats[0]) {
        scheduler.rest(&mut seats[0], at(3));
    }
    scheduler.start(&mut seats[1], at(11));
    assert!(
        woken(&seats[0]),
        "a free worker sleeps beside a permit and an operation"
    );
}

#[test]
fn a_nested_owner_waits_for_the_retries_that_others_leave_to_it() {
    let scheduler = unlimited(2);
    scheduler.submit(0, at(1)).unwrap();
    let (mut busy, mut helper) = (scheduler.seat(), scheduler.seat());
    scheduler.start(&mut busy, at(1));
    let (inner, owner) = scheduler.add_complete(batch(), 1, at(1));
    let shared = scheduler.start(&mut helper, at(1));
    assert_eq!(shared.source, inner);
    let mut nested = scheduler.nested_seat(Arc::clone(&owner), inner, None);
    scheduler.rest(&mut nested, at(1));
    assert_eq!(scheduler.step(inner, true, at(1)), Step::Rest(Time::NEVER));
    // The helper goes on with something else, which may well wait for the nested batch.
    scheduler.submit(1, at(2)).unwrap();
    given(&owner);
    scheduler.start_next(&mut helper, again(&shared, at(2), at(9)), at(2));
    assert!(given(&owner), "nobody waits for the retry");
    assert_eq!(scheduler.rest(&mut nested, at(2)), at(9));
    scheduler.start(&mut nested, at(9));
}

#[test]
fn a_worker_that_comes_back_from_a_removed_source_is_offered() {
    let scheduler = foreign(1);
    let (left, _) = scheduler.add_complete(owned(), 2, at(1));
    let (other, owner) = scheduler.add_complete(owned(), 2, at(1));
    let mut seat = scheduler.seat();
    assert_eq!(scheduler.step(left, false, at(1)), Step::Acquire);
    scheduler.grant(left, at(1));
    let running = scheduler.start(&mut seat, at(1));
    // Its owner was interrupted, and does not wait for what runs.
    scheduler.end(left, End::Owner, at(2));
    scheduler.remove(left, at(2)).unwrap();
    given(&owner);
    assert_eq!(scheduler.step(other, false, at(2)), Step::Rest(Time::NEVER));
    scheduler.rest_after(&mut seat, done(&running, at(3)), at(3));
    assert!(given(&owner), "the worker is free and nobody is told");
}

#[test]
fn a_worker_that_comes_back_from_the_last_operation_of_an_orphan_is_offered() {
    let scheduler = foreign(1);
    let dispatched = Terms {
        acquirer: Acquirer::Dispatcher,
        ..stream(Keep::Ordered, 5)
    };
    let (orphan, _) = scheduler.add_complete(dispatched, 1, at(1));
    let (other, owner) = scheduler.add_complete(owned(), 2, at(1));
    let mut seat = scheduler.seat();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(orphan));
    scheduler.grant(orphan, at(1));
    let running = scheduler.start(&mut seat, at(1));
    scheduler.orphan(orphan, at(2));
    assert_eq!(scheduler.step(other, false, at(2)), Step::Rest(Time::NEVER));
    scheduler.rest_after(&mut seat, done(&running, at(3)), at(3));
    assert!(given(&owner), "the worker is free and nobody is told");
}

#[test]
fn a_worker_that_was_kept_for_a_refused_permit_is_offered() {
    let scheduler = foreign(1);
    scheduler.submit(0, at(1)).unwrap();
    let (source, owner) = scheduler.add_complete(owned(), 2, at(1));
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    assert_eq!(
        scheduler.step(source, false, at(1)),
        Step::Rest(Time::NEVER)
    );
    // The call is taken back while its permit is asked for; then that is refused.
    assert_eq!(scheduler.withdraw(CALLS, 0), Some(0));
    given(&owner);
    assert!(scheduler.refuse(CALLS, at(2)).is_none());
    assert!(
        given(&owner) || scheduler.step(source, false, at(2)) != Step::Acquire,
        "the worker is free and nobody is told"
    );
}

#[test]
fn an_owner_that_waits_for_a_retry_does_not_keep_a_worker_from_others() {
    let scheduler = foreign(1);
    let (first, delayed) = scheduler.add_complete(owned(), 1, at(1));
    let (second, wants) = scheduler.add_complete(owned(), 3, at(1));
    scheduler.submit(0, at(1)).unwrap();
    let mut seat = scheduler.seat();
    let step = |source, now| scheduler.step(source, false, now);
    assert_eq!(step(first, at(1)), Step::Acquire);
    scheduler.grant(first, at(1));
    let running = scheduler.start(&mut seat, at(1));
    scheduler.rest_after(&mut seat, again(&running, at(2), at(1000)), at(2));
    assert_eq!(step(first, at(2)), Step::Rest(at(1000)));
    assert_eq!(scheduler.dispatch(at(2)), Dispatch::Acquire(CALLS));
    scheduler.grant(CALLS, at(2));
    let call = scheduler.start(&mut seat, at(2));
    assert_eq!(step(second, at(2)), Step::Rest(Time::NEVER));
    given(&delayed);
    scheduler.rest_after(&mut seat, delivered(&call, at(3)), at(3));
    assert!(
        given(&wants),
        "the worker was offered to one that has no use for it"
    );
}

#[test]
fn every_worker_that_a_removed_source_kept_is_offered() {
    let scheduler = foreign(2);
    let (left, _) = scheduler.add_complete(owned(), 4, at(1));
    let (second, wants) = scheduler.add_complete(owned(), 2, at(1));
    let (third, also_wants) = scheduler.add_complete(owned(), 2, at(1));
    for _ in 0..2 {
        assert_eq!(scheduler.step(left, false, at(1)), Step::Acquire);
        scheduler.grant(left, at(1));
    }
    for source in [second, third] {
        assert_eq!(
            scheduler.step(source, false, at(1)),
            Step::Rest(Time::NEVER)
        );
    }
    scheduler.end(left, End::Owner, at(2));
    scheduler.remove(left, at(2)).unwrap();
    let (mut told, mut also_told) = (given(&wants), given(&also_wants));
    // Whoever is told asks, which may take its time; the other worker is free all the while.
    if told {
        assert_eq!(scheduler.step(second, false, at(2)), Step::Acquire);
        also_told |= given(&also_wants);
    } else {
        assert_eq!(scheduler.step(third, false, at(2)), Step::Acquire);
        told |= given(&wants);
    }
    assert!(told && also_told, "two workers are free and one is offered");
}

#[test]
fn a_permit_that_was_left_over_is_used_for_a_retry() {
    let scheduler = foreign(1);
    scheduler.submit(0, at(1)).unwrap();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    scheduler.grant(CALLS, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    scheduler.rest_after(&mut seat, again(&start, at(2), at(9)), at(2));
    scheduler.submit(1, at(3)).unwrap();
    assert_eq!(scheduler.dispatch(at(3)), Dispatch::Acquire(CALLS));
    assert_eq!(scheduler.withdraw(CALLS, 1), Some(1));
    scheduler.grant(CALLS, at(4));
    woken(&seat);
    let until = scheduler.rest(&mut seat, at(4));
    let dispatched = scheduler.dispatch(at(4));
    if until > at(9) {
        assert_eq!(dispatched, Dispatch::Rest(at(9)));
        // Then whoever was to wait for it sees to it, and does not merely look again and again.
        let dispatched = scheduler.dispatch(at(9));
        assert_ne!(
            dispatched,
            Dispatch::Rest(at(9)),
            "the dispatcher runs in circles"
        );
        if dispatched == Dispatch::Acquire(CALLS) {
            scheduler.grant(CALLS, at(9));
        }
        assert!(
            woken(&seat),
            "the retry is due, has a permit, and nobody starts it"
        );
    }
    let start = scheduler.start(&mut seat, at(9));
    scheduler.rest_after(&mut seat, delivered(&start, at(10)), at(10));
}

#[test]
fn a_call_that_may_be_tried_again_has_a_thread_to_itself() {
    let scheduler = unlimited(2);
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    scheduler.rest_after(&mut seat, again(&start, at(2), at(9)), at(2));
    scheduler.submit(1, at(3)).unwrap();
    let before = scheduler.reserve_thread(at(3));
    scheduler.start(&mut seat, at(3));
    // Nobody asks whether threads are wanted at the instant that the retry is due.
    assert!(
        before || scheduler.reserve_thread(at(3)),
        "the retry waits for a call that may wait for it"
    );
}

#[test]
fn a_nested_seat_that_is_given_up_leaves_nothing_behind() {
    // Whatever the time: here it is long past the first seconds of the real clock.
    let day = 86_400;
    let scheduler = unlimited(1);
    let mut seat = scheduler.seat();
    let (source, owner) = scheduler.add_complete(batch(), 1, at(day));
    let mut nested = scheduler.nested_seat(owner, source, None);
    let start = scheduler.start(&mut nested, at(day));
    assert_eq!(scheduler.rest(&mut seat, at(day)), Time::NEVER);
    scheduler.rest_after(&mut nested, again(&start, at(day), at(day + 5)), at(day));
    assert!(
        woken(&seat),
        "nobody but the nested worker waits for the retry"
    );
    scheduler.leave(nested);
    assert_eq!(scheduler.rest(&mut seat, at(day)), at(day + 5));
}

#[test]
fn retries_of_a_source_past_its_deadline_keep_nobody_awake() {
    for due in [at(9), at(10), at(12)] {
        let scheduler = unlimited(1);
        let terms = until(at(10), stream(Keep::Completed, 4));
        let (source, _) = scheduler.add_complete(terms, 1, at(1));
        let mut seat = scheduler.seat();
        let start = scheduler.start(&mut seat, at(1));
        scheduler.rest_after(&mut seat, again(&start, at(2), due), at(2));
        // Its consumer stays away, so nobody has noticed that it is over.
        let until = scheduler.rest(&mut seat, at(20));
        assert!(until > at(20), "a worker that looks again and again");
        assert_eq!(scheduler.step(source, false, at(30)), Step::Settled);
    }
}
