//! What becomes of the records, and how far ahead of the consumer the input is read.

use paceline::engine::ledger::Keep;
use paceline::engine::schedule::{Claim, Remains, Scheduler, Seat, SourceId, Step};
use paceline::engine::source::{HandedOver, Source};
use paceline::engine::terms::{Ahead, End, Terms};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, SECOND, Started, again, at, batch, done, failed, given, limited, remains, stream,
    unlimited, until,
};

/// Read so far ahead at first, and so far once operations have proved to be quick.
fn growing(least: usize, most: usize) -> Ahead {
    Ahead {
        least,
        heavy: most,
        light: most,
    }
}

fn handed_over(scheduler: &Scheduler<Plain>, source: SourceId) -> Vec<usize> {
    let next = || scheduler.with(source, Source::hand_over).unwrap();
    std::iter::from_fn(next)
        .map(|HandedOver { index, record, .. }| {
            assert!(record.result == Ok(index) || record.result == Err(index));
            index
        })
        .collect()
}

/// Takes outcomes and reads nothing meanwhile, though there is room for it.
fn all_handed_over(scheduler: &Scheduler<Plain>, source: SourceId) -> usize {
    std::iter::repeat_with(|| handed_over(scheduler, source).len())
        .take_while(|count| *count > 0)
        .sum()
}

/// Three workers that have started 0, 1 and 2 of four operations finish 2, 0, 3, 1.
fn finish_out_of_order(
    scheduler: &Scheduler<Plain>,
    source: SourceId,
    mut look: impl FnMut(Vec<usize>),
) {
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    let [zero, one, two] = seats.each_mut().map(|seat| scheduler.start(seat, at(1)));
    let three = scheduler.start_next(&mut seats[2], done(&two, at(2)), at(2));
    look(handed_over(scheduler, source));
    scheduler.rest_after(&mut seats[0], failed(&zero, at(3)), at(3));
    look(handed_over(scheduler, source));
    scheduler.rest_after(&mut seats[2], done(&three, at(4)), at(4));
    look(handed_over(scheduler, source));
    scheduler.rest_after(&mut seats[1], done(&one, at(5)), at(5));
    look(handed_over(scheduler, source));
}

#[test]
fn records_are_handed_over_as_the_terms_say() {
    for (keep, expected) in [
        (Keep::Completed, [vec![2], vec![0], vec![3], vec![1]]),
        (Keep::Ordered, [vec![], vec![0], vec![], vec![1, 2, 3]]),
        (Keep::All, [vec![], vec![], vec![], vec![]]),
    ] {
        let scheduler = unlimited(3);
        let terms = Terms {
            keep,
            ..stream(keep, 10)
        };
        let (source, _) = scheduler.add_complete(terms, 4, at(1));
        let mut seen = Vec::new();
        finish_out_of_order(&scheduler, source, |indexes| seen.push(indexes));
        assert_eq!(seen, expected, "{keep:?}");
        assert_eq!(scheduler.step(source, false, at(6)), Step::Settled);
        let mut closed = scheduler.remove(source, at(6)).unwrap();
        let left = closed.ledger().take_left();
        if keep == Keep::All {
            let all: Vec<_> = left
                .slots
                .into_iter()
                .map(|record| record.unwrap().result)
                .collect();
            assert_eq!(all, [Err(0), Ok(1), Ok(2), Ok(3)]);
        } else {
            assert!(left.slots.is_empty() && left.completed.is_empty());
        }
        let totals = closed.ledger().totals;
        assert_eq!((totals.done, totals.failed, totals.permits), (3, 1, 4));
        assert_eq!(totals.working, 9 * SECOND);
    }
}

#[test]
fn what_was_not_handed_over_is_left() {
    for keep in [Keep::Completed, Keep::Ordered] {
        let scheduler = unlimited(2);
        let (source, _) = scheduler.add_complete(stream(keep, 10), 6, at(1));
        let mut seats = [scheduler.seat(), scheduler.seat()];
        let zero = scheduler.start(&mut seats[0], at(1));
        let one = scheduler.start(&mut seats[1], at(1));
        let two = scheduler.start_next(&mut seats[0], done(&zero, at(2)), at(2));
        assert_eq!(handed_over(&scheduler, source), [0]);
        let three = scheduler.start_next(&mut seats[0], done(&two, at(2)), at(2));
        scheduler.end(source, End::Owner, at(3));
        let mut closed = scheduler.remove(source, at(3)).unwrap();
        let left = closed.ledger().take_left();
        let kept = left.slots.into_iter().enumerate();
        let kept = kept.filter_map(|(slot, record)| Some((left.base + slot, record?)));
        let kept: Vec<_> = kept
            .chain(left.completed)
            .map(|(index, record)| (index, record.result))
            .collect();
        assert_eq!(kept, [(2, Ok(2))], "{keep:?}");
        let mut running: Vec<_> = closed
            .running()
            .iter()
            .map(|running| running.index)
            .collect();
        running.sort_unstable();
        assert_eq!(running, [1, 3]);
        assert_eq!(closed.unstarted().collect::<Vec<_>>(), [4, 5]);
        for (seat, start) in seats.iter_mut().zip([three, one]) {
            let (leftover, _) = scheduler.claim_next(seat, done(&start, at(4)), at(4));
            assert!(matches!(remains(leftover), Remains::Result(_)));
        }
    }
}

/// Runs everything that was read, each operation for `length` nanoseconds.
fn run_all(scheduler: &Scheduler<Plain>, seat: &mut Seat, mut now: Time, length: u64) -> Time {
    let mut finished = None;
    loop {
        let (leftover, claim) = scheduler.claim(seat, finished.take(), now);
        assert!(leftover.is_none());
        let Some(start) = Started::by(seat, claim) else {
            return now;
        };
        now = Time::from_nanos(now.as_nanos() + length);
        finished = Some(done(&start, now));
    }
}

#[test]
fn the_input_is_read_no_further_ahead_than_allowed() {
    let scheduler = unlimited(1);
    let (source, owner) = scheduler.add_batch(stream(Keep::Completed, 3), at(1));
    let step = || scheduler.step(source, false, at(1));
    assert_eq!(step(), Step::Feed(3));
    scheduler.feed(source, 0..1, false, at(1));
    assert_eq!(step(), Step::Feed(2));
    scheduler.feed(source, 1..3, false, at(1));
    assert_eq!(step(), Step::Rest(Time::NEVER));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    assert!(!given(&owner), "a start makes no room for a stream");
    let start = scheduler.start_next(&mut seat, done(&start, at(2)), at(2));
    assert!(given(&owner));
    assert_eq!(step(), Step::HandOver);
    // What the consumer has not taken yet counts as read ahead.
    assert_eq!(scheduler.with(source, Source::room), Some(0));
    assert_eq!(handed_over(&scheduler, source), [0]);
    assert_eq!(step(), Step::Feed(1));
    scheduler.feed(source, 3..4, true, at(2));
    scheduler.start_next(&mut seat, done(&start, at(3)), at(3));
    assert_eq!(handed_over(&scheduler, source), [1]);
    assert_eq!(
        step(),
        Step::Rest(Time::NEVER),
        "the input has come to its end"
    );
}

#[test]
fn what_is_ready_is_handed_over_before_more_is_read() {
    for keep in [Keep::Completed, Keep::Ordered] {
        let scheduler = unlimited(1);
        let (source, _) = scheduler.add_batch(stream(keep, 3), at(1));
        scheduler.feed(source, 0..3, false, at(1));
        run_all(&scheduler, &mut scheduler.seat(), at(1), SECOND);
        assert_eq!(handed_over(&scheduler, source), [0, 1, 2]);
        assert_eq!(scheduler.with(source, Source::room), Some(3));
        scheduler.feed(source, 3..5, true, at(9));
        run_all(&scheduler, &mut scheduler.seat(), at(9), SECOND);
        assert_eq!(handed_over(&scheduler, source), [3, 4]);
    }
}

#[test]
fn the_input_is_read_on_before_what_has_become_ready_meanwhile() {
    for keep in [Keep::Completed, Keep::Ordered] {
        let scheduler = unlimited(1);
        let (source, _) = scheduler.add_batch(stream(keep, 3), at(1));
        scheduler.feed(source, 0..3, false, at(1));
        let mut seat = scheduler.seat();
        let take = || {
            let next = scheduler.with(source, Source::hand_over).unwrap();
            next.map(|outcome| outcome.index)
        };
        let running = scheduler.start(&mut seat, at(1));
        let running = scheduler.start_next(&mut seat, done(&running, at(2)), at(2));
        assert_eq!(take(), Some(0));
        let running = scheduler.start_next(&mut seat, done(&running, at(3)), at(3));
        assert_eq!(take(), None, "there is room, and a worker may run dry");
        scheduler.feed(source, 3..4, true, at(3));
        scheduler.start_next(&mut seat, done(&running, at(4)), at(4));
        assert_eq!([take(), take(), take()], [Some(1), Some(2), None]);
    }
}

#[test]
fn a_batch_that_keeps_all_is_read_as_its_operations_start() {
    let scheduler = unlimited(2);
    let terms = Terms {
        ahead: Ahead::upto(2),
        ..batch()
    };
    let (source, owner) = scheduler.add_batch(terms, at(1));
    assert_eq!(scheduler.step(source, false, at(1)), Step::Feed(2));
    scheduler.feed(source, 0..2, false, at(1));
    assert!(matches!(
        scheduler.step(source, false, at(1)),
        Step::Rest(_)
    ));
    let mut seat = scheduler.seat();
    scheduler.start(&mut seat, at(1));
    assert!(given(&owner));
    assert_eq!(scheduler.step(source, false, at(1)), Step::Feed(1));
    scheduler.finish_input(source);
    assert!(matches!(
        scheduler.step(source, false, at(1)),
        Step::Rest(_)
    ));
}

#[test]
fn only_quick_operations_are_read_far_ahead() {
    let scheduler = unlimited(1);
    let terms = Terms {
        ahead: growing(4, 32),
        ..stream(Keep::Completed, 4)
    };
    let (source, _) = scheduler.add_batch(terms, at(1));
    let mut seat = scheduler.seat();
    let mut now = at(1);
    let mut read = 0;
    let mut rooms = Vec::new();
    let mut round = |length, now: &mut Time| {
        let Step::Feed(room) = scheduler.step(source, false, *now) else {
            panic!("no room")
        };
        scheduler.feed(source, read..read + room, false, *now);
        read += room;
        *now = run_all(&scheduler, &mut seat, *now, length);
        assert_eq!(all_handed_over(&scheduler, source), room);
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
    let terms = Terms {
        ahead,
        ..stream(Keep::Completed, 4)
    };
    let (source, _) = scheduler.add_batch(terms, at(1));
    let mut seat = scheduler.seat();
    let mut now = at(1);
    let mut read = 0;
    let mut round = |light| {
        let Step::Feed(room) = scheduler.step(source, false, now) else {
            panic!("no room")
        };
        scheduler.end_reading(source, light);
        scheduler.feed(source, read..read + room, false, now);
        read += room;
        now = run_all(&scheduler, &mut seat, now, 1000);
        assert_eq!(all_handed_over(&scheduler, source), room);
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
    let terms = Terms {
        ahead: growing(4, 16),
        ..stream(Keep::Completed, 4)
    };
    let (source, _) = scheduler.add_batch(terms, at(1));
    let mut seat = scheduler.seat();
    let mut now = at(1);
    let mut read = 0;
    for _ in 0..4 {
        let Step::Feed(room) = scheduler.step(source, false, now) else {
            panic!("no room")
        };
        scheduler.feed(source, read..read + room, false, now);
        read += room;
        now = run_all(&scheduler, &mut seat, now, 1000);
        assert_eq!(all_handed_over(&scheduler, source), room);
    }
    let room = || scheduler.with(source, Source::room).unwrap();
    assert_eq!(room(), 16);
    scheduler.feed(source, read..read + 4, false, now);
    assert_eq!(room(), 12);
    scheduler.feed(source, std::iter::once(read + 4), false, now);
    assert_eq!(room(), 0, "the workers have more than the least to do");
}

#[test]
fn a_source_whose_owner_has_gone_runs_to_its_end() {
    let scheduler = unlimited(1);
    let (source, _) = scheduler.add_complete(stream(Keep::Ordered, 9), 4, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    let start = scheduler.start_next(&mut seat, done(&start, at(1)), at(1));
    let start = scheduler.start_next(&mut seat, again(&start, at(1), at(5)), at(1));
    let (records, gone) = scheduler.orphan(source, at(2));
    assert!(gone.is_none());
    let records = records.unwrap();
    assert_eq!(records.slots.into_iter().flatten().count(), 1);
    assert_eq!(records.history.len(), 1);
    let (leftover, claim) = scheduler.claim_next(&mut seat, failed(&start, at(2)), at(2));
    assert!(matches!(remains(leftover), Remains::Result(_)));
    let start = Started::by(&seat, claim).unwrap();
    assert_eq!(start.running.index, 3);
    scheduler.claim_next(&mut seat, done(&start, at(2)), at(2));
    let start = scheduler.start(&mut seat, at(5));
    assert_eq!((start.running.index, start.running.attempt), (1, 2));
    let (leftover, _) = scheduler.claim_next(&mut seat, done(&start, at(6)), at(6));
    assert!(leftover.is_some(), "it was dropped within the lock");
    assert!(scheduler.with(source, |_| ()).is_none());
    scheduler.close();
    assert!(scheduler.is_over());
}

#[test]
fn a_source_that_has_run_is_taken_out_with_its_owner() {
    let scheduler = unlimited(1);
    let (source, _) = scheduler.add_complete(stream(Keep::Ordered, 9), 1, at(1));
    let mut seat = scheduler.seat();
    run_all(&scheduler, &mut seat, at(1), 1);
    let (records, gone) = scheduler.orphan(source, at(2));
    assert!(records.is_none() && gone.is_some());
    assert!(scheduler.with(source, |_| ()).is_none());
    let (records, gone) = scheduler.orphan(source, at(2));
    assert!(records.is_none() && gone.is_none());
}

#[test]
fn an_orphan_that_has_ended_is_taken_out_at_once() {
    let scheduler = unlimited(1);
    let (source, _) = scheduler.add_complete(stream(Keep::Ordered, 9), 3, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    scheduler.end(source, End::Cancelled, at(2));
    let (_, gone) = scheduler.orphan(source, at(2));
    assert_eq!(gone.unwrap().running().len(), 1);
    let (leftover, _) = scheduler.claim_next(&mut seat, done(&start, at(3)), at(3));
    assert!(matches!(remains(leftover), Remains::Result(_)));
}

#[test]
fn no_permit_is_taken_before_what_is_left_over_was_dropped() {
    let (scheduler, _) = limited(2, 1, 1);
    let (gone, _) = scheduler.add_complete(batch(), 1, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    drop(scheduler.remove(gone, at(2)));
    let (next, _) = scheduler.add_complete(batch(), 1, at(2));
    let (leftover, claim) = scheduler.claim(&mut seat, Some(done(&start, at(3))), at(3));
    assert!(leftover.is_some() && matches!(claim, Claim::Ready));
    let permits = || scheduler.with(next, |source| source.ledger().totals.permits);
    assert_eq!(permits(), Some(0));
    // Dropping that takes three seconds: the permit is of the time after.
    drop(leftover);
    let start = scheduler.start(&mut seat, at(6));
    assert_eq!((permits(), start.running.started), (Some(1), at(6)));
}

#[test]
fn an_owner_expects_an_outcome_while_one_may_become_ready() {
    let scheduler = unlimited(1);
    let (source, owner) = scheduler.add_batch(until(at(60), stream(Keep::Completed, 10)), at(1));
    assert_eq!(scheduler.expects(source), None, "nothing was read");
    scheduler.feed(source, 0..2, false, at(1));
    assert_eq!(scheduler.expects(source), Some(at(60)), "two are to start");
    let mut seat = scheduler.seat();
    let zero = scheduler.start(&mut seat, at(1));
    assert!(scheduler.expects(source).is_some(), "one runs");
    given(&owner);
    let one = scheduler.start_next(&mut seat, done(&zero, at(2)), at(2));
    scheduler.catch_up(at(2));
    assert!(given(&owner), "nobody tells the owner that expects it");
    assert_eq!(scheduler.expects(source), None, "one is ready");
    assert_eq!(handed_over(&scheduler, source), [0]);
    // One that is to be tried again is expected as well.
    assert!(scheduler.expects(source).is_some());
    given(&owner);
    scheduler.rest_after(&mut seat, again(&one, at(3), at(9)), at(3));
    assert!(scheduler.expects(source).is_some(), "a retry is not due");
    let one = scheduler.start(&mut seat, at(9));
    scheduler.rest_after(&mut seat, failed(&one, at(10)), at(10));
    scheduler.catch_up(at(10));
    assert!(given(&owner));
    assert_eq!(handed_over(&scheduler, source), [1]);
    assert_eq!(scheduler.expects(source), None, "all was handed over");
}

#[test]
fn an_owner_expects_the_outcome_whose_turn_it_is() {
    let scheduler = unlimited(2);
    let (source, owner) = scheduler.add_batch(stream(Keep::Ordered, 10), at(1));
    scheduler.feed(source, 0..2, false, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let [zero, one] = seats.each_mut().map(|seat| scheduler.start(seat, at(1)));
    scheduler.rest_after(&mut seats[1], done(&one, at(2)), at(2));
    assert_eq!(scheduler.expects(source), Some(Time::NEVER));
    given(&owner);
    scheduler.rest_after(&mut seats[0], done(&zero, at(3)), at(3));
    scheduler.catch_up(at(3));
    assert!(given(&owner));
    assert_eq!(scheduler.expects(source), None);
}

#[test]
fn an_owner_expects_nothing_of_a_batch_that_has_ended_or_is_gone() {
    let scheduler = unlimited(1);
    let (source, owner) = scheduler.add_batch(stream(Keep::Completed, 10), at(1));
    scheduler.feed(source, 0..2, false, at(1));
    let mut seat = scheduler.seat();
    scheduler.start(&mut seat, at(1));
    assert!(scheduler.expects(source).is_some());
    given(&owner);
    scheduler.end(source, End::Owner, at(2));
    assert!(given(&owner), "its owner waits on");
    assert_eq!(scheduler.expects(source), None);
    drop(scheduler.remove(source, at(2)));
    assert_eq!(scheduler.expects(source), None);
}
