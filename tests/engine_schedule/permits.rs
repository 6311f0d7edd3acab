//! Workers are kept for permits only as long as there is something to start with them.

use paceline::engine::ledger::Keep;
use paceline::engine::schedule::{Claim, Dispatch, Step};
use paceline::engine::source::Source;
use paceline::engine::terms::{End, Terms};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, CALLS, Started, again, at, delivered, dispatched, done, failed, foreign, given, owned,
    resting, stream, unlimited, until, woken,
};

#[test]
fn a_permit_whose_call_was_taken_back_keeps_no_worker() {
    for granted_before in [true, false] {
        let scheduler = foreign(1);
        scheduler.submit(0, at(1)).unwrap();
        assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
        if granted_before {
            scheduler.grant(CALLS, at(1));
        }
        let (source, owner) = scheduler.add_complete(owned(), 1, at(1));
        assert_eq!(
            scheduler.step(source, false, at(1)),
            Step::Rest(Time::NEVER)
        );
        given(&owner);
        assert_eq!(scheduler.withdraw(CALLS, 0), Some(0));
        if !granted_before {
            scheduler.grant(CALLS, at(2));
        }
        assert!(given(&owner), "nobody is told that the worker is free");
        assert_eq!(scheduler.step(source, false, at(2)), Step::Acquire);
        // The permit is not lost: the next call starts with it.
        scheduler.stop_asking(source, at(3));
        scheduler.submit(1, at(3)).unwrap();
        let mut seat = scheduler.seat();
        assert_eq!(scheduler.start(&mut seat, at(3)).running.index, 1);
    }
}

#[test]
fn a_source_that_its_limiter_ended_keeps_no_worker() {
    let scheduler = foreign(1);
    let (source, _) = scheduler.add_complete(dispatched(9), 3, at(1));
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(source));
    // The limiter raised. The consumer of the stream may stay away for as long as it likes.
    scheduler.end(source, End::Limiter, at(2));
    scheduler.submit(0, at(3)).unwrap();
    assert_eq!(scheduler.dispatch(at(3)), Dispatch::Acquire(CALLS));
}

#[test]
fn an_owner_that_waits_for_what_runs_keeps_no_other_worker() {
    let scheduler = foreign(2);
    let (source, _) = scheduler.add_complete(owned(), 3, at(1));
    let mut seat = scheduler.seat();
    assert_eq!(scheduler.step(source, false, at(1)), Step::Acquire);
    scheduler.grant(source, at(1));
    scheduler.start(&mut seat, at(1));
    assert_eq!(scheduler.step(source, false, at(1)), Step::Acquire);
    // Its limiter raised, and the first operation takes long.
    scheduler.end(source, End::Failed, at(2));
    assert!(scheduler.runs(source));
    scheduler.submit(0, at(3)).unwrap();
    assert_eq!(scheduler.dispatch(at(3)), Dispatch::Acquire(CALLS));
}

#[test]
fn a_source_that_was_cancelled_keeps_no_worker() {
    let scheduler = foreign(1);
    let (source, _) = scheduler.add_complete(dispatched(9), 3, at(1));
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(source));
    scheduler.grant(source, at(1));
    scheduler.end(source, End::Cancelled, at(2));
    scheduler.submit(0, at(3)).unwrap();
    assert_eq!(scheduler.dispatch(at(3)), Dispatch::Acquire(CALLS));
}

#[test]
fn nothing_is_dispatched_from_the_deadline_on() {
    let scheduler = foreign(2);
    let terms = until(at(10), dispatched(9));
    let (source, _) = scheduler.add_complete(terms, 3, at(1));
    // Its consumer stays away, so nobody has noticed yet.
    assert_eq!(scheduler.dispatch(at(10)), Dispatch::Rest(Time::NEVER));
    let mut seat = scheduler.seat();
    assert_eq!(
        resting(scheduler.claim(&mut seat, None, at(11)).1),
        Time::NEVER
    );
    assert_eq!(scheduler.step(source, false, at(12)), Step::Settled);
}

#[test]
fn an_operation_with_its_permit_does_not_start_after_the_deadline() {
    let scheduler = foreign(2);
    let terms = until(at(10), dispatched(9));
    let (source, _) = scheduler.add_complete(terms, 3, at(1));
    assert_eq!(scheduler.dispatch(at(9)), Dispatch::Acquire(source));
    scheduler.grant(source, at(20));
    let mut seat = scheduler.seat();
    let claim = scheduler.claim(&mut seat, None, at(20)).1;
    assert!(matches!(claim, Claim::Rest(_)), "{claim:?}");
}

#[test]
fn a_retry_with_its_permit_still_counts_as_a_retry() {
    let scheduler = foreign(1);
    let (source, _) = scheduler.add_complete(owned(), 1, at(1));
    let mut seat = scheduler.seat();
    scheduler.step(source, false, at(1));
    scheduler.grant(source, at(1));
    let start = scheduler.start(&mut seat, at(1));
    scheduler.rest_after(&mut seat, again(&start, at(2), at(3)), at(2));
    assert_eq!(scheduler.step(source, false, at(3)), Step::Acquire);
    scheduler.grant(source, at(3));
    scheduler.end(source, End::Owner, at(4));
    let closed = scheduler.remove(source, at(4)).unwrap();
    assert_eq!(closed.unstarted().count(), 0, "it was called once");
    assert_eq!(closed.waiting_retries(), [0]);
}

#[test]
fn a_worker_tells_that_a_call_was_refused_its_permit() {
    let scheduler = foreign(1);
    for job in 0..2 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut seat = scheduler.seat();
    scheduler.rest(&mut seat, at(1));
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    let (ongoing, start) = scheduler.refuse(CALLS, at(1)).unwrap();
    scheduler.leave_refusal(&ongoing, start.job + 100, at(1));
    assert!(woken(&seat), "nobody tells");
    assert_eq!(
        scheduler.dispatch(at(1)),
        Dispatch::Rest(Time::NEVER),
        "the worker is not kept for it"
    );
    let start = scheduler.start(&mut seat, at(2));
    assert!(start.running.refused);
    assert_eq!(
        (start.job, start.running.index, start.running.attempt),
        (100, 0, 0)
    );
    scheduler.rest_after(&mut seat, delivered(&start, at(2)), at(2));
    let totals = scheduler.with(CALLS, |calls| calls.ledger().totals);
    let totals = totals.unwrap();
    assert_eq!((totals.permits, totals.attempts), (0, 0));
    assert_eq!(scheduler.dispatch(at(2)), Dispatch::Acquire(CALLS));
}

#[test]
fn a_refused_call_that_is_taken_back_leaves_no_permit() {
    let scheduler = foreign(1);
    scheduler.submit(0, at(1)).unwrap();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    let (ongoing, start) = scheduler.refuse(CALLS, at(1)).unwrap();
    scheduler.leave_refusal(&ongoing, start.job, at(1));
    assert_eq!(scheduler.withdraw(CALLS, 0), Some(0));
    scheduler.submit(1, at(1)).unwrap();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
}

/// The one who was just served is the faster of the two, every time.
#[test]
fn owners_take_turns_at_a_worker() {
    let scheduler = foreign(1);
    let sources = [(); 2].map(|()| scheduler.add_complete(owned(), 9, at(1)));
    let mut seat = scheduler.seat();
    scheduler.rest(&mut seat, at(1));
    let mut served = [0_usize; 2];
    let mut awake = vec![0, 1];
    let mut latest = None;
    for turn in 0..10 {
        let mut asked = None;
        // Last time's owner comes first.
        awake.sort_by_key(|owner| Some(*owner) != latest);
        for owner in awake.drain(..) {
            match scheduler.step(sources[owner].0, false, at(1)) {
                Step::Acquire => asked = Some(owner),
                Step::Rest(until) => assert_eq!(until, Time::NEVER),
                other => panic!("{other:?}"),
            }
        }
        let owner = asked.expect("nobody asks though the worker is free");
        served[owner] += 1;
        latest = Some(owner);
        assert!(
            served[0].abs_diff(served[1]) <= 1,
            "{served:?} after {turn}"
        );
        let (source, signal) = &sources[owner];
        scheduler.grant(*source, at(1));
        let start = scheduler.start(&mut seat, at(1));
        // The thread that was granted its permit goes on to ask for the next.
        assert!(matches!(
            scheduler.step(*source, false, at(1)),
            Step::Rest(_)
        ));
        for (_, signal) in &sources {
            given(signal);
        }
        scheduler.rest_after(&mut seat, done(&start, at(1)), at(1));
        awake = (0..2).filter(|owner| given(&sources[*owner].1)).collect();
        given(signal);
    }
}

#[test]
fn an_orphan_ends_when_what_was_read_of_it_has_run() {
    let scheduler = unlimited(1);
    let (source, _) = scheduler.add_batch(stream(Keep::Ordered, 2), at(1));
    scheduler.feed(source, 0..2, false, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    scheduler.orphan(source, at(2));
    let start = scheduler.start_next(&mut seat, done(&start, at(2)), at(2));
    scheduler.rest_after(&mut seat, done(&start, at(3)), at(3));
    scheduler.close();
    assert!(
        scheduler.is_over(),
        "it waits for more of an input that nobody reads"
    );
    assert!(scheduler.with(source, |_| ()).is_none());
}

#[test]
fn an_orphan_ends_though_its_deadline_has_passed() {
    let scheduler = unlimited(1);
    let terms = until(at(10), stream(Keep::Ordered, 9));
    let (source, _) = scheduler.add_complete(terms, 3, at(1));
    let mut seat = scheduler.seat();
    let mut start = scheduler.start(&mut seat, at(1));
    scheduler.orphan(source, at(2));
    scheduler.close();
    loop {
        let (_, claim) = scheduler.claim_next(&mut seat, done(&start, at(11)), at(11));
        match Started::by(&seat, claim) {
            Some(next) => start = next,
            None => break,
        }
    }
    assert!(scheduler.is_over(), "it waits for an owner to end it");
}

#[test]
fn what_ended_a_source_can_be_told_after_its_outcomes_were_handed_over() {
    for keep in [Keep::Completed, Keep::Ordered] {
        let scheduler = unlimited(1);
        let terms = Terms {
            stop_on_failure: true,
            ..stream(keep, 9)
        };
        let (source, _) = scheduler.add_complete(terms, 3, at(1));
        let mut seat = scheduler.seat();
        let start = scheduler.start(&mut seat, at(1));
        let start = scheduler.start_next(&mut seat, done(&start, at(2)), at(2));
        assert_eq!(scheduler.step(source, false, at(2)), Step::HandOver);
        // Before the owner takes the first outcome, the second comes.
        scheduler.rest_after(&mut seat, failed(&start, at(3)), at(3));
        let take = || scheduler.with(source, Source::hand_over).flatten();
        assert_eq!(take().map(|taken| taken.index), Some(0));
        assert!(take().is_none(), "the failure is raised, and in the report");
        assert_eq!(scheduler.step(source, false, at(3)), Step::Settled);
        let error = scheduler.with(source, |source| source.ending_error().copied());
        assert_eq!(error, Some(Some(1)), "{keep:?}");
    }
}
