//! Permits that a limiter of another make refuses: whom that hits, and what is booked of it.

use paceline::engine::schedule::{Dispatch, Ending, Finished, Scheduler, SourceId, Step};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, CALLS, Plain, SECOND, add, again, at, done, first_record, foreign, owned,
};

fn refuse(scheduler: &Scheduler<Plain>, source: SourceId, now: Time) -> usize {
    let (ongoing, start) = scheduler.refuse(source, now).unwrap();
    let index = ongoing.running.index;
    assert_eq!(start.job, index);
    let ending = Ending::Result(Err(start.job), false);
    let finished = Finished {
        ended: now,
        ending,
        waited: 0,
    };
    assert!(scheduler.book(&ongoing, finished, now).is_none());
    index
}

#[test]
fn a_refusal_hits_the_operation_that_it_was_asked_for() {
    let scheduler = foreign(3);
    let (source, _) = add(&scheduler, owned(), 4);
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    let ask = || assert_eq!(scheduler.step(source, false, at(1)), Step::Acquire);
    ask();
    scheduler.grant(source, at(1));
    ask();
    // The first has its permit and has not started: it is not the one to be refused.
    assert_eq!(refuse(&scheduler, source, at(2)), 1);
    ask();
    scheduler.grant(source, at(3));
    let first = scheduler.start(&mut seats[0], at(3));
    let second = scheduler.start(&mut seats[1], at(3));
    assert_eq!((first.running.index, second.running.index), (0, 2));
    scheduler.rest_after(&mut seats[0], done(&first, at(4)), at(4));
    scheduler.rest_after(&mut seats[1], done(&second, at(4)), at(4));
    ask();
    assert_eq!(refuse(&scheduler, source, at(5)), 3);
    assert_eq!(scheduler.step(source, false, at(5)), Step::Settled);
    let mut closed = scheduler.remove(source, at(5)).unwrap();
    let totals = closed.ledger().totals;
    assert_eq!((totals.done, totals.failed), (2, 2));
    assert_eq!(
        (totals.permits, totals.attempts, totals.working),
        (2, 2, 2 * SECOND)
    );
    let attempts = closed.ledger().take_left().slots;
    let attempts: Vec<_> = attempts
        .into_iter()
        .map(|record| record.unwrap().attempts)
        .collect();
    assert_eq!(attempts, [1, 0, 1, 0]);
}

#[test]
fn a_retry_that_is_refused_keeps_the_attempts_it_had() {
    let scheduler = foreign(1);
    let (source, _) = add(&scheduler, owned(), 1);
    let mut seat = scheduler.seat();
    scheduler.step(source, false, at(1));
    scheduler.grant(source, at(3));
    let start = scheduler.start(&mut seat, at(3));
    scheduler.rest_after(&mut seat, again(&start, at(4), at(9)), at(4));
    assert_eq!(scheduler.step(source, false, at(4)), Step::Rest(at(9)));
    assert_eq!(scheduler.step(source, false, at(9)), Step::Acquire);
    assert_eq!(refuse(&scheduler, source, at(10)), 0);
    let mut closed = scheduler.remove(source, at(11)).unwrap();
    assert_eq!(closed.ledger().history_of(0).len(), 1);
    let record = first_record(&mut closed);
    assert_eq!((record.result, record.attempts), (Err(0), 1));
    assert_eq!(record.permit_wait, 2 * SECOND);
    assert_eq!(closed.ledger().totals.retries, 0);
}

#[test]
fn a_refused_call_that_was_taken_back_is_not_refused() {
    let scheduler = foreign(1);
    scheduler.submit(0, at(1)).unwrap();
    assert_eq!(scheduler.dispatch(at(1)), Dispatch::Acquire(CALLS));
    assert_eq!(scheduler.withdraw(CALLS, 0), Some(0));
    assert!(scheduler.refuse(CALLS, at(2)).is_none());
    scheduler.submit(1, at(3)).unwrap();
    assert_eq!(scheduler.dispatch(at(3)), Dispatch::Acquire(CALLS));
}
