//! Which operation a worker starts, when, and who is woken for the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::schedule::{Claim, Scheduler, Step};
use paceline::engine::terms::{End, Terms};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, SECOND, at, batch, delivered, done, foreign, given, limited, resting, unlimited, until,
    woken,
};

#[test]
fn operations_start_in_the_order_of_the_input() {
    let scheduler = unlimited(3);
    let (source, _) = scheduler.add_complete(batch(), 7, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    let mut running: Vec<_> = seats
        .iter_mut()
        .map(|seat| scheduler.start(seat, at(1)))
        .collect();
    let mut order: Vec<_> = running.iter().map(|start| start.running.index).collect();
    for worker in [2, 0, 2, 1] {
        let finished = done(&running[worker], at(2));
        running[worker] = scheduler.start_next(&mut seats[worker], finished, at(2));
        order.push(running[worker].running.index);
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
    assert!(running.iter().all(|start| start.job == start.running.index));
    let mut indexes = scheduler
        .with(source, |source| {
            source
                .running()
                .iter()
                .map(|running| running.index)
                .collect::<Vec<_>>()
        })
        .unwrap();
    indexes.sort_unstable();
    assert_eq!(indexes, [4, 5, 6]);
}

#[test]
fn no_more_run_than_there_are_workers() {
    let scheduler = unlimited(2);
    scheduler.add_complete(batch(), 5, at(1));
    let (mut first, mut second, mut spare) = (scheduler.seat(), scheduler.seat(), scheduler.seat());
    let running = scheduler.start(&mut first, at(1));
    scheduler.start(&mut second, at(1));
    assert_eq!(scheduler.rest(&mut spare, at(1)), Time::NEVER);
    // The one that has finished goes on; the spare one is not needed.
    scheduler.start_next(&mut first, done(&running, at(2)), at(2));
    assert!(!woken(&spare));
    assert_eq!(scheduler.rest(&mut spare, at(2)), Time::NEVER);
}

#[test]
fn looking_takes_nothing() {
    let (scheduler, limiter) = limited(2, 1, 10);
    let (source, _) = scheduler.add_complete(batch(), 2, at(1));
    let mut seat = scheduler.seat();
    for _ in 0..3 {
        assert!(matches!(scheduler.look(&mut seat, at(1)), Claim::Ready));
    }
    assert_eq!(limiter.wait_time(1, at(1)), Duration::ZERO);
    assert_eq!(scheduler.start(&mut seat, at(1)).running.index, 0);
    let permits = scheduler
        .with(source, |source| source.ledger().totals.permits)
        .unwrap();
    assert_eq!(permits, 1);
    assert_eq!(limiter.wait_time(1, at(1)), Duration::from_secs(10));
}

#[test]
fn one_worker_waits_for_the_permit_of_all() {
    let (scheduler, _) = limited(3, 2, 10);
    let (source, _) = scheduler.add_complete(batch(), 6, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    scheduler.start(&mut seats[0], at(1));
    let second = scheduler.start(&mut seats[1], at(3));
    assert_eq!(scheduler.rest(&mut seats[2], at(4)), at(11));
    // Another that comes free does not wait beside it, nor overtake it.
    let free = scheduler.rest_after(&mut seats[1], done(&second, at(10)), at(10));
    assert_eq!(free, Time::NEVER);
    let third = scheduler.start(&mut seats[2], at(11));
    assert_eq!(third.running.index, 2);
    assert_eq!(third.running.permit_wait, 7 * SECOND);
    assert!(woken(&seats[1]), "nobody waits for the next permit");
    assert_eq!(scheduler.rest(&mut seats[1], at(11)), at(13));
    let totals = scheduler
        .with(source, |source| source.ledger().totals)
        .unwrap();
    assert_eq!((totals.permits, totals.attempts), (3, 3));
    assert_eq!(totals.permit_wait, 7 * SECOND);
}

#[test]
fn a_worker_that_has_to_wait_is_told_so_before_it_attaches() {
    let (scheduler, limiter) = limited(2, 1, 10);
    scheduler.add_complete(batch(), 3, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    assert!(matches!(scheduler.look(&mut seats[0], at(1)), Claim::Ready));
    let first = scheduler.start(&mut seats[0], at(1));
    assert_eq!(resting(scheduler.look(&mut seats[1], at(2))), at(11));
    // It has its place in the queue from then on.
    assert!(!limiter.try_acquire(1, at(11)));
    let free = scheduler.rest_after(&mut seats[0], done(&first, at(3)), at(3));
    assert_eq!(free, Time::NEVER);
    assert!(matches!(
        scheduler.look(&mut seats[1], at(11)),
        Claim::Ready
    ));
    let second = scheduler.start(&mut seats[1], at(11));
    assert_eq!(second.running.permit_wait, 9 * SECOND);
}

#[test]
fn a_wait_that_was_in_vain_is_told_of_what_ended_meanwhile() {
    for (end, expected) in [(Some(End::Owner), 7), (Some(End::Failed), 4), (None, 8)] {
        let (scheduler, _) = limited(1, 1, 5);
        let (source, _) = scheduler.add_complete(batch(), 3, at(1));
        let mut seat = scheduler.seat();
        let first = scheduler.start(&mut seat, at(1));
        assert_eq!(
            scheduler.rest_after(&mut seat, done(&first, at(2)), at(2)),
            at(6)
        );
        let second = scheduler.start(&mut seat, at(6));
        assert_eq!(
            scheduler.rest_after(&mut seat, done(&second, at(7)), at(7)),
            at(11)
        );
        if let Some(end) = end {
            scheduler.end(source, end, at(10));
        } else {
            let third = scheduler.start(&mut seat, at(11));
            scheduler.rest_after(&mut seat, done(&third, at(12)), at(12));
        }
        let totals = scheduler.remove(source, at(10)).unwrap().ledger().totals;
        assert_eq!(totals.permit_wait, expected * SECOND, "{end:?}");
    }
}

#[test]
fn a_wait_in_vain_is_over_at_the_deadline_whenever_the_owner_comes() {
    let terms = until(at(4), batch());
    let (scheduler, limiter) = limited(1, 1, 5);
    limiter.try_acquire(1, at(1));
    let (source, _) = scheduler.add_complete(terms, 1, at(1));
    let mut seat = scheduler.seat();
    assert_eq!(scheduler.rest(&mut seat, at(2)), at(4));
    assert_eq!(scheduler.rest(&mut seat, at(4)), Time::NEVER);
    let native = scheduler.remove(source, at(30)).unwrap();

    let scheduler = foreign(1);
    let (source, _) = scheduler.add_complete(terms, 1, at(1));
    assert_eq!(scheduler.asks(&mut scheduler.seat(), at(2)), source);
    assert_eq!(scheduler.step(source, false, at(30)), Step::Settled);
    let asked = scheduler.remove(source, at(30)).unwrap();

    for mut source in [native, asked] {
        assert_eq!(source.ledger().totals.permit_wait, 2 * SECOND);
    }
}

#[test]
fn a_permit_is_stamped_when_its_operation_starts() {
    let (scheduler, _) = limited(1, 1, 10);
    scheduler.add_complete(batch(), 3, at(1));
    let mut seat = scheduler.seat();
    let first = scheduler.start(&mut seat, at(1));
    assert_eq!(
        scheduler.rest_after(&mut seat, done(&first, at(2)), at(2)),
        at(11)
    );
    // It comes late: the next window is counted from its start, not from when it was due.
    let second = scheduler.start(&mut seat, at(15));
    assert_eq!(second.running.started, at(15));
    assert_eq!(
        scheduler.rest_after(&mut seat, done(&second, at(16)), at(16)),
        at(25)
    );
}

#[test]
fn starts_of_two_executors_share_one_window() {
    let (scheduler, limiter) = limited(1, 2, 10);
    let other = Scheduler::new(1, Some(limiter), Arc::new("calls".into()));
    let both = [&scheduler, &other];
    let mut seats = both.map(Scheduler::seat);
    for scheduler in both {
        scheduler.add_complete(batch(), 3, at(1));
    }
    let mut running = Vec::new();
    for (scheduler, seat) in both.iter().zip(&mut seats) {
        running.push(scheduler.start(seat, at(1)));
    }
    let first = both[0].rest_after(&mut seats[0], done(&running[0], at(2)), at(2));
    let second = both[1].rest_after(&mut seats[1], done(&running[1], at(2)), at(2));
    assert_eq!((first, second), (at(11), Time::NEVER));
    both[0].start(&mut seats[0], at(11));
    assert!(woken(&seats[1]), "the next in the queue was not told");
    both[1].start(&mut seats[1], at(11));
}

#[test]
fn workers_are_woken_one_by_one() {
    let scheduler = unlimited(3);
    let mut seats = [scheduler.seat(), scheduler.seat(), scheduler.seat()];
    for seat in &mut seats {
        assert_eq!(scheduler.rest(seat, at(1)), Time::NEVER);
    }
    scheduler.add_complete(batch(), 2, at(2));
    scheduler.submit(0, at(2)).unwrap();
    for started in 1..=3 {
        let told: Vec<_> = (0..3).filter(|seat| woken(&seats[*seat])).collect();
        let [told] = told[..] else {
            panic!("{told:?} were woken to start operation {started} of three")
        };
        assert!(matches!(
            scheduler.look(&mut seats[told], at(2)),
            Claim::Ready
        ));
        scheduler.start(&mut seats[told], at(2));
    }
}

#[test]
fn what_comes_while_one_is_on_its_way_is_not_forgotten() {
    let scheduler = unlimited(2);
    let mut seats = [scheduler.seat(), scheduler.seat()];
    for seat in &mut seats {
        scheduler.rest(seat, at(1));
    }
    scheduler.submit(0, at(2)).unwrap();
    scheduler.submit(1, at(2)).unwrap();
    let (first, other) = if woken(&seats[0]) { (0, 1) } else { (1, 0) };
    assert!(!woken(&seats[other]));
    scheduler.start(&mut seats[first], at(2));
    assert!(woken(&seats[other]));
    scheduler.start(&mut seats[other], at(2));
}

#[test]
fn one_that_is_woken_for_nothing_passes_nothing_up() {
    let scheduler = unlimited(2);
    let mut seats = [scheduler.seat(), scheduler.seat()];
    for seat in &mut seats {
        scheduler.rest(seat, at(1));
    }
    scheduler.submit(0, at(2)).unwrap();
    assert_eq!(
        scheduler.withdraw(Scheduler::<crate::fixture::Plain>::CALLS, 0),
        Some(0)
    );
    let first = usize::from(!woken(&seats[0]));
    scheduler.rest(&mut seats[first], at(2));
    scheduler.submit(1, at(3)).unwrap();
    assert!(
        woken(&seats[0]) || woken(&seats[1]),
        "one that came back empty is still waited for"
    );
}

#[test]
fn a_small_batch_is_not_kept_waiting_by_a_large_one() {
    let scheduler = unlimited(4);
    let (large, _) = scheduler.add_complete(batch(), 400, at(1));
    let mut seats: Vec<_> = (0..4).map(|_| scheduler.seat()).collect();
    let mut running: Vec<_> = seats
        .iter_mut()
        .map(|seat| scheduler.start(seat, at(1)))
        .collect();
    let mut next = |worker: usize, now| {
        let finished = done(&running[worker], now);
        running[worker] = scheduler.start_next(&mut seats[worker], finished, now);
        running[worker].source
    };
    for turn in 0..100 {
        next(turn % 4, at(2));
    }
    let (small, _) = scheduler.add_complete(batch(), 8, at(3));
    let turns: Vec<_> = (0..40).map(|turn| next(turn % 4, at(4))).collect();
    let last = turns.iter().rposition(|source| *source == small).unwrap();
    assert_eq!(turns.iter().filter(|source| **source == small).count(), 8);
    assert!(
        last < 17,
        "the small batch was finished after {last} starts"
    );
    assert!(
        turns[..16]
            .iter()
            .filter(|source| **source == large)
            .count()
            >= 7
    );
}

#[test]
fn sources_take_turns_also_when_permits_are_scarce() {
    let (scheduler, _) = limited(2, 1, 10);
    let sources: Vec<_> = (0..3)
        .map(|_| scheduler.add_complete(batch(), 50, at(1)).0)
        .collect();
    let mut seat = scheduler.seat();
    let mut starts = BTreeMap::<usize, usize>::new();
    let mut now = at(1);
    let mut running = scheduler.start(&mut seat, now);
    for turn in 1..=30 {
        let place = sources.iter().position(|id| *id == running.source).unwrap();
        *starts.entry(place).or_default() += 1;
        let spread = starts.values().max().unwrap() - starts.values().min().unwrap();
        assert!(starts.len() < 3 || spread <= 1, "{starts:?} after {turn}");
        let finished = done(&running, now);
        now = scheduler.rest_after(&mut seat, finished, now);
        running = scheduler.start(&mut seat, now);
    }
    assert_eq!(starts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn a_context_is_handed_out_where_the_source_changes() {
    let scheduler = unlimited(1);
    let (first, _) = scheduler.add_complete(batch(), 3, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    assert_eq!(start.shared(), Some("batch"));
    let start = scheduler.start_next(&mut seat, done(&start, at(1)), at(1));
    assert!(start.context.is_none());
    scheduler.submit(7, at(1)).unwrap();
    let call = scheduler.start_next(&mut seat, done(&start, at(1)), at(1));
    assert_eq!(call.shared(), Some("calls"));
    let start = scheduler.start_next(&mut seat, delivered(&call, at(1)), at(1));
    assert_eq!((start.source, start.shared()), (first, Some("batch")));
    scheduler.rest_after(&mut seat, done(&start, at(1)), at(1));
    scheduler.remove(first, at(1)).unwrap();
    scheduler.add_complete(batch(), 2, at(1));
    let start = scheduler.start(&mut seat, at(1));
    assert!(
        start.context.is_some(),
        "a new source has the context of an old one"
    );
    seat.forget();
    let start = scheduler.start_next(&mut seat, done(&start, at(1)), at(1));
    assert!(start.context.is_some());
}

#[test]
fn nothing_waits_longer_than_its_source_is_there() {
    let (scheduler, _) = limited(2, 1, 10);
    scheduler.add_complete(batch(), 2, at(1));
    let mut seats = [scheduler.seat(), scheduler.seat()];
    let first = scheduler.start(&mut seats[0], at(1));
    assert_eq!(scheduler.rest(&mut seats[1], at(2)), at(11));
    // It waits on behalf of all, and the next turn is that of the batch that came last.
    let (late, _) = scheduler.add_complete(batch(), 1, at(9));
    let start = scheduler.start(&mut seats[1], at(11));
    assert_eq!((first.source == late, start.source == late), (false, true));
    assert_eq!(start.running.permit_wait, 2 * SECOND);
}

#[test]
fn the_place_of_a_removed_source_is_not_mistaken_for_it() {
    let scheduler = unlimited(1);
    let (old, _) = scheduler.add_complete(batch(), 2, at(1));
    let mut seat = scheduler.seat();
    let lost = scheduler.start(&mut seat, at(1));
    scheduler.remove(old, at(2)).unwrap();
    let terms = Terms {
        stop_on_failure: true,
        ..batch()
    };
    let (new, owner) = scheduler.add_complete(terms, 1, at(3));
    assert_ne!(old, new);
    scheduler.feed(old, 5..9, false, at(3));
    scheduler.end(old, paceline::engine::terms::End::Owner, at(3));
    assert!(scheduler.with(old, |_| ()).is_none());
    assert!(scheduler.remove(old, at(3)).is_none());
    assert!(!given(&owner));
    let start = scheduler.start_next(&mut seat, crate::fixture::failed(&lost, at(4)), at(4));
    assert_eq!((start.source, start.running.index), (new, 0));
    assert_eq!(scheduler.ended(new), None);
}

#[test]
fn a_closed_scheduler_takes_no_more() {
    let scheduler = unlimited(1);
    scheduler.submit(3, at(1)).unwrap();
    scheduler.close();
    assert!(scheduler.closed());
    assert_eq!(scheduler.submit(4, at(1)), Err(4));
    assert!(
        scheduler
            .add(
                Arc::new("batch".into()),
                Arc::default(),
                batch(),
                None,
                at(1),
            )
            .is_none()
    );
    let mut seat = scheduler.seat();
    let call = scheduler.start(&mut seat, at(1));
    assert_eq!(call.job, 3);
    let mut other = scheduler.seat();
    assert_eq!(
        resting(scheduler.look(&mut other, at(1))),
        Time::NEVER,
        "a call still runs, and may be tried again"
    );
    let (_, claim) = scheduler.claim_next(&mut seat, delivered(&call, at(2)), at(2));
    assert!(matches!(claim, Claim::Exit));
    assert!(woken(&other));
    assert!(matches!(scheduler.look(&mut other, at(2)), Claim::Exit));
    assert!(scheduler.is_over());
}
