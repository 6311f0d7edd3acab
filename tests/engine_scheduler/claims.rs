//! Which operation a worker starts, when, and who is woken for the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::clock::Clock;
use paceline::engine::model::{BatchOptions, EndReason};
use paceline::engine::scheduler::{Claim, Scheduler, Step};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, SECOND, at, delivered, done, foreign, given, limited, resting, unlimited, until,
    whole_batch, woken,
};

#[test]
fn operations_start_in_the_order_of_the_input() {
    let scheduler = unlimited(3);
    let (batch, _) = scheduler.add_complete(whole_batch(), 7, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    let mut running: Vec<_> = workers
        .iter_mut()
        .map(|worker| scheduler.start(worker, at(1)))
        .collect();
    let mut order: Vec<_> = running.iter().map(|start| start.running.index).collect();
    for place in [2, 0, 2, 1] {
        let finished = done(&running[place], at(2));
        running[place] = scheduler.start_next(&mut workers[place], finished, at(2));
        order.push(running[place].running.index);
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
    assert!(running.iter().all(|start| start.job == start.running.index));
    let mut indexes = scheduler
        .with(batch, |batch| {
            batch
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
    scheduler.add_complete(whole_batch(), 5, at(1));
    let (mut first, mut second, mut spare) =
        (scheduler.worker(), scheduler.worker(), scheduler.worker());
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
    let (batch, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    for _ in 0..3 {
        assert!(matches!(scheduler.look(&mut worker, at(1)), Claim::Ready));
    }
    assert_eq!(limiter.wait_time(1, at(1)), Duration::ZERO);
    assert_eq!(scheduler.start(&mut worker, at(1)).running.index, 0);
    let permits = scheduler
        .with(batch, |batch| batch.totals().permits)
        .unwrap();
    assert_eq!(permits, 1);
    assert_eq!(limiter.wait_time(1, at(1)), Duration::from_secs(10));
}

#[test]
fn one_worker_waits_for_the_permit_of_all() {
    let (scheduler, _) = limited(3, 2, 10);
    let (batch, _) = scheduler.add_complete(whole_batch(), 6, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    scheduler.start(&mut workers[0], at(1));
    let second = scheduler.start(&mut workers[1], at(3));
    assert_eq!(scheduler.rest(&mut workers[2], at(4)), at(11));
    // Another that comes free does not wait beside it, nor overtake it.
    let free = scheduler.rest_after(&mut workers[1], done(&second, at(10)), at(10));
    assert_eq!(free, Time::NEVER);
    let third = scheduler.start(&mut workers[2], at(11));
    assert_eq!(third.running.index, 2);
    assert_eq!(third.running.permit_wait, 7 * SECOND);
    assert!(woken(&workers[1]), "nobody waits for the next permit");
    assert_eq!(scheduler.rest(&mut workers[1], at(11)), at(13));
    let totals = scheduler.with(batch, |batch| batch.totals()).unwrap();
    assert_eq!((totals.permits, totals.attempts), (3, 3));
    assert_eq!(totals.permit_wait, 7 * SECOND);
}

#[test]
fn a_worker_that_has_to_wait_is_told_so_before_it_attaches() {
    let (scheduler, limiter) = limited(2, 1, 10);
    scheduler.add_complete(whole_batch(), 3, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    assert!(matches!(
        scheduler.look(&mut workers[0], at(1)),
        Claim::Ready
    ));
    let first = scheduler.start(&mut workers[0], at(1));
    assert_eq!(resting(scheduler.look(&mut workers[1], at(2))), at(11));
    // It has its place in the queue from then on.
    assert!(!limiter.try_acquire(1, at(11)));
    let free = scheduler.rest_after(&mut workers[0], done(&first, at(3)), at(3));
    assert_eq!(free, Time::NEVER);
    assert!(matches!(
        scheduler.look(&mut workers[1], at(11)),
        Claim::Ready
    ));
    let second = scheduler.start(&mut workers[1], at(11));
    assert_eq!(second.running.permit_wait, 9 * SECOND);
}

#[test]
fn a_wait_that_was_in_vain_is_told_of_what_ended_meanwhile() {
    for (end, expected) in [
        (Some(EndReason::Owner), 7),
        (Some(EndReason::Failed), 4),
        (None, 8),
    ] {
        let (scheduler, _) = limited(1, 1, 5);
        let (batch, _) = scheduler.add_complete(whole_batch(), 3, at(1));
        let mut worker = scheduler.worker();
        let first = scheduler.start(&mut worker, at(1));
        assert_eq!(
            scheduler.rest_after(&mut worker, done(&first, at(2)), at(2)),
            at(6)
        );
        let second = scheduler.start(&mut worker, at(6));
        assert_eq!(
            scheduler.rest_after(&mut worker, done(&second, at(7)), at(7)),
            at(11)
        );
        if let Some(end) = end {
            scheduler.end(batch, end, at(10));
        } else {
            let third = scheduler.start(&mut worker, at(11));
            scheduler.rest_after(&mut worker, done(&third, at(12)), at(12));
        }
        let totals = scheduler.remove(batch, at(10)).unwrap().totals();
        assert_eq!(totals.permit_wait, expected * SECOND, "{end:?}");
    }
}

#[test]
fn a_wait_in_vain_is_over_at_the_deadline_whenever_the_owner_comes() {
    let options = until(at(4), whole_batch());
    let (scheduler, limiter) = limited(1, 1, 5);
    limiter.try_acquire(1, at(1));
    let (batch, _) = scheduler.add_complete(options, 1, at(1));
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.rest(&mut worker, at(2)), at(4));
    assert_eq!(scheduler.rest(&mut worker, at(4)), Time::NEVER);
    let native = scheduler.remove(batch, at(30)).unwrap();

    let scheduler = foreign(1);
    let (batch, _) = scheduler.add_complete(options, 1, at(1));
    assert_eq!(scheduler.asks(&mut scheduler.worker(), at(2)), batch);
    assert_eq!(scheduler.step(batch, false, at(30)), Step::Settled);
    let asked = scheduler.remove(batch, at(30)).unwrap();

    for batch in [native, asked] {
        assert_eq!(batch.totals().permit_wait, 2 * SECOND);
    }
}

#[test]
fn a_permit_is_stamped_when_its_operation_starts() {
    let (scheduler, _) = limited(1, 1, 10);
    scheduler.add_complete(whole_batch(), 3, at(1));
    let mut worker = scheduler.worker();
    let first = scheduler.start(&mut worker, at(1));
    assert_eq!(
        scheduler.rest_after(&mut worker, done(&first, at(2)), at(2)),
        at(11)
    );
    // It comes late: the next window is counted from its start, not from when it was due.
    let second = scheduler.start(&mut worker, at(15));
    assert_eq!(second.running.started, at(15));
    assert_eq!(
        scheduler.rest_after(&mut worker, done(&second, at(16)), at(16)),
        at(25)
    );
}

#[test]
fn starts_of_two_executors_share_one_window() {
    let (scheduler, limiter) = limited(1, 2, 10);
    let other = Scheduler::new(1, Some(limiter), Arc::new("calls".into()), Clock::default());
    let both = [&scheduler, &other];
    let mut workers = both.map(Scheduler::worker);
    for scheduler in both {
        scheduler.add_complete(whole_batch(), 3, at(1));
    }
    let mut running = Vec::new();
    for (scheduler, worker) in both.iter().zip(&mut workers) {
        running.push(scheduler.start(worker, at(1)));
    }
    let first = both[0].rest_after(&mut workers[0], done(&running[0], at(2)), at(2));
    let second = both[1].rest_after(&mut workers[1], done(&running[1], at(2)), at(2));
    assert_eq!((first, second), (at(11), Time::NEVER));
    both[0].start(&mut workers[0], at(11));
    assert!(woken(&workers[1]), "the next in the queue was not told");
    both[1].start(&mut workers[1], at(11));
}

#[test]
fn workers_are_woken_one_by_one() {
    let scheduler = unlimited(3);
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    for worker in &mut workers {
        assert_eq!(scheduler.rest(worker, at(1)), Time::NEVER);
    }
    scheduler.add_complete(whole_batch(), 2, at(2));
    scheduler.submit(0, at(2)).unwrap();
    for started in 1..=3 {
        let told: Vec<_> = (0..3).filter(|worker| woken(&workers[*worker])).collect();
        let [told] = told[..] else {
            panic!("{told:?} were woken to start operation {started} of three")
        };
        assert!(matches!(
            scheduler.look(&mut workers[told], at(2)),
            Claim::Ready
        ));
        scheduler.start(&mut workers[told], at(2));
    }
}

#[test]
fn what_comes_while_one_is_on_its_way_is_not_forgotten() {
    let scheduler = unlimited(2);
    let mut workers = [scheduler.worker(), scheduler.worker()];
    for worker in &mut workers {
        scheduler.rest(worker, at(1));
    }
    scheduler.submit(0, at(2)).unwrap();
    scheduler.submit(1, at(2)).unwrap();
    let (first, other) = if woken(&workers[0]) { (0, 1) } else { (1, 0) };
    assert!(!woken(&workers[other]));
    scheduler.start(&mut workers[first], at(2));
    assert!(woken(&workers[other]));
    scheduler.start(&mut workers[other], at(2));
}

#[test]
fn one_that_is_woken_for_nothing_passes_nothing_up() {
    let scheduler = unlimited(2);
    let mut workers = [scheduler.worker(), scheduler.worker()];
    for worker in &mut workers {
        scheduler.rest(worker, at(1));
    }
    scheduler.submit(0, at(2)).unwrap();
    assert_eq!(
        scheduler.withdraw(Scheduler::<crate::fixture::Plain>::SUBMITTED, 0),
        Some(0)
    );
    let first = usize::from(!woken(&workers[0]));
    scheduler.rest(&mut workers[first], at(2));
    scheduler.submit(1, at(3)).unwrap();
    assert!(
        woken(&workers[0]) || woken(&workers[1]),
        "one that came back empty is still waited for"
    );
}

#[test]
fn a_small_batch_is_not_kept_waiting_by_a_large_one() {
    let scheduler = unlimited(4);
    let (large, _) = scheduler.add_complete(whole_batch(), 400, at(1));
    let mut workers: Vec<_> = (0..4).map(|_| scheduler.worker()).collect();
    let mut running: Vec<_> = workers
        .iter_mut()
        .map(|worker| scheduler.start(worker, at(1)))
        .collect();
    let mut next = |place: usize, now| {
        let finished = done(&running[place], now);
        running[place] = scheduler.start_next(&mut workers[place], finished, now);
        running[place].batch
    };
    for turn in 0..100 {
        next(turn % 4, at(2));
    }
    let (small, _) = scheduler.add_complete(whole_batch(), 8, at(3));
    let turns: Vec<_> = (0..40).map(|turn| next(turn % 4, at(4))).collect();
    let last = turns.iter().rposition(|batch| *batch == small).unwrap();
    assert_eq!(turns.iter().filter(|batch| **batch == small).count(), 8);
    assert!(
        last < 17,
        "the small batch was finished after {last} starts"
    );
    assert!(turns[..16].iter().filter(|batch| **batch == large).count() >= 7);
}

#[test]
fn batches_take_turns_also_when_permits_are_scarce() {
    let (scheduler, _) = limited(2, 1, 10);
    let batches: Vec<_> = (0..3)
        .map(|_| scheduler.add_complete(whole_batch(), 50, at(1)).0)
        .collect();
    let mut worker = scheduler.worker();
    let mut starts = BTreeMap::<usize, usize>::new();
    let mut now = at(1);
    let mut running = scheduler.start(&mut worker, now);
    for turn in 1..=30 {
        let place = batches.iter().position(|id| *id == running.batch).unwrap();
        *starts.entry(place).or_default() += 1;
        let spread = starts.values().max().unwrap() - starts.values().min().unwrap();
        assert!(starts.len() < 3 || spread <= 1, "{starts:?} after {turn}");
        let finished = done(&running, now);
        now = scheduler.rest_after(&mut worker, finished, now);
        running = scheduler.start(&mut worker, now);
    }
    assert_eq!(starts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn a_context_is_handed_out_where_the_batch_changes() {
    let scheduler = unlimited(1);
    let (first, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    assert_eq!(start.shared(), Some("batch"));
    let start = scheduler.start_next(&mut worker, done(&start, at(1)), at(1));
    assert!(start.context.is_none());
    scheduler.submit(7, at(1)).unwrap();
    let call = scheduler.start_next(&mut worker, done(&start, at(1)), at(1));
    assert_eq!(call.shared(), Some("calls"));
    let start = scheduler.start_next(&mut worker, delivered(&call, at(1)), at(1));
    assert_eq!((start.batch, start.shared()), (first, Some("batch")));
    scheduler.rest_after(&mut worker, done(&start, at(1)), at(1));
    scheduler.remove(first, at(1)).unwrap();
    scheduler.add_complete(whole_batch(), 2, at(1));
    let start = scheduler.start(&mut worker, at(1));
    assert!(
        start.context.is_some(),
        "a new batch has the context of an old one"
    );
    worker.forget();
    let start = scheduler.start_next(&mut worker, done(&start, at(1)), at(1));
    assert!(start.context.is_some());
}

#[test]
fn nothing_waits_longer_than_its_batch_is_there() {
    let (scheduler, _) = limited(2, 1, 10);
    scheduler.add_complete(whole_batch(), 2, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let first = scheduler.start(&mut workers[0], at(1));
    assert_eq!(scheduler.rest(&mut workers[1], at(2)), at(11));
    // It waits on behalf of all, and the next turn is that of the batch that came last.
    let (late, _) = scheduler.add_complete(whole_batch(), 1, at(9));
    let start = scheduler.start(&mut workers[1], at(11));
    assert_eq!((first.batch == late, start.batch == late), (false, true));
    assert_eq!(start.running.permit_wait, 2 * SECOND);
}

#[test]
fn the_place_of_a_removed_batch_is_not_mistaken_for_it() {
    let scheduler = unlimited(1);
    let (old, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    let lost = scheduler.start(&mut worker, at(1));
    scheduler.remove(old, at(2)).unwrap();
    let options = BatchOptions {
        stop_on_failure: true,
        ..whole_batch()
    };
    let (new, owner) = scheduler.add_complete(options, 1, at(3));
    assert_ne!(old, new);
    scheduler.feed(old, 5..9, false, at(3));
    scheduler.end(old, paceline::engine::model::EndReason::Owner, at(3));
    assert!(scheduler.with(old, |_| ()).is_none());
    assert!(scheduler.remove(old, at(3)).is_none());
    assert!(!given(&owner));
    let start = scheduler.start_next(&mut worker, crate::fixture::failed(&lost, at(4)), at(4));
    assert_eq!((start.batch, start.running.index), (new, 0));
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
                whole_batch(),
                None,
                at(1),
            )
            .is_none()
    );
    let mut worker = scheduler.worker();
    let call = scheduler.start(&mut worker, at(1));
    assert_eq!(call.job, 3);
    let mut other = scheduler.worker();
    assert_eq!(
        resting(scheduler.look(&mut other, at(1))),
        Time::NEVER,
        "a call still runs, and may be tried again"
    );
    let (_, claim) = scheduler.claim_next(&mut worker, delivered(&call, at(2)), at(2));
    assert!(matches!(claim, Claim::Exit));
    assert!(woken(&other));
    assert!(matches!(scheduler.look(&mut other, at(2)), Claim::Exit));
    assert!(scheduler.is_over());
}
