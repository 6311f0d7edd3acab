//! When failed operations are called again, and in which order.

use paceline::engine::model::EndReason;
use paceline::engine::retry::Budget;
use paceline::engine::scheduler::Remains;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, SECOND, SUBMITTED, again, at, delivered, done, failed, first_record, limited, remains,
    unlimited, whole_batch, woken,
};

#[test]
fn retries_start_when_they_are_due_and_in_that_order() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_complete(whole_batch(), 4, at(1));
    let mut worker = scheduler.worker();
    let mut start = scheduler.start(&mut worker, at(1));
    for due in [at(30), at(10), at(20)] {
        start = scheduler.start_next(&mut worker, again(&start, at(2), due), at(2));
    }
    let mut finished = done(&start, at(3));
    let mut now = at(3);
    for (index, due) in [(1, at(10)), (2, at(20)), (0, at(30))] {
        assert_eq!(scheduler.rest_after(&mut worker, finished, now), due);
        let before = Time::from_nanos(due.as_nanos() - 1);
        assert_eq!(scheduler.rest(&mut worker, before), due);
        start = scheduler.start(&mut worker, due);
        assert_eq!((start.running.index, start.running.attempt), (index, 2));
        finished = done(&start, due);
        now = due;
    }
    scheduler.rest_after(&mut worker, finished, now);
    let totals = scheduler.with(batch, |batch| batch.totals()).unwrap();
    assert_eq!(
        (totals.done, totals.attempts, totals.permits, totals.retries),
        (4, 7, 7, 3)
    );
}

#[test]
fn retries_due_at_one_instant_go_by_the_order_of_the_input() {
    let scheduler = unlimited(3);
    scheduler.add_complete(whole_batch(), 3, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    let running = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    for worker in [2, 0, 1] {
        let finished = again(&running[worker], at(2), at(9));
        scheduler.rest_after(&mut workers[worker], finished, at(2));
    }
    let order: Vec<_> = workers
        .iter_mut()
        .map(|worker| scheduler.start(worker, at(9)).running.index)
        .collect();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn retries_and_first_attempts_take_turns() {
    let scheduler = unlimited(1);
    scheduler.add_complete(whole_batch(), 8, at(1));
    let mut worker = scheduler.worker();
    let mut start = scheduler.start(&mut worker, at(1));
    let mut order = Vec::new();
    for turn in 0..10 {
        let finished = if turn < 3 {
            again(&start, at(2), at(3))
        } else {
            done(&start, at(5))
        };
        start = scheduler.start_next(&mut worker, finished, at(if turn < 3 { 2 } else { 5 }));
        order.push((start.running.index, start.running.attempt));
    }
    let first = [(1, 1), (2, 1), (3, 1)];
    assert_eq!(order[..3], first);
    let mut retries = order[3..].iter().map(|(_, attempt)| attempt - 1);
    let pairs: Vec<_> = std::iter::from_fn(|| Some((retries.next()?, retries.next()?))).collect();
    assert_eq!(pairs, [(1, 0), (1, 0), (1, 0)], "{order:?}");
}

#[test]
fn a_retry_takes_a_permit_of_its_own() {
    let (scheduler, _) = limited(1, 1, 10);
    let (batch, _) = scheduler.add_complete(whole_batch(), 1, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    assert_eq!(
        scheduler.rest_after(&mut worker, again(&start, at(3), at(5)), at(3)),
        at(5)
    );
    // It is due, and waits for its permit from then on.
    assert_eq!(scheduler.rest(&mut worker, at(5)), at(11));
    let start = scheduler.start(&mut worker, at(11));
    assert_eq!(start.running.permit_wait, 6 * SECOND);
    let start = {
        scheduler.rest_after(&mut worker, again(&start, at(12), at(30)), at(12));
        scheduler.start(&mut worker, at(30))
    };
    assert_eq!((start.running.attempt, start.running.permit_wait), (3, 0));
    scheduler.rest_after(&mut worker, failed(&start, at(34)), at(34));
    let mut batch = scheduler.remove(batch, at(40)).unwrap();
    let earlier = batch.history_of(0);
    let earlier: Vec<_> = earlier
        .iter()
        .map(|attempt| {
            (
                attempt.error,
                attempt.started,
                attempt.duration,
                attempt.permit_wait,
            )
        })
        .collect();
    assert_eq!(
        earlier,
        [(0, at(1), 2 * SECOND, 0), (0, at(11), SECOND, 6 * SECOND)]
    );
    let record = first_record(&mut batch);
    assert_eq!((record.result, record.attempts), (Err(0), 3));
    assert_eq!((record.started, record.duration), (at(30), 4 * SECOND));
    assert_eq!(record.permit_wait, 6 * SECOND);
    assert_eq!(batch.totals().working, 7 * SECOND);
}

#[test]
fn a_worker_that_waits_for_a_retry_takes_what_comes_earlier() {
    let scheduler = unlimited(2);
    scheduler.add_complete(whole_batch(), 2, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let running = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    assert_eq!(
        scheduler.rest_after(&mut workers[0], again(&running[0], at(2), at(50)), at(2)),
        at(50)
    );
    assert!(!woken(&workers[0]));
    // One that is due earlier.
    let finished = again(&running[1], at(3), at(20));
    scheduler.rest_after(&mut workers[1], finished, at(3));
    assert!(
        woken(&workers[0]),
        "it would sleep until the later one is due"
    );
    assert_eq!(scheduler.rest(&mut workers[0], at(3)), at(20));
    // And one that can start at once.
    scheduler.submit(9, at(4)).unwrap();
    let first = usize::from(!woken(&workers[0]));
    assert_eq!(scheduler.start(&mut workers[first], at(4)).job, 9);
}

#[test]
fn retries_end_with_their_batch() {
    let scheduler = unlimited(3);
    let (batch, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    let running = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    scheduler.rest_after(&mut workers[0], again(&running[0], at(2), at(5)), at(2));
    scheduler.end(batch, EndReason::Failed, at(3));
    scheduler.feed(batch, 3..4, true, at(3));
    // It would be tried again, if there were another time.
    let (leftover, _) =
        scheduler.claim_next(&mut workers[1], again(&running[1], at(4), at(5)), at(4));
    assert!(matches!(remains(leftover), Remains::Job(1)));
    assert!(scheduler.runs(batch));
    let (leftover, _) = scheduler.claim_next(&mut workers[2], done(&running[2], at(4)), at(4));
    assert!(leftover.is_none());
    for worker in &mut workers {
        scheduler.rest(worker, at(60));
    }
    let mut batch = scheduler.remove(batch, at(60)).unwrap();
    assert_eq!(batch.waiting_retries(), [0]);
    assert_eq!(batch.unretried(), [1], "nobody says that it has failed");
    let slots = batch.take_left().slots;
    let results: Vec<_> = slots
        .into_iter()
        .map(|record| record.map(|record| record.result))
        .collect();
    assert_eq!(results, [None, Some(Err(1)), Some(Ok(2))]);
    assert_eq!(batch.totals().failed, 1);
    assert_eq!(batch.unstarted().collect::<Vec<_>>(), [3]);
}

#[test]
fn retries_are_spent_from_the_budget() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_batch(whole_batch(), at(1));
    let spend = |budget| {
        scheduler
            .with(batch, |batch| batch.spend_retry(budget))
            .unwrap()
    };
    assert!(spend(None) && spend(None));
    assert!(spend(Some(Budget::Count(3))));
    assert!(
        !spend(Some(Budget::Count(3))),
        "those without a budget are counted as well"
    );
    // A share is of what was read so far.
    assert!(!spend(Some(Budget::Share(0.5))));
    scheduler.feed(batch, 0..8, false, at(1));
    assert!(spend(Some(Budget::Share(0.5))));
    assert!(!spend(Some(Budget::Share(0.5))));
    scheduler.end(batch, EndReason::Failed, at(2));
    assert!(!spend(None), "an ended batch tries nothing again");
}

#[test]
fn a_call_that_waits_to_be_tried_again_can_be_taken_back() {
    let scheduler = unlimited(1);
    for job in [5, 6, 7] {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    let start = scheduler.start_next(&mut worker, again(&start, at(2), at(8)), at(2));
    let start = scheduler.start_next(&mut worker, again(&start, at(2), at(7)), at(2));
    assert_eq!(scheduler.withdraw(SUBMITTED, 2), None, "it runs");
    assert!(
        !scheduler.with(SUBMITTED, |calls| calls.holds(0)).unwrap(),
        "it has started before"
    );
    assert_eq!(scheduler.withdraw(SUBMITTED, 0), Some(5));
    assert_eq!(scheduler.withdraw(SUBMITTED, 0), None);
    let earlier = scheduler
        .with(SUBMITTED, |calls| calls.history_of(0))
        .unwrap();
    assert_eq!(earlier.len(), 1);
    scheduler.rest_after(&mut worker, delivered(&start, at(3)), at(3));
    let start = scheduler.start(&mut worker, at(8));
    assert_eq!((start.running.index, start.job), (1, 6));
    let (leftover, _) = scheduler.claim_next(&mut worker, delivered(&start, at(9)), at(9));
    let Remains::Attempts(attempts) = remains(leftover) else {
        panic!("not its first attempt")
    };
    assert_eq!(attempts.len(), 1);
}

#[test]
fn everything_that_waits_can_be_taken_back() {
    let scheduler = unlimited(1);
    for job in 0..5 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.start_next(&mut worker, again(&start, at(2), at(8)), at(2));
    assert_eq!(scheduler.withdraw(SUBMITTED, 3), Some(3));
    let mut taken = scheduler.withdraw_all(SUBMITTED);
    taken.sort_unstable();
    assert_eq!(taken, [(0, 0), (2, 2), (4, 4)]);
    assert!(scheduler.withdraw_all(SUBMITTED).is_empty());
    // Numbers go on where they were.
    assert_eq!(scheduler.submit(9, at(3)), Ok(5));
    assert!(scheduler.with(SUBMITTED, |calls| calls.holds(5)).unwrap());
}
