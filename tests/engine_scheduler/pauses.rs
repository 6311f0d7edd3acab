//! Pauses that servers ask for: nothing starts in them, and what they cost is told from the limit.

use paceline::engine::model::BatchId;
use paceline::engine::scheduler::Scheduler;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, SECOND, SUBMITTED, at, done, limited, unlimited, whole_batch, woken,
};

#[test]
fn nothing_starts_during_a_pause_that_a_server_asked_for() {
    let scheduler = unlimited(2);
    let (batch, _) = scheduler.add_complete(whole_batch(), 4, at(1));
    let mut workers = [scheduler.worker(), scheduler.worker()];
    let running = scheduler.start(&mut workers[0], at(1));
    scheduler.pause(SUBMITTED, at(2), at(2), at(10));
    assert_eq!(scheduler.rest(&mut workers[1], at(3)), at(10));
    assert_eq!(
        scheduler.rest_after(&mut workers[0], done(&running, at(4)), at(4)),
        Time::NEVER
    );
    // Another refusal of the same episode makes it longer, and an earlier end does not shorten it.
    scheduler.pause(SUBMITTED, at(1), at(5), at(12));
    scheduler.pause(SUBMITTED, at(1), at(6), at(7));
    assert_eq!(scheduler.rest(&mut workers[1], at(10)), at(12));
    let start = scheduler.start(&mut workers[1], at(12));
    assert_eq!(start.running.permit_wait, 0, "it was not the limit");
    assert!(woken(&workers[0]));
    assert_eq!(paused(&scheduler, batch, at(13)), (1, 10 * SECOND));
}

/// Takes a batch out: how many pauses it met, and how long it was in them.
fn paused(scheduler: &Scheduler<Plain>, batch: BatchId, now: Time) -> (usize, u64) {
    let totals = scheduler.remove(batch, now).unwrap().totals();
    (totals.pauses, totals.paused)
}

#[test]
fn a_pause_that_the_limiter_keeps_is_counted_and_not_kept_twice() {
    let (scheduler, _) = limited(1, 5, 10);
    let (batch, _) = scheduler.add_complete(whole_batch(), 2, at(1));
    let mut worker = scheduler.worker();
    scheduler.pause(SUBMITTED, at(1), at(1), at(4));
    assert_eq!(scheduler.rest(&mut worker, at(1)), at(4));
    scheduler.start(&mut worker, at(4));
    assert_eq!(paused(&scheduler, batch, at(5)), (1, 3 * SECOND));
}

#[test]
fn a_batch_is_paused_for_as_long_as_it_is_there() {
    for (began, taken_out, expected) in [
        (1, 2, 0),
        (1, 6, 4),
        (1, 11, 8),
        (5, 7, 2),
        (5, 11, 5),
        (11, 12, 0),
        (11, 25, 5),
        (1, 50, 18),
    ] {
        let scheduler = unlimited(1);
        let mut batch = None;
        for now in 1..taken_out {
            if now == began {
                batch = Some(scheduler.add_complete(whole_batch(), 1, at(now)).0);
            }
            match now {
                2 => scheduler.pause(SUBMITTED, at(2), at(2), at(7)),
                4 => scheduler.pause(SUBMITTED, at(1), at(4), at(10)),
                20 => scheduler.pause(SUBMITTED, at(20), at(20), at(30)),
                _ => {}
            }
        }
        let (_, nanos) = paused(&scheduler, batch.unwrap(), at(taken_out));
        assert_eq!(nanos, expected * SECOND, "{began} to {taken_out}");
    }
}

#[test]
fn a_wait_for_a_permit_goes_on_after_a_pause() {
    let (scheduler, limiter) = limited(1, 1, 20);
    limiter.try_acquire(1, at(1));
    let (batch, _) = scheduler.add_complete(whole_batch(), 1, at(1));
    let mut worker = scheduler.worker();
    assert_eq!(scheduler.rest(&mut worker, at(2)), at(21));
    for (from, to) in [(3, 5), (8, 12), (20, 24)] {
        scheduler.pause(SUBMITTED, at(from), at(from), at(to));
    }
    assert_eq!(scheduler.rest(&mut worker, at(21)), at(24));
    let start = scheduler.start(&mut worker, at(25));
    assert_eq!(start.running.permit_wait, 13 * SECOND);
    assert_eq!(paused(&scheduler, batch, at(26)), (3, 10 * SECOND));
}
