//! Sources whose permits come from a limiter of another make: slot, then permit, then start.

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::ledger::Keep;
use paceline::engine::schedule::{Dispatch, Finished, Step};
use paceline::engine::terms::{End, Terms};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, CALLS, Plain, SECOND, Started, add, again, at, delivered, dispatched, done, failed,
    foreign, given, owned, until, woken,
};

#[test]
fn an_owner_asks_for_a_permit_while_a_worker_is_free() {
    let scheduler = foreign(2);
    let (source, owner) = add(&scheduler, owned(), 5);
    let step = |now| scheduler.step(source, false, now);
    let mut seats = [scheduler.seat(), scheduler.seat()];
    for seat in &mut seats {
        assert_eq!(
            scheduler.rest(seat, at(1)),
            Time::NEVER,
            "started without a permit"
        );
    }
    assert_eq!(step(at(1)), Step::Acquire);
    scheduler.grant(source, at(4));
    assert_eq!(step(at(4)), Step::Acquire);
    // One worker is for the permit it has, the other for the one it asks for.
    assert!(matches!(step(at(4)), Step::Rest(_)));
    let told = usize::from(!woken(&seats[0]));
    let first = scheduler.start(&mut seats[told], at(4));
    assert_eq!(
        (first.running.index, first.running.permit_wait),
        (0, 3 * SECOND)
    );
    scheduler.grant(source, at(5));
    assert!(woken(&seats[1 - told]));
    let second = scheduler.start(&mut seats[1 - told], at(5));
    assert_eq!(second.running.index, 1);
    assert!(matches!(step(at(5)), Step::Rest(_)), "no worker is free");
    given(&owner);
    // The worker is kept for the permit; it is not to ask for itself.
    scheduler.rest_after(&mut seats[told], done(&first, at(6)), at(6));
    assert!(given(&owner));
    assert_eq!(step(at(6)), Step::Acquire);
    let totals = scheduler
        .with(source, |source| source.ledger().totals)
        .unwrap();
    assert_eq!(
        (totals.permits, totals.attempts, totals.permit_wait),
        (2, 2, 4 * SECOND)
    );
}

#[test]
fn a_permit_is_not_asked_for_while_nobody_is_free() {
    let scheduler = foreign(1);
    let (first, _) = add(&scheduler, owned(), 2);
    let (second, owner) = add(&scheduler, owned(), 2);
    assert_eq!(scheduler.step(first, false, at(1)), Step::Acquire);
    // The only worker is kept for the permit that is asked for.
    assert_eq!(
        scheduler.step(second, false, at(1)),
        Step::Rest(Time::NEVER)
    );
    scheduler.submit(0, at(1)).unwrap();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Rest(Time::NEVER));
    given(&owner);
    scheduler.stop_asking(first, at(2));
    assert!(given(&owner) || given(&scheduler.dispatcher_signal()));
}

#[test]
fn permits_go_to_the_operations_in_the_order_of_the_input() {
    let scheduler = foreign(3);
    let (source, _) = add(&scheduler, owned(), 3);
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    for wait in [5, 0, 7] {
        assert_eq!(scheduler.step(source, false, at(1)), Step::Acquire);
        scheduler.grant(source, at(1) + Duration::from_nanos(wait));
    }
    let order = seats.each_mut().map(|seat| {
        let running = scheduler.start(seat, at(2)).running;
        (running.index, running.permit_wait)
    });
    assert_eq!(order, [(0, 5), (1, 0), (2, 7)]);
}

#[test]
fn the_dispatcher_asks_for_sources_in_turn() {
    let scheduler = foreign(1);
    let (first, _) = add(&scheduler, dispatched(9), 6);
    let (second, _) = add(&scheduler, dispatched(9), 6);
    for job in 0..6 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut seat = scheduler.seat();
    scheduler.rest(&mut seat, at(1));
    let mut served = Vec::new();
    for _ in 0..9 {
        let Dispatch::Acquire(source) = scheduler.dispatch(at(1)) else {
            panic!("nothing to dispatch")
        };
        assert_eq!(
            scheduler.dispatch(at(1)),
            Dispatch::Rest(Time::NEVER),
            "the worker is taken"
        );
        scheduler.grant(source, at(1));
        assert!(woken(&seat));
        let start = scheduler.start(&mut seat, at(1));
        assert_eq!(start.source, source);
        served.push(source);
        given(&scheduler.dispatcher_signal());
        let finished = if source == CALLS { delivered } else { done };
        scheduler.rest_after(&mut seat, finished(&start, at(1)), at(1));
        assert!(given(&scheduler.dispatcher_signal()));
    }
    for source in [CALLS, first, second] {
        assert_eq!(
            served.iter().filter(|id| **id == source).count(),
            3,
            "{served:?}"
        );
    }
}

#[test]
fn a_worker_that_the_dispatcher_has_no_use_for_is_offered_to_others() {
    let scheduler = foreign(2);
    let (mut waiting, mut worker) = (scheduler.seat(), scheduler.seat());
    scheduler.submit(0, at(1)).unwrap();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    scheduler.grant(CALLS, at(1));
    scheduler.start(&mut waiting, at(1));
    let (source, owner) = add(&scheduler, owned(), 2);
    let step = |now| scheduler.step(source, false, now);
    assert_eq!(step(at(1)), Step::Acquire);
    scheduler.grant(source, at(1));
    let running = scheduler.start(&mut worker, at(1));
    let last = scheduler.submit(0, at(1)).unwrap();
    assert!(matches!(scheduler.dispatch(at(1)), Dispatch::Rest(_)));
    assert!(matches!(step(at(1)), Step::Rest(_)));
    given(&owner);
    given(&scheduler.dispatcher_signal());
    scheduler.rest_after(&mut worker, done(&running, at(2)), at(2));
    assert!(given(&scheduler.dispatcher_signal()) && !given(&owner));
    // What the other one has called waits for the last call, and asks for its permit itself.
    let nested = scheduler.nested_seat(Arc::default(), CALLS, Some(last));
    assert!(scheduler.hold(&nested, at(2)));
    assert!(matches!(scheduler.dispatch(at(2)), Dispatch::Rest(_)));
    assert!(given(&owner), "a worker is free, and nobody asks");
    assert_eq!(step(at(2)), Step::Acquire);
}

#[test]
fn a_pause_keeps_owners_and_dispatcher_from_asking() {
    let scheduler = foreign(2);
    let (source, _) = add(&scheduler, until(at(50), owned()), 3);
    scheduler.submit(0, at(1)).unwrap();
    scheduler.pause(CALLS, at(1), at(1), at(20));
    assert_eq!(scheduler.step(source, false, at(2)), Step::Rest(at(20)));
    assert_eq!(scheduler.dispatch(at(2)), Dispatch::Rest(at(20)));
    assert_eq!(scheduler.step(source, false, at(20)), Step::Acquire);
    assert_eq!(scheduler.dispatch(at(20)), Dispatch::Acquire(CALLS));
    // A permit that was granted before another pause waits for its end, too.
    scheduler.pause(CALLS, at(21), at(21), at(30));
    scheduler.grant(source, at(22));
    let mut seat = scheduler.seat();
    assert_eq!(scheduler.rest(&mut seat, at(22)), at(30));
    let start = scheduler.start(&mut seat, at(30));
    assert_eq!(
        start.running.permit_wait, SECOND,
        "in the pause it waited for no limiter"
    );
}

#[test]
fn a_granted_permit_is_used_when_its_source_ends_and_waits() {
    for (end, used) in [
        (End::Operation, true),
        (End::MaxFailures, true),
        (End::Limiter, true),
        (End::Failed, true),
        (End::Owner, false),
        (End::Timeout, false),
        (End::Cancelled, false),
        (End::Broken, false),
    ] {
        let scheduler = foreign(2);
        let (source, owner) = add(&scheduler, owned(), 4);
        let mut seat = scheduler.seat();
        assert_eq!(scheduler.step(source, false, at(1)), Step::Acquire);
        scheduler.grant(source, at(1));
        assert_eq!(scheduler.step(source, false, at(1)), Step::Acquire);
        scheduler.end(source, end, at(2));
        // The second was being asked for when the end came.
        scheduler.grant(source, at(3));
        assert_eq!(scheduler.step(source, false, at(3)), Step::Settled);
        assert_eq!(scheduler.runs(source), used, "{end:?}");
        let mut indexes = Vec::new();
        if used {
            let start = scheduler.start(&mut seat, at(3));
            let next = scheduler.start_next(&mut seat, done(&start, at(4)), at(4));
            indexes.extend([start.running.index, next.running.index]);
            given(&owner);
            assert!(scheduler.runs(source), "{end:?}");
            scheduler.rest_after(&mut seat, done(&next, at(5)), at(5));
            assert!(
                given(&owner),
                "{end:?}: whoever waits for the last one is not told"
            );
        } else {
            scheduler.rest(&mut seat, at(3));
        }
        assert!(!scheduler.runs(source));
        let mut closed = scheduler.remove(source, at(6)).unwrap();
        let unstarted: Vec<_> = closed.unstarted().collect();
        let totals = closed.ledger().totals;
        assert_eq!(totals.permits, 2, "{end:?}: it was granted, used or not");
        assert_eq!(totals.attempts, indexes.len());
        if used {
            assert_eq!((indexes, unstarted), (vec![0, 1], vec![2, 3]), "{end:?}");
        } else {
            assert_eq!(unstarted, [0, 1, 2, 3], "{end:?}");
        }
    }
}

#[test]
fn a_failure_that_ends_a_batch_leaves_the_permit_of_another_to_be_used() {
    let scheduler = foreign(2);
    let terms = Terms {
        stop_on_failure: true,
        ..owned()
    };
    let (source, owner) = add(&scheduler, terms, 5);
    let mut seats = [scheduler.seat(), scheduler.seat()];
    scheduler.step(source, false, at(1));
    scheduler.grant(source, at(1));
    let first = scheduler.start(&mut seats[0], at(1));
    scheduler.step(source, false, at(1));
    scheduler.grant(source, at(2));
    let (_, claim) = scheduler.claim_next(&mut seats[0], failed(&first, at(2)), at(2));
    let second = Started::by(&seats[0], claim).unwrap();
    assert_eq!(scheduler.ended(source), Some(End::Operation));
    assert_eq!(scheduler.step(source, false, at(2)), Step::Settled);
    assert!(scheduler.runs(source));
    given(&owner);
    scheduler.rest_after(&mut seats[0], done(&second, at(3)), at(3));
    assert!(given(&owner) && !scheduler.runs(source));
    scheduler.rest(&mut seats[1], at(3));
}

#[test]
fn a_retry_can_be_what_a_permit_was_asked_for() {
    let scheduler = foreign(1);
    let (source, _) = add(&scheduler, owned(), 3);
    let mut seat = scheduler.seat();
    let mut next = |finished: Option<Finished<Plain>>, now| {
        if let Some(finished) = finished {
            scheduler.rest_after(&mut seat, finished, now);
        }
        assert_eq!(scheduler.step(source, false, now), Step::Acquire);
        scheduler.grant(source, now);
        scheduler.start(&mut seat, now)
    };
    let first = next(None, at(1));
    let second = next(Some(again(&first, at(2), at(3))), at(2));
    let third = next(Some(done(&second, at(4))), at(4));
    let fourth = next(Some(done(&third, at(5))), at(5));
    let order = [&first, &second, &third, &fourth]
        .map(|start| (start.running.index, start.running.attempt));
    assert_eq!(order, [(0, 1), (1, 1), (0, 2), (2, 1)]);
}

#[test]
fn the_permit_of_a_call_that_was_taken_back_is_for_the_next() {
    let scheduler = foreign(2);
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    scheduler.grant(CALLS, at(1));
    assert_eq!(scheduler.withdraw(CALLS, 0), Some(0));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(2));
    assert_eq!(start.running.index, 1);
    scheduler.rest_after(&mut seat, delivered(&start, at(3)), at(3));
    assert_eq!(
        scheduler.dispatch(at(3)),
        Dispatch::Acquire(CALLS),
        "the third needs a permit of its own"
    );
    scheduler.grant(CALLS, at(3));
    let start = scheduler.start(&mut seat, at(3));
    assert_eq!(start.running.index, 2);
    scheduler.rest_after(&mut seat, delivered(&start, at(4)), at(4));
    let totals = scheduler
        .with(CALLS, |calls| calls.ledger().totals)
        .unwrap();
    assert_eq!((totals.permits, totals.done), (2, 2));
}

#[test]
fn an_owner_whose_limiter_raises_gives_its_worker_up() {
    let scheduler = foreign(1);
    let (first, _) = add(&scheduler, owned(), 2);
    let (second, owner) = add(&scheduler, owned(), 2);
    assert_eq!(scheduler.step(first, false, at(1)), Step::Acquire);
    assert!(matches!(
        scheduler.step(second, false, at(1)),
        Step::Rest(_)
    ));
    scheduler.end(first, End::Failed, at(2));
    scheduler.remove(first, at(2)).unwrap();
    assert!(given(&owner));
    assert_eq!(scheduler.step(second, false, at(2)), Step::Acquire);
}

#[test]
fn a_permit_is_asked_for_what_an_orphans_deadline_held_back() {
    let scheduler = foreign(1);
    let terms = Terms {
        keep: Keep::Ordered,
        deadline: at(10),
        ..dispatched(5)
    };
    let (source, _) = add(&scheduler, terms, 1);
    assert_eq!(scheduler.dispatch(at(11)), Dispatch::Rest(Time::NEVER));
    scheduler.orphan(source, at(12));
    assert!(
        given(&scheduler.dispatcher_signal()),
        "the dispatcher sleeps on"
    );
    assert_eq!(scheduler.dispatch(at(12)), Dispatch::Acquire(source));
}

#[test]
fn the_dispatcher_waits_for_a_later_retry_beside_what_it_has_no_worker_for() {
    let scheduler = foreign(1);
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut seat = scheduler.seat();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    scheduler.grant(CALLS, at(1));
    let start = scheduler.start(&mut seat, at(1));
    scheduler.rest_after(&mut seat, again(&start, at(2), at(30)), at(2));
    assert_eq!(scheduler.dispatch(at(2)), Dispatch::Acquire(CALLS));
    scheduler.grant(CALLS, at(3));
    assert_eq!(scheduler.dispatch(at(3)), Dispatch::Rest(at(30)));
    // The call with the permit is cancelled. Another uses that, and nobody is told.
    assert_eq!(scheduler.withdraw(CALLS, 1), Some(1));
    let start = scheduler.start(&mut seat, at(4));
    assert_eq!(start.running.index, 2);
    scheduler.rest_after(&mut seat, delivered(&start, at(5)), at(5));
    assert!(!given(&scheduler.dispatcher_signal()));
    assert_eq!(scheduler.dispatch(at(30)), Dispatch::Acquire(CALLS));
}

#[test]
fn an_owner_waits_for_a_later_retry_beside_what_it_has_no_worker_for() {
    let scheduler = foreign(1);
    let (source, _) = add(&scheduler, owned(), 2);
    let mut seat = scheduler.seat();
    assert_eq!(scheduler.step(source, false, at(1)), Step::Acquire);
    scheduler.grant(source, at(1));
    let start = scheduler.start(&mut seat, at(1));
    scheduler.submit(0, at(2)).unwrap();
    assert_eq!(scheduler.dispatch(at(2)), Dispatch::Rest(Time::NEVER));
    scheduler.rest_after(&mut seat, again(&start, at(2), at(30)), at(2));
    assert_eq!(scheduler.dispatch(at(2)), Dispatch::Acquire(CALLS));
    assert_eq!(scheduler.step(source, false, at(2)), Step::Rest(at(30)));
}

#[test]
fn a_nested_seat_rests_beside_a_retry_that_is_due_and_has_no_permit() {
    let scheduler = foreign(1);
    let (source, owner) = add(&scheduler, owned(), 1);
    let mut nested = scheduler.nested_seat(owner, source, None);
    assert_eq!(scheduler.step(source, true, at(1)), Step::Acquire);
    scheduler.grant(source, at(1));
    let start = scheduler.start(&mut nested, at(1));
    let until = scheduler.rest_after(&mut nested, again(&start, at(2), at(9)), at(2));
    assert_eq!(until, at(9));
    assert_eq!(scheduler.rest(&mut nested, at(9)), Time::NEVER);
    assert_eq!(scheduler.step(source, true, at(9)), Step::Acquire);
}
