//! Whatever can start is started while a worker is free: nobody sleeps through it.

use std::sync::Arc;

use paceline::engine::model::Delivery;
use paceline::engine::scheduler::Step;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, again, at, done, given, limited, stream, unlimited, until, whole_batch, woken,
};

#[test]
fn each_of_several_retries_is_waited_for() {
    let scheduler = unlimited(2);
    scheduler.add_complete(whole_batch(), 2, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let running = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    scheduler.rest_after(&mut workers[0], again(&running[0], at(2), at(10)), at(2));
    let until = scheduler.rest_after(&mut workers[1], again(&running[1], at(2), at(20)), at(2));
    assert_eq!(until, Time::NEVER);
    woken(&workers[0]);
    assert_eq!(scheduler.rest(&mut workers[0], at(2)), at(10));
    // The first runs for long; the other worker is free, and is to take the second.
    scheduler.start(&mut workers[0], at(10));
    assert!(
        woken(&workers[1]),
        "nobody waits for the retry that is due at 20"
    );
    assert_eq!(scheduler.rest(&mut workers[1], at(10)), at(20));
    scheduler.start(&mut workers[1], at(20));
}

#[test]
fn a_displaced_worker_can_still_be_woken() {
    let (scheduler, _) = limited(2, 2, 10);
    scheduler.add_complete(whole_batch(), 2, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let running = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    scheduler.rest_after(&mut workers[0], again(&running[0], at(2), at(1000)), at(2));
    scheduler.rest_after(&mut workers[1], done(&running[1], at(2)), at(2));
    scheduler.submit(7, at(3)).unwrap();
    scheduler.submit(8, at(3)).unwrap();
    assert!(woken(&workers[1]));
    assert_eq!(scheduler.rest(&mut workers[1], at(3)), at(11));
    if woken(&workers[0]) {
        scheduler.rest(&mut workers[0], at(3));
    }
    scheduler.start(&mut workers[1], at(11));
    assert!(
        woken(&workers[0]),
        "a free worker sleeps beside a permit and an operation"
    );
}

#[test]
fn a_nested_owner_waits_for_the_retries_that_others_leave_to_it() {
    let scheduler = unlimited(2);
    scheduler.submit(0, at(1)).unwrap();
    let (mut busy, mut helper) = (scheduler.worker(), scheduler.worker());
    scheduler.start(&mut busy, at(1));
    let (inner, owner) = scheduler.add_complete(whole_batch(), 1, at(1));
    let shared = scheduler.start(&mut helper, at(1));
    assert_eq!(shared.batch, inner);
    let mut nested = scheduler.nested_worker(Arc::clone(&owner), inner, None);
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
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.rest_after(&mut worker, again(&start, at(2), at(9)), at(2));
    scheduler.submit(1, at(3)).unwrap();
    let before = scheduler.reserve_thread(at(3));
    scheduler.start(&mut worker, at(3));
    // Nobody asks whether threads are wanted at the instant that the retry is due.
    assert!(
        before || scheduler.reserve_thread(at(3)),
        "the retry waits for a call that may wait for it"
    );
}

#[test]
fn a_nested_worker_that_is_given_up_leaves_nothing_behind() {
    // Whatever the time: here it is long past the first seconds of the real clock.
    let day = 86_400;
    let scheduler = unlimited(1);
    let mut worker = scheduler.worker();
    let (batch, owner) = scheduler.add_complete(whole_batch(), 1, at(day));
    let mut nested = scheduler.nested_worker(owner, batch, None);
    let start = scheduler.start(&mut nested, at(day));
    assert_eq!(scheduler.rest(&mut worker, at(day)), Time::NEVER);
    scheduler.rest_after(&mut nested, again(&start, at(day), at(day + 5)), at(day));
    assert!(
        woken(&worker),
        "nobody but the nested worker waits for the retry"
    );
    scheduler.leave(nested);
    assert_eq!(scheduler.rest(&mut worker, at(day)), at(day + 5));
}

#[test]
fn retries_of_a_batch_past_its_deadline_keep_nobody_awake() {
    for due in [at(9), at(10), at(12)] {
        let scheduler = unlimited(1);
        let options = until(at(10), stream(Delivery::AsCompleted, 4));
        let (batch, _) = scheduler.add_complete(options, 1, at(1));
        let mut worker = scheduler.worker();
        let start = scheduler.start(&mut worker, at(1));
        scheduler.rest_after(&mut worker, again(&start, at(2), due), at(2));
        // Its consumer stays away, so nobody has noticed that it is over.
        let until = scheduler.rest(&mut worker, at(20));
        assert!(until > at(20), "a worker that looks again and again");
        assert_eq!(scheduler.step(batch, false, at(30)), Step::Settled);
    }
}
