//! Whatever can start is started while a worker is free: nobody sleeps through it.

use std::sync::Arc;

use paceline::engine::ledger::Keep;
use paceline::engine::schedule::Step;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, again, at, batch, done, given, limited, stream, unlimited, until, woken,
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
