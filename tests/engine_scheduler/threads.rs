//! How many worker threads there are to be.

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::scheduler::Claim;
use paceline::engine::time::Time;

use crate::fixture::{Add, SUBMITTED, again, at, delivered, resting, signalled, unlimited, woken};

#[test]
fn threads_are_taken_on_as_there_is_work_for_them() {
    let scheduler = unlimited(3);
    assert!(!scheduler.wants_thread(at(1)) && !scheduler.reserve_thread(at(1)));
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.wants_thread(at(1)));
    assert!(scheduler.reserve_thread(at(1)));
    // It has not come yet, but it will.
    assert!(!scheduler.wants_thread(at(1)) && !scheduler.reserve_thread(at(1)));
    scheduler.submit(1, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let first = scheduler.start(&mut workers[0], at(1));
    scheduler.start(&mut workers[1], at(1));
    assert!(!scheduler.reserve_thread(at(1)));
    scheduler.rest_after(&mut workers[0], delivered(&first, at(2)), at(2));
    scheduler.submit(2, at(2)).unwrap();
    assert!(!scheduler.reserve_thread(at(2)), "one rests and can do it");
    scheduler.start(&mut workers[0], at(2));
    scheduler.submit(3, at(2)).unwrap();
    assert!(scheduler.reserve_thread(at(2)));
    for job in 4..9 {
        scheduler.submit(job, at(2)).unwrap();
    }
    assert!(
        !scheduler.reserve_thread(at(2)),
        "more threads than workers"
    );
    scheduler.release_thread();
    assert!(scheduler.threads() == 2 && !scheduler.is_stranded(at(2)));
    assert!(scheduler.reserve_thread(at(2)));
}

#[test]
fn a_worker_that_waits_inside_its_operation_makes_room_for_another() {
    let scheduler = unlimited(1);
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let (mut worker, mut spare) = (scheduler.worker(), scheduler.worker());
    let outer = scheduler.start(&mut worker, at(1));
    scheduler.submit(1, at(1)).unwrap();
    assert!(!scheduler.reserve_thread(at(1)));
    scheduler.block(at(2));
    assert!(scheduler.reserve_thread(at(2)));
    let inner = scheduler.start(&mut spare, at(2));
    scheduler.unblock();
    // Two run now where one is allowed: the next start is for when both have ended.
    scheduler.submit(2, at(3)).unwrap();
    assert!(!scheduler.reserve_thread(at(3)));
    scheduler.rest_after(&mut worker, delivered(&outer, at(3)), at(3));
    let last = scheduler.start_next(&mut spare, delivered(&inner, at(4)), at(4));
    assert_eq!(last.running.index, 2);
    scheduler.rest(&mut worker, at(4));
}

#[test]
fn a_thread_is_taken_on_where_nobody_waits_for_a_retry() {
    let scheduler = unlimited(1);
    for job in 0..2 {
        scheduler.submit(job, at(1)).unwrap();
    }
    assert!(scheduler.reserve_thread(at(1)));
    let mut worker = scheduler.worker();
    scheduler.start(&mut worker, at(1));
    // A worker runs what it waits for, and that is to be tried again.
    let mut nested = scheduler.nested_worker(Arc::default(), SUBMITTED, Some(1));
    let inner = scheduler.start(&mut nested, at(1));
    scheduler.book(&inner.lease(), again(&inner, at(2), at(5)), at(2));
    scheduler.leave(nested);
    assert!(
        !scheduler.reserve_thread(at(2)),
        "more threads than workers"
    );
    scheduler.block(at(2));
    assert!(
        scheduler.reserve_thread(at(2)),
        "nobody starts it when it is due"
    );
    let mut spare = scheduler.spare_worker();
    assert!(!scheduler.reserve_thread(at(2)));
    assert_eq!(scheduler.rest(&mut spare, at(2)), at(5));
    assert_eq!(scheduler.start(&mut spare, at(5)).running.attempt, 2);
}

/// So long after a time that a spare thread that nobody needs goes.
fn later(time: Time) -> Time {
    time + Duration::from_millis(100)
}

#[test]
fn a_spare_thread_goes_when_nobody_needs_it() {
    let scheduler = unlimited(1);
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let mut worker = scheduler.worker();
    let outer = scheduler.start(&mut worker, at(1));
    scheduler.submit(1, at(1)).unwrap();
    scheduler.block(at(1));
    assert!(scheduler.reserve_thread(at(1)));
    let mut spare = scheduler.spare_worker();
    let inner = scheduler.start(&mut spare, at(1));
    assert_eq!(
        scheduler.rest_after(&mut spare, delivered(&inner, at(2)), at(2)),
        Time::NEVER,
        "a worker waits"
    );
    scheduler.unblock();
    assert!(woken(&spare), "it does not know that it is one too many");
    assert_eq!(resting(scheduler.look(&mut spare, at(3))), later(at(3)));
    // Another one that waits uses it again.
    scheduler.block(at(3));
    scheduler.submit(2, at(3)).unwrap();
    assert!(woken(&spare) && !scheduler.reserve_thread(at(3)));
    assert!(matches!(scheduler.look(&mut spare, at(3)), Claim::Ready));
    let inner = scheduler.start(&mut spare, at(3));
    scheduler.unblock();
    let _ = scheduler.claim_next(&mut spare, delivered(&inner, at(4)), at(4));
    assert_eq!(resting(scheduler.look(&mut spare, at(4))), later(at(4)));
    assert!(matches!(
        scheduler.look(&mut spare, later(at(4))),
        Claim::Exit
    ));
    assert_eq!(scheduler.threads(), 1);
    assert!(!woken(&spare));
    scheduler.rest_after(&mut worker, delivered(&outer, at(5)), at(5));
    scheduler.submit(3, at(5)).unwrap();
    assert!(woken(&worker) && !scheduler.reserve_thread(at(5)));
}

#[test]
fn one_spare_thread_goes_for_each_worker_that_goes_on() {
    let scheduler = unlimited(3);
    let mut workers = [(); 3].map(|()| scheduler.worker());
    let mut spares = [(); 3].map(|()| scheduler.spare_worker());
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
        assert!(scheduler.reserve_thread(at(1)));
    }
    let outer = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    for job in 3..6 {
        scheduler.block(at(1));
        scheduler.submit(job, at(1)).unwrap();
        assert!(scheduler.reserve_thread(at(1)));
    }
    let inner = spares
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    for (spare, start) in spares.iter_mut().zip(&inner) {
        let until = scheduler.rest_after(spare, delivered(start, at(2)), at(2));
        assert_eq!(until, Time::NEVER);
    }
    for told in 1..=3 {
        scheduler.unblock();
        let count = spares.iter().filter(|spare| signalled(spare)).count();
        assert_eq!(count, told);
    }
    for spare in &mut spares {
        assert_eq!(resting(scheduler.look(spare, at(3))), later(at(3)));
    }
    for (gone, spare) in spares.iter_mut().enumerate() {
        assert_eq!(scheduler.threads(), 6 - gone);
        assert!(matches!(scheduler.look(spare, later(at(3))), Claim::Exit));
    }
    // The others stay.
    for (worker, start) in workers.iter_mut().zip(&outer) {
        let until = scheduler.rest_after(worker, delivered(start, at(9)), at(9));
        assert_eq!(until, Time::NEVER);
    }
}

#[test]
fn a_spare_thread_that_goes_leaves_the_retries_to_another() {
    let scheduler = unlimited(1);
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let mut worker = scheduler.worker();
    let outer = scheduler.start(&mut worker, at(1));
    scheduler.block(at(1));
    scheduler.submit(1, at(1)).unwrap();
    assert!(scheduler.reserve_thread(at(1)));
    let mut spare = scheduler.spare_worker();
    let inner = scheduler.start(&mut spare, at(1));
    let again = again(&inner, at(2), at(9));
    assert_eq!(scheduler.rest_after(&mut spare, again, at(2)), at(9));
    scheduler.unblock();
    assert!(woken(&spare));
    scheduler.rest_after(&mut worker, delivered(&outer, at(3)), at(3));
    assert_eq!(resting(scheduler.look(&mut spare, at(3))), later(at(3)));
    assert!(matches!(
        scheduler.look(&mut spare, later(at(3))),
        Claim::Exit
    ));
    assert!(woken(&worker), "nobody waits for the retry");
    assert_eq!(scheduler.rest(&mut worker, later(at(3))), at(9));
}
