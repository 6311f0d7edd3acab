//! A server that refuses: one call goes first after a pause, and in the end the server is given up.

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::clock::Clock;
use paceline::engine::limiter::{Limiter, Rate};
use paceline::engine::model::{Delivery, EndReason};
use paceline::engine::retry::{GiveUp, Hopeless};
use paceline::engine::scheduler::{Claim, Scheduler, Step, Worker};
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, SECOND, SUBMITTED, Started, add, again, at, attempts, delivered, done, failed,
    foreign, given, limited, resting, stream, unlimited, whole_batch, woken,
};

fn millis(millis: u64) -> Time {
    Time::from_nanos(millis * SECOND / 1000)
}

/// Gives up as a policy of five attempts does.
fn giving_up(scheduler: Scheduler<Plain>) -> Scheduler<Plain> {
    scheduler.giving_up(Some(attempts(5).give_up()))
}

/// Until when a worker rests, which looks and does not look again for itself.
fn rests(scheduler: &Scheduler<Plain>, worker: &mut Worker, now: Time) -> Time {
    resting(scheduler.look(worker, now))
}

/// A scheduler of two workers that have both begun, at 1 s, one of which is refused for a second.
fn in_a_pause(scheduler: &Scheduler<Plain>, workers: &mut [Worker; 2]) -> Started {
    let first = scheduler.start(&mut workers[0], at(1));
    let second = scheduler.start(&mut workers[1], at(1));
    let (refused, _) = scheduler.refuse_call(&first, at(2), 1);
    assert!(refused.goes_on);
    let finished = again(&first, at(2), refused.pause.until);
    assert!(scheduler.rest_after(&mut workers[0], finished, at(2)) >= at(3));
    second
}

#[test]
fn one_goes_first_and_the_others_follow_when_it_is_answered() {
    for limit in [false, true] {
        let scheduler = if limit {
            limited(2, 10, 1).0
        } else {
            unlimited(2)
        };
        scheduler.add_complete(whole_batch(), 9, at(1));
        let mut workers = [scheduler.worker(), scheduler.worker()];
        let second = in_a_pause(&scheduler, &mut workers);
        scheduler.rest_after(&mut workers[1], done(&second, at(2)), at(2));
        let probe = scheduler.start(&mut workers[0], at(3));
        assert_eq!(probe.running.started, at(3));
        // Refusals have taken a second, so it may take two of them, and a little.
        assert_eq!(rests(&scheduler, &mut workers[1], at(3)), millis(5100));
        scheduler.finish(&mut workers[0], done(&probe, at(4)), at(4));
        assert!(
            woken(&workers[1]),
            "limit {limit}: one sleeps until the probe would be late"
        );
        let next = scheduler.start(&mut workers[1], at(4));
        // A tenth of a second for the limit of ten, half of the pause for two workers.
        let follows = if limit { 4100 } else { 4500 };
        assert_eq!(rests(&scheduler, &mut workers[0], at(4)), millis(follows));
        let third = scheduler.start(&mut workers[0], millis(follows));
        let finished = done(&next, millis(follows));
        let rest = scheduler.rest_after(&mut workers[1], finished, millis(follows));
        assert_eq!(rest, millis(if limit { 4200 } else { 5000 }));
        // For a window.
        scheduler.start(&mut workers[1], millis(5001));
        scheduler.start_next(&mut workers[0], done(&third, millis(5001)), millis(5001));
    }
}

#[test]
fn what_was_under_way_when_the_pause_began_is_of_the_same_episode() {
    let scheduler = giving_up(unlimited(2));
    let (batch, _) = scheduler.add_complete(whole_batch(), 9, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let second = in_a_pause(&scheduler, &mut workers);
    for now in 3..20 {
        let (refused, _) = scheduler.refuse_call(&second, at(now), 5);
        assert!(refused.goes_on && !refused.pause.new_episode);
        assert_eq!(refused.pause.until, at(now + 5));
    }
    assert_eq!(scheduler.ended(batch), None);
}

#[test]
fn a_probe_that_runs_long_counts_no_longer() {
    let (scheduler, _) = limited(2, 10, 1);
    scheduler.add_complete(whole_batch(), 9, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let second = in_a_pause(&scheduler, &mut workers);
    scheduler.rest_after(&mut workers[1], done(&second, at(2)), at(2));
    scheduler.start(&mut workers[0], at(3));
    let next = scheduler.start(&mut workers[1], millis(5100));
    let rest = scheduler.rest_after(&mut workers[1], done(&next, millis(5101)), millis(5101));
    assert_eq!(rest, millis(5200), "they follow one by one");
}

#[test]
fn a_probe_that_dies_hands_its_part_on() {
    for limit in [false, true] {
        let scheduler = if limit {
            limited(2, 10, 1).0
        } else {
            unlimited(2)
        };
        let (batch, _) = scheduler.add_complete(whole_batch(), 9, at(1));
        let mut workers = [scheduler.worker(), scheduler.worker()];
        let second = in_a_pause(&scheduler, &mut workers);
        scheduler.rest_after(&mut workers[1], done(&second, at(2)), at(2));
        let probe = scheduler.start(&mut workers[0], at(3));
        rests(&scheduler, &mut workers[1], at(3));
        // Its batch goes meanwhile, and another one waits.
        scheduler.remove(batch, at(3));
        scheduler.add_complete(whole_batch(), 9, at(3));
        rests(&scheduler, &mut workers[1], at(3));
        woken(&workers[1]);
        let (leftover, _) = scheduler.claim_next(&mut workers[0], failed(&probe, at(4)), at(4));
        drop(leftover);
        let (first, second) = (workers[0].lease().is_some(), woken(&workers[1]));
        assert!(first || second, "limit {limit}: nobody goes first");
        let mut probes = 0;
        for worker in &mut workers {
            if worker.lease().is_some() {
                probes += 1;
            } else if let Claim::Start(_) = scheduler.claim(worker, None, at(4)).1 {
                probes += 1;
            }
        }
        assert_eq!(probes, 1);
    }
}

#[test]
fn a_batch_ends_at_so_many_refusals_in_a_row() {
    for limit in [false, true] {
        let scheduler = giving_up(if limit {
            limited(2, 1000, 1).0
        } else {
            unlimited(2)
        });
        let (batch, owner) = scheduler.add_complete(whole_batch(), 1000, at(1));
        let mut worker = scheduler.worker();
        let mut now = at(1);
        for pause in 1..=5 {
            let start = scheduler.start(&mut worker, now);
            let (refused, given_up) =
                scheduler.refuse_call(&start, now + Duration::from_millis(10), 1);
            assert_eq!(
                (refused.goes_on, given_up.ended.len()),
                (pause < 5, pause / 5)
            );
            now = refused.pause.until;
            if pause < 5 {
                scheduler.rest_after(
                    &mut worker,
                    again(&start, now, now),
                    now - Duration::from_millis(900),
                );
                continue;
            }
            assert!(given_up.calls.is_empty() && given_up.dropped.is_empty());
            assert!(given(&owner));
            assert_eq!(scheduler.ended(batch), Some(EndReason::Refused));
            scheduler.rest_after(&mut worker, failed(&start, now), now);
        }
        assert_eq!(scheduler.step(batch, false, now), Step::Settled);
        let batch = scheduler.remove(batch, now).unwrap();
        let waiting = batch.waiting_retries().len();
        let totals = batch.totals();
        assert_eq!((totals.attempts, totals.pauses, totals.failed), (5, 4, 1));
        assert_eq!(batch.unstarted().count() + waiting + 1, 1000);
    }
}

#[test]
fn where_nothing_is_left_to_start_what_waits_has_failed() {
    let scheduler = giving_up(unlimited(3));
    let (batch, _) = scheduler.add_complete(stream(Delivery::InOrder, 9), 3, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker(), scheduler.worker()];
    let running = workers
        .each_mut()
        .map(|worker| scheduler.start(worker, at(1)));
    for (worker, start) in workers.iter_mut().zip(&running) {
        let until = scheduler.refuse_call(start, at(2), 1).0.pause.until;
        scheduler.rest_after(worker, again(start, at(2), until), at(2));
    }
    for pause in 2..=5 {
        let now = at(pause * 10);
        let start = scheduler.start(&mut workers[0], now);
        let (refused, given_up) = scheduler.refuse_call(&start, now, 1);
        assert_eq!(refused.goes_on, pause < 5);
        if refused.goes_on {
            let finished = again(&start, now, refused.pause.until);
            scheduler.rest_after(&mut workers[0], finished, now);
            continue;
        }
        assert_eq!((given_up.ended.len(), given_up.dropped.len()), (0, 2));
        scheduler.rest_after(&mut workers[0], failed(&start, now), now);
    }
    assert_eq!(scheduler.ended(batch), None);
    let outcomes: Vec<_> = std::iter::from_fn(|| {
        let next = scheduler.with(batch, paceline::engine::batch::Batch::hand_over)?;
        Some((next.as_ref()?.index, next?.record.result))
    })
    .collect();
    assert_eq!(outcomes, [(0, Err(0)), (1, Err(1)), (2, Err(2))]);
    assert_eq!(scheduler.step(batch, false, at(60)), Step::Settled);
}

#[test]
fn calls_that_wait_are_taken_back_and_later_ones_begin_anew() {
    let scheduler = giving_up(unlimited(1));
    for job in 0..3 {
        scheduler.submit(job, at(1)).unwrap();
    }
    let mut worker = scheduler.worker();
    for pause in 1..=5 {
        let now = at(pause * 10);
        let start = scheduler.start(&mut worker, now);
        let (refused, given_up) = scheduler.refuse_call(&start, now, 1);
        if refused.goes_on {
            scheduler.rest_after(&mut worker, again(&start, now, at(pause * 10 + 1)), now);
            continue;
        }
        let by = |(index, job, why)| {
            assert_eq!(why, Hopeless::Refusals(5));
            (index, job)
        };
        let mut calls: Vec<_> = given_up.calls.into_iter().map(by).collect();
        calls.push((start.running.index, start.job));
        calls.sort_unstable();
        assert_eq!(calls, [(0, 0), (1, 1), (2, 2)]);
        scheduler.rest_after(&mut worker, delivered(&start, now), now);
    }
    scheduler.submit(9, at(70)).unwrap();
    let start = scheduler.start(&mut worker, at(70));
    assert!(scheduler.refuse_call(&start, at(71), 1).0.goes_on);
}

#[test]
fn a_pause_that_is_too_long_is_waited_for_by_nobody() {
    let scheduler = giving_up(unlimited(2));
    let (batch, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    assert_eq!(scheduler.refuse_call(&start, at(2), 5000).1.ended.len(), 1);
    assert_eq!(scheduler.ended(batch), Some(EndReason::Refused));
    scheduler.rest_after(&mut worker, failed(&start, at(2)), at(2));
    // Nor by a batch that comes in the middle of it; but by one that comes near its end.
    let (batch, owner) = scheduler.add_complete(whole_batch(), 3, at(10));
    assert!(matches!(scheduler.look(&mut worker, at(10)), Claim::GiveUp));
    drop(scheduler.give_up((), |_, _, _, ()| {}, at(10)));
    assert!(given(&owner));
    assert_eq!(scheduler.ended(batch), Some(EndReason::Refused));
    scheduler.rest(&mut worker, at(10));
    let (batch, _) = scheduler.add_complete(whole_batch(), 3, at(4002));
    assert_eq!(scheduler.rest(&mut worker, at(4002)), at(5002));
    assert_eq!(scheduler.ended(batch), None);
}

#[test]
fn workers_that_would_ask_give_up_as_well() {
    let scheduler = giving_up(foreign(2));
    let (batch, _) = add(&scheduler, whole_batch(), 3);
    scheduler.pause(SUBMITTED, at(1), at(1), at(5000));
    assert_eq!(scheduler.step(batch, false, at(2)), Step::Settled);
    assert_eq!(scheduler.ended(batch), Some(EndReason::Refused));
    scheduler.submit(0, at(3)).unwrap();
    let mut worker = scheduler.worker();
    assert!(matches!(scheduler.look(&mut worker, at(3)), Claim::GiveUp));
    assert_eq!(
        scheduler.give_up((), |_, _, _, ()| {}, at(3)).calls,
        [(0, 0, Hopeless::Pause(Duration::from_secs(4997)))]
    );
    assert_eq!(scheduler.rest(&mut worker, at(3)), Time::NEVER);
}

/// Two executors on one limiter.
fn two_on_one() -> (Limiter, [Scheduler<Plain>; 2]) {
    let rate = Rate::new(100, Duration::from_secs(1), None, Some(Duration::ZERO)).unwrap();
    let limiter = Limiter::new(rate);
    let make = || {
        let limiter = Some(limiter.clone());
        let scheduler = Scheduler::new(2, limiter, Arc::new("calls".into()), Clock::default());
        giving_up(scheduler)
    };
    let schedulers = [make(), make()];
    (limiter, schedulers)
}

#[test]
fn executors_that_share_a_limiter_share_its_probe_and_its_end() {
    let (_, executors) = two_on_one();
    let batches = executors
        .each_ref()
        .map(|executor| executor.add_complete(whole_batch(), 100, at(1)).0);
    let mut workers = executors.each_ref().map(Scheduler::worker);
    for pause in 1..=5 {
        let now = at(pause * 10);
        let mut starts = Vec::new();
        for place in [0, 1] {
            let (executor, worker) = (&executors[place], &mut workers[place]);
            woken(worker);
            if let (_, Claim::Start(start)) = executor.claim(worker, None, now) {
                starts.push((place, Started::by(worker, Claim::Start(start)).unwrap()));
            } else {
                assert!(rests(executor, worker, now) > now);
            }
        }
        // At first they do not know better.
        assert_eq!(
            starts.len(),
            if pause == 1 { 2 } else { 1 },
            "in pause {pause}"
        );
        for (place, start) in starts {
            let (executor, worker) = (&executors[place], &mut workers[place]);
            let (refused, _) = executor.refuse_call(&start, now, 1);
            let finished = if refused.goes_on {
                again(&start, now, refused.pause.until)
            } else {
                failed(&start, now)
            };
            executor.rest_after(worker, finished, now);
            let (other, waiting) = (&executors[1 - place], &mut workers[1 - place]);
            if pause == 5 {
                assert!(woken(waiting), "it is not told of the pause");
                assert!(matches!(other.look(waiting, now), Claim::GiveUp));
                drop(other.give_up((), |_, _, _, ()| {}, now));
            }
        }
    }
    for (executor, batch) in executors.iter().zip(batches) {
        assert_eq!(executor.ended(batch), Some(EndReason::Refused));
    }
}

#[test]
fn the_probe_of_another_executor_opens_the_limiter() {
    let (_, [one, other]) = two_on_one();
    one.add_complete(whole_batch(), 100, at(1));
    let (mut worker, mut waiting) = (one.worker(), other.worker());
    let start = one.start(&mut worker, at(1));
    let until = one.refuse_call(&start, at(2), 1).0.pause.until;
    one.rest_after(&mut worker, again(&start, at(2), until), at(2));
    let probe = one.start(&mut worker, at(3));
    other.add_complete(whole_batch(), 100, at(3));
    assert!(rests(&other, &mut waiting, at(3)) > at(4));
    let now = millis(3500);
    one.finish(&mut worker, done(&probe, now), now);
    assert!(woken(&waiting));
    other.start(&mut waiting, now);
    assert_eq!(rests(&one, &mut worker, now), millis(3510));
}

#[test]
fn an_executor_without_a_policy_waits_and_never_gives_up() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_complete(whole_batch(), 3, at(1));
    scheduler.pause(SUBMITTED, at(1), at(1), at(9_000_000));
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.rest(&mut worker, at(2)), at(9_000_000));
    assert_eq!(scheduler.ended(batch), None);
    let never = GiveUp {
        refusals: usize::MAX,
        pause: Duration::MAX,
    };
    let scheduler = scheduler.giving_up(Some(never));
    assert_eq!(scheduler.rest(&mut worker, at(2)), at(9_000_000));
}
