//! How many worker threads there are to be.

use crate::fixture::{Add, CALLS, at, delivered, foreign, unlimited};

#[test]
fn threads_are_taken_on_as_there_is_work_for_them() {
    let scheduler = unlimited(3);
    assert!(!scheduler.wants_thread(at(1)) && !scheduler.take_on(at(1)));
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.wants_thread(at(1)));
    assert!(scheduler.take_on(at(1)));
    // It has not come yet, but it will.
    assert!(!scheduler.wants_thread(at(1)) && !scheduler.take_on(at(1)));
    scheduler.submit(1, at(1)).unwrap();
    assert!(scheduler.take_on(at(1)));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let first = scheduler.start(&mut seats[0], at(1));
    scheduler.start(&mut seats[1], at(1));
    assert!(!scheduler.take_on(at(1)));
    scheduler.rest_after(&mut seats[0], delivered(&first, at(2)), at(2));
    scheduler.submit(2, at(2)).unwrap();
    assert!(!scheduler.take_on(at(2)), "one rests and can do it");
    scheduler.start(&mut seats[0], at(2));
    scheduler.submit(3, at(2)).unwrap();
    assert!(scheduler.take_on(at(2)));
    for job in 4..9 {
        scheduler.submit(job, at(2)).unwrap();
    }
    assert!(!scheduler.take_on(at(2)), "more threads than workers");
    assert_eq!(scheduler.let_go(), 2);
    assert!(scheduler.take_on(at(2)));
}

#[test]
fn a_worker_that_waits_inside_its_operation_makes_room_for_another() {
    let scheduler = unlimited(1);
    scheduler.submit(0, at(1)).unwrap();
    assert!(scheduler.take_on(at(1)));
    let (mut seat, mut spare) = (scheduler.seat(), scheduler.seat());
    let outer = scheduler.start(&mut seat, at(1));
    scheduler.submit(1, at(1)).unwrap();
    assert!(!scheduler.take_on(at(1)));
    scheduler.block(at(2));
    assert!(scheduler.take_on(at(2)));
    let inner = scheduler.start(&mut spare, at(2));
    scheduler.unblock();
    // Two run now where one is allowed: the next start is for when both have ended.
    scheduler.submit(2, at(3)).unwrap();
    assert!(!scheduler.take_on(at(3)));
    scheduler.rest_after(&mut seat, delivered(&outer, at(3)), at(3));
    let last = scheduler.start_next(&mut spare, delivered(&inner, at(4)), at(4));
    assert_eq!(last.running.index, 2);
    scheduler.rest(&mut seat, at(4));
}

#[test]
fn one_thread_is_there_from_the_start_and_others_come_with_the_permits() {
    let scheduler = foreign(3);
    assert!(!scheduler.take_on(at(1)));
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    assert!(scheduler.take_on(at(1)));
    for more in [false, true] {
        assert!(!scheduler.take_on(at(1)));
        assert_eq!(scheduler.dispatch(at(1)), Some(Ok(CALLS)));
        assert!(!scheduler.take_on(at(1)));
        scheduler.grant(CALLS, 0, at(2));
        assert_eq!(scheduler.take_on(at(2)), more);
    }
}
