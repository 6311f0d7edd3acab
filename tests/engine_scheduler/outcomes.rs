//! What becomes of the records, and how far ahead of the consumer the input is read.

use paceline::engine::batch::{Batch, HandedOver};
use paceline::engine::model::{Ahead, BatchId, BatchOptions, Delivery, EndReason};
use paceline::engine::scheduler::{Claim, Remains, Scheduler, Step, Worker};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, SECOND, Started, again, at, done, failed, given, limited, remains, stream,
    unlimited, until, whole_batch,
};

/// Read so far ahead at first, and so far once operations have proved to be quick.
fn growing(least: usize, most: usize) -> Ahead {
    Ahead {
        least,
        heavy: most,
        light: most,
    }
}

fn handed_over(scheduler: &Scheduler<Plain>, batch: BatchId) -> Vec<usize> {
    let next = || scheduler.with(batch, Batch::hand_over).unwrap();
    std::iter::from_fn(next)
        .map(|HandedOver { index, record, .. }| {
            assert!(record.result == Ok(index) || record.result == Err(index));
            index
        })
        .collect()
}

/// Takes outcomes and reads nothing meanwhile, though there is room for it.
fn all_handed_over(scheduler: &Scheduler<Plain>, batch: BatchId) -> usize {
    std::iter::repeat_with(|| handed_over(scheduler, batch).len())
        .take_while(|count| *count > 0)
        .sum()
}

/// Three workers that have started 0, 1 and 2 of four operations finish 2, 0, 3, 1.
fn finish_out_of_order(
    scheduler: &Scheduler<Plain>,
    batch: BatchId,
    mut look: impl FnMut(Vec<usize>),
) {
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    let [zero, one, two] = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    let three = scheduler.start_next(&mut workers[2], done(&two, at(2)), at(2));
    look(handed_over(scheduler, batch));
    scheduler.rest_after(&mut workers[0], failed(&zero, at(3)), at(3));
    look(handed_over(scheduler, batch));
    scheduler.rest_after(&mut workers[2], done(&three, at(4)), at(4));
    look(handed_over(scheduler, batch));
    scheduler.rest_after(&mut workers[1], done(&one, at(5)), at(5));
    look(handed_over(scheduler, batch));
}

#[test]
fn records_are_handed_over_as_the_terms_say() {
    for (delivery, expected) in [
        (Delivery::AsCompleted, [vec![2], vec![0], vec![3], vec![1]]),
        (Delivery::InOrder, [vec![], vec![0], vec![], vec![1, 2, 3]]),
        (Delivery::AtEnd, [vec![], vec![], vec![], vec![]]),
    ] {
        let scheduler = unlimited(3);
        let options = BatchOptions {
            delivery,
            ..stream(delivery, 10)
        };
        let (batch, _) = scheduler.add_complete(options, 4, at(1));
        let mut seen = Vec::new();
        finish_out_of_order(&scheduler, batch, |indexes| seen.push(indexes));
        assert_eq!(seen, expected, "{delivery:?}");
        assert_eq!(scheduler.step(batch, false, at(6)), Step::Settled);
        let mut closed = scheduler.remove(batch, at(6)).unwrap();
        let left = closed.take_left();
        if delivery == Delivery::AtEnd {
            let all: Vec<_> = left
                .slots
                .into_iter()
                .map(|record| record.unwrap().result)
                .collect();
            assert_eq!(all, [Err(0), Ok(1), Ok(2), Ok(3)]);
        } else {
            assert!(left.slots.is_empty() && left.completed.is_empty());
        }
        let totals = closed.totals();
        assert_eq!((totals.done, totals.failed, totals.permits), (3, 1, 4));
        assert_eq!(totals.working, 9 * SECOND);
    }
}

#[test]
fn what_was_not_handed_over_is_left() {
    for delivery in [Delivery::AsCompleted, Delivery::InOrder] {
        let scheduler = unlimited(2);
        let (batch, _) = scheduler.add_complete(stream(delivery, 10), 6, at(1));
        let mut workers = [scheduler.worker(), scheduler.worker()];
        let zero = scheduler.start(&mut workers[0], at(1));
        let one = scheduler.start(&mut workers[1], at(1));
        let two = scheduler.start_next(&mut workers[0], done(&zero, at(2)), at(2));
        assert_eq!(handed_over(&scheduler, batch), [0]);
        let three = scheduler.start_next(&mut workers[0], done(&two, at(2)), at(2));
        scheduler.end(batch, EndReason::Owner, at(3));
        let mut closed = scheduler.remove(batch, at(3)).unwrap();
        let left = closed.take_left();
        let kept = left.slots.into_iter().enumerate();
        let kept = kept.filter_map(|(slot, record)| Some((left.base + slot, record?)));
        let kept: Vec<_> = kept
            .chain(left.completed)
            .map(|(index, record)| (index, record.result))
            .collect();
        assert_eq!(kept, [(2, Ok(2))], "{delivery:?}");
        let mut running: Vec<_> = closed
            .running()
            .iter()
            .map(|running| running.index)
            .collect();
        running.sort_unstable();
        assert_eq!(running, [1, 3]);
        assert_eq!(closed.unstarted().collect::<Vec<_>>(), [4, 5]);
        for (worker, start) in workers.iter_mut().zip([three, one]) {
            let (leftover, _) = scheduler.claim_next(worker, done(&start, at(4)), at(4));
            assert!(matches!(remains(leftover), Remains::Result(_)));
        }
    }
}

/// Runs everything that was read, each operation for `length` nanoseconds.
fn run_all(scheduler: &Scheduler<Plain>, worker: &mut Worker, mut now: Time, length: u64) -> Time {
    let mut finished = None;
    loop {
        let (leftover, claim) = scheduler.claim(worker, finished.take(), now);
        assert!(leftover.is_none());
        let Some(start) = Started::by(worker, claim) else {
            return now;
        };
        now = Time::from_nanos(now.as_nanos() + length);
        finished = Some(done(&start, now));
    }
}

#[test]
fn the_input_is_read_no_further_ahead_than_allowed() {
    let scheduler = unlimited(1);
    let (batch, owner) = scheduler.add_batch(stream(Delivery::AsCompleted, 3), at(1));
    let step = || scheduler.step(batch, false, at(1));
    assert_eq!(step(), Step::Feed(3));
    scheduler.feed(batch, 0..1, false, at(1));
    assert_eq!(step(), Step::Feed(2));
    scheduler.feed(batch, 1..3, false, at(1));
    assert_eq!(step(), Step::Rest(Time::NEVER));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    assert!(!given(&owner), "a start makes no room for a stream");
    let start = scheduler.start_next(&mut worker, done(&start, at(2)), at(2));
    assert!(given(&owner));
    assert_eq!(step(), Step::HandOver);
    // What the consumer has not taken yet counts as read ahead.
    assert_eq!(scheduler.with(batch, Batch::room), Some(0));
    assert_eq!(handed_over(&scheduler, batch), [0]);
    assert_eq!(step(), Step::Feed(1));
    scheduler.feed(batch, 3..4, true, at(2));
    scheduler.start_next(&mut worker, done(&start, at(3)), at(3));
    assert_eq!(handed_over(&scheduler, batch), [1]);
    assert_eq!(
        step(),
        Step::Rest(Time::NEVER),
        "the input has come to its end"
    );
}

#[test]
fn what_is_ready_is_handed_over_before_more_is_read() {
    for delivery in [Delivery::AsCompleted, Delivery::InOrder] {
        let scheduler = unlimited(1);
        let (batch, _) = scheduler.add_batch(stream(delivery, 3), at(1));
        scheduler.feed(batch, 0..3, false, at(1));
        run_all(&scheduler, &mut scheduler.worker(), at(1), SECOND);
        assert_eq!(handed_over(&scheduler, batch), [0, 1, 2]);
        assert_eq!(scheduler.with(batch, Batch::room), Some(3));
        scheduler.feed(batch, 3..5, true, at(9));
        run_all(&scheduler, &mut scheduler.worker(), at(9), SECOND);
        assert_eq!(handed_over(&scheduler, batch), [3, 4]);
    }
}

#[test]
fn the_input_is_read_on_before_what_has_become_ready_meanwhile() {
    for delivery in [Delivery::AsCompleted, Delivery::InOrder] {
        let scheduler = unlimited(1);
        let (batch, _) = scheduler.add_batch(stream(delivery, 3), at(1));
        scheduler.feed(batch, 0..3, false, at(1));
        let mut worker = scheduler.worker();
        let take = || {
            let next = scheduler.with(batch, Batch::hand_over).unwrap();
            next.map(|outcome| outcome.index)
        };
        let running = scheduler.start(&mut worker, at(1));
        let running = scheduler.start_next(&mut worker, done(&running, at(2)), at(2));
        assert_eq!(take(), Some(0));
        let running = scheduler.start_next(&mut worker, done(&running, at(3)), at(3));
        assert_eq!(take(), None, "there is room, and a worker may run dry");
        scheduler.feed(batch, 3..4, true, at(3));
        scheduler.start_next(&mut worker, done(&running, at(4)), at(4));
        assert_eq!([take(), take(), take()], [Some(1), Some(2), None]);
    }
}

#[test]
fn a_batch_that_keeps_all_is_read_as_its_operations_start() {
    let scheduler = unlimited(2);
    let options = BatchOptions {
        ahead: Ahead::upto(2),
        ..whole_batch()
    };
    let (batch, owner) = scheduler.add_batch(options, at(1));
    assert_eq!(scheduler.step(batch, false, at(1)), Step::Feed(2));
    scheduler.feed(batch, 0..2, false, at(1));
    assert!(matches!(scheduler.step(batch, false, at(1)), Step::Rest(_)));
    let mut worker = scheduler.worker();
    scheduler.start(&mut worker, at(1));
    assert!(given(&owner));
    assert_eq!(scheduler.step(batch, false, at(1)), Step::Feed(1));
    scheduler.finish_input(batch);
    assert!(matches!(scheduler.step(batch, false, at(1)), Step::Rest(_)));
}

#[test]
fn only_quick_operations_are_read_far_ahead() {
    let scheduler = unlimited(1);
    let options = BatchOptions {
        ahead: growing(4, 32),
        ..stream(Delivery::AsCompleted, 4)
    };
    let (batch, _) = scheduler.add_batch(options, at(1));
    let mut worker = scheduler.worker();
    let mut now = at(1);
    let mut read = 0;
    let mut rooms = Vec::new();
    let mut round = |length, now: &mut Time| {
        let Step::Feed(room) = scheduler.step(batch, false, *now) else {
            panic!("no room")
        };
        scheduler.feed(batch, read..read + room, false, *now);
        read += room;
        *now = run_all(&scheduler, &mut worker, *now, length);
        assert_eq!(all_handed_over(&scheduler, batch), room);
        room
    };
    for _ in 0..6 {
        rooms.push(round(10_000, &mut now));
    }
    assert_eq!(rooms, [4, 4, 8, 16, 32, 32]);
    // One that takes long is enough to be careful again.
    assert_eq!(round(SECOND, &mut now), 32);
    assert_eq!(round(SECOND, &mut now), 4);
}

#[test]
fn operations_that_cost_little_while_they_wait_are_read_further_ahead() {
    let scheduler = unlimited(1);
    let ahead = Ahead {
        least: 4,
        heavy: 8,
        light: 32,
    };
    let options = BatchOptions {
        ahead,
        ..stream(Delivery::AsCompleted, 4)
    };
    let (batch, _) = scheduler.add_batch(options, at(1));
    let mut worker = scheduler.worker();
    let mut now = at(1);
    let mut read = 0;
    let mut round = |light| {
        let Step::Feed(room) = scheduler.step(batch, false, now) else {
            panic!("no room")
        };
        scheduler.end_reading(batch, light);
        scheduler.feed(batch, read..read + room, false, now);
        read += room;
        now = run_all(&scheduler, &mut worker, now, 1000);
        assert_eq!(all_handed_over(&scheduler, batch), room);
        room
    };
    let heavy = [(); 4].map(|()| round(false));
    assert_eq!(heavy, [4, 4, 8, 8]);
    let light = [(); 4].map(|()| round(true));
    assert_eq!(light, [8, 16, 32, 32]);
    // What has been read turns out to be of the other kind: that is the last time.
    let heavy = [(); 2].map(|()| round(false));
    assert_eq!(heavy, [32, 8]);
}

#[test]
fn room_is_made_in_batches_where_operations_are_quick() {
    let scheduler = unlimited(1);
    let options = BatchOptions {
        ahead: growing(4, 16),
        ..stream(Delivery::AsCompleted, 4)
    };
    let (batch, _) = scheduler.add_batch(options, at(1));
    let mut worker = scheduler.worker();
    let mut now = at(1);
    let mut read = 0;
    for _ in 0..4 {
        let Step::Feed(room) = scheduler.step(batch, false, now) else {
            panic!("no room")
        };
        scheduler.feed(batch, read..read + room, false, now);
        read += room;
        now = run_all(&scheduler, &mut worker, now, 1000);
        assert_eq!(all_handed_over(&scheduler, batch), room);
    }
    let room = || scheduler.with(batch, Batch::room).unwrap();
    assert_eq!(room(), 16);
    scheduler.feed(batch, read..read + 4, false, now);
    assert_eq!(room(), 12);
    scheduler.feed(batch, std::iter::once(read + 4), false, now);
    assert_eq!(room(), 0, "the workers have more than the least to do");
}

#[test]
fn a_batch_whose_owner_has_gone_runs_to_its_end() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_complete(stream(Delivery::InOrder, 9), 4, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    let start = scheduler.start_next(&mut worker, done(&start, at(1)), at(1));
    let start = scheduler.start_next(&mut worker, again(&start, at(1), at(5)), at(1));
    let (records, gone) = scheduler.orphan(batch, at(2));
    assert!(gone.is_none());
    let records = records.unwrap();
    assert_eq!(records.slots.into_iter().flatten().count(), 1);
    assert_eq!(records.history.len(), 1);
    let (leftover, claim) = scheduler.claim_next(&mut worker, failed(&start, at(2)), at(2));
    assert!(matches!(remains(leftover), Remains::Result(_)));
    let start = Started::by(&worker, claim).unwrap();
    assert_eq!(start.running.index, 3);
    scheduler.claim_next(&mut worker, done(&start, at(2)), at(2));
    let start = scheduler.start(&mut worker, at(5));
    assert_eq!((start.running.index, start.running.attempt), (1, 2));
    let (leftover, _) = scheduler.claim_next(&mut worker, done(&start, at(6)), at(6));
    assert!(leftover.is_some(), "it was dropped within the lock");
    assert!(scheduler.with(batch, |_| ()).is_none());
    scheduler.close();
    assert!(scheduler.is_over());
}

#[test]
fn a_batch_that_has_run_is_taken_out_with_its_owner() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_complete(stream(Delivery::InOrder, 9), 1, at(1));
    let mut worker = scheduler.worker();
    run_all(&scheduler, &mut worker, at(1), 1);
    let (records, gone) = scheduler.orphan(batch, at(2));
    assert!(records.is_none() && gone.is_some());
    assert!(scheduler.with(batch, |_| ()).is_none());
    let (records, gone) = scheduler.orphan(batch, at(2));
    assert!(records.is_none() && gone.is_none());
}

#[test]
fn an_orphan_that_has_ended_is_taken_out_at_once() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_complete(stream(Delivery::InOrder, 9), 3, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.end(batch, EndReason::Cancelled, at(2));
    let (_, gone) = scheduler.orphan(batch, at(2));
    assert_eq!(gone.unwrap().running().len(), 1);
    let (leftover, _) = scheduler.claim_next(&mut worker, done(&start, at(3)), at(3));
    assert!(matches!(remains(leftover), Remains::Result(_)));
}

#[test]
fn no_permit_is_taken_before_what_is_left_over_was_dropped() {
    let (scheduler, _) = limited(2, 1, 1);
    let (gone, _) = scheduler.add_complete(whole_batch(), 1, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    drop(scheduler.remove(gone, at(2)));
    let (next, _) = scheduler.add_complete(whole_batch(), 1, at(2));
    let (leftover, claim) = scheduler.claim(&mut worker, Some(done(&start, at(3))), at(3));
    assert!(leftover.is_some() && matches!(claim, Claim::Ready));
    let permits = || scheduler.with(next, |batch| batch.totals().permits);
    assert_eq!(permits(), Some(0));
    // Dropping that takes three seconds: the permit is of the time after.
    drop(leftover);
    let start = scheduler.start(&mut worker, at(6));
    assert_eq!((permits(), start.running.started), (Some(1), at(6)));
}

#[test]
fn an_owner_expects_an_outcome_while_one_may_become_ready() {
    let scheduler = unlimited(1);
    let (batch, owner) =
        scheduler.add_batch(until(at(60), stream(Delivery::AsCompleted, 10)), at(1));
    assert_eq!(scheduler.expects(batch), None, "nothing was read");
    scheduler.feed(batch, 0..2, false, at(1));
    assert_eq!(scheduler.expects(batch), Some(at(60)), "two are to start");
    let mut worker = scheduler.worker();
    let zero = scheduler.start(&mut worker, at(1));
    assert!(scheduler.expects(batch).is_some(), "one runs");
    given(&owner);
    let one = scheduler.start_next(&mut worker, done(&zero, at(2)), at(2));
    scheduler.catch_up(at(2));
    assert!(given(&owner), "nobody tells the owner that expects it");
    assert_eq!(scheduler.expects(batch), None, "one is ready");
    assert_eq!(handed_over(&scheduler, batch), [0]);
    // One that is to be tried again is expected as well.
    assert!(scheduler.expects(batch).is_some());
    given(&owner);
    scheduler.rest_after(&mut worker, again(&one, at(3), at(9)), at(3));
    assert!(scheduler.expects(batch).is_some(), "a retry is not due");
    let one = scheduler.start(&mut worker, at(9));
    scheduler.rest_after(&mut worker, failed(&one, at(10)), at(10));
    scheduler.catch_up(at(10));
    assert!(given(&owner));
    assert_eq!(handed_over(&scheduler, batch), [1]);
    assert_eq!(scheduler.expects(batch), None, "all was handed over");
}

#[test]
fn an_owner_expects_the_outcome_whose_turn_it_is() {
    let scheduler = unlimited(2);
    let (batch, owner) = scheduler.add_batch(stream(Delivery::InOrder, 10), at(1));
    scheduler.feed(batch, 0..2, false, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let [zero, one] = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    scheduler.rest_after(&mut workers[1], done(&one, at(2)), at(2));
    assert_eq!(scheduler.expects(batch), Some(Time::NEVER));
    given(&owner);
    scheduler.rest_after(&mut workers[0], done(&zero, at(3)), at(3));
    scheduler.catch_up(at(3));
    assert!(given(&owner));
    assert_eq!(scheduler.expects(batch), None);
}

#[test]
fn an_owner_expects_nothing_of_a_batch_that_has_ended_or_is_gone() {
    let scheduler = unlimited(1);
    let (batch, owner) = scheduler.add_batch(stream(Delivery::AsCompleted, 10), at(1));
    scheduler.feed(batch, 0..2, false, at(1));
    let mut worker = scheduler.worker();
    scheduler.start(&mut worker, at(1));
    assert!(scheduler.expects(batch).is_some());
    given(&owner);
    scheduler.end(batch, EndReason::Owner, at(2));
    assert!(given(&owner), "its owner waits on");
    assert_eq!(scheduler.expects(batch), None);
    drop(scheduler.remove(batch, at(2)));
    assert_eq!(scheduler.expects(batch), None);
}
