//! One worker is left alone with short operations, and another keeps monitor.

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::model::{BatchId, BatchOptions, Delivery};
use paceline::engine::scheduler::{Claim, Scheduler, Step, Worker};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

use crate::fixture::{
    Add, Plain, SUBMITTED, Started, at, done, given, resting, stream, unlimited, whole_batch, woken,
};

const LOOK: Duration = Duration::from_millis(1);
pub(crate) const SHORT: Duration = Duration::from_micros(1);

/// So many operations to read are worth a monitor.
const MANY: usize = 128;

/// An executor in which one worker is at a short operation and another keeps monitor.
pub(crate) struct Monitored {
    pub(crate) scheduler: Scheduler<Plain>,
    pub(crate) batch: BatchId,
    owner: Arc<Signal>,
    pub(crate) worker: Worker,
    pub(crate) monitor: Worker,
    pub(crate) running: Started,
    /// When the worker last claimed.
    pub(crate) now: Time,
}

impl Monitored {
    fn new(workers: usize, options: BatchOptions, count: usize) -> Self {
        Self::on(unlimited(workers), options, count)
    }

    pub(crate) fn on(scheduler: Scheduler<Plain>, options: BatchOptions, count: usize) -> Self {
        let scheduler = scheduler.one_at_a_time(true);
        let (batch, owner) = scheduler.add_batch(options, at(1));
        scheduler.feed(batch, 0..count, false, at(1));
        let (mut worker, mut monitor) = (scheduler.worker(), scheduler.worker());
        let first = scheduler.start(&mut worker, at(1));
        assert!(
            matches!(scheduler.look(&mut monitor, at(1)), Claim::Ready),
            "nothing is known of the operations"
        );
        let running = scheduler.start_next(&mut worker, done(&first, at(1) + SHORT), at(1) + SHORT);
        let until = resting(scheduler.look(&mut monitor, at(1) + SHORT));
        assert_eq!(until, at(1) + SHORT + LOOK);
        Self {
            scheduler,
            batch,
            owner,
            worker,
            monitor,
            running,
            now: at(1) + SHORT,
        }
    }

    pub(crate) fn finish_and_start(&mut self, now: Time) {
        self.now = now;
        self.running = self
            .scheduler
            .start_next(&mut self.worker, done(&self.running, now), now);
    }

    fn finish_and_rest(&mut self, now: Time) {
        self.scheduler
            .rest_after(&mut self.worker, done(&self.running, now), now);
    }
}

#[test]
fn nobody_is_woken_for_short_operations() {
    let mut at_work = Monitored::new(3, whole_batch(), 100);
    let third = at_work.scheduler.worker();
    let mut now = at(1) + SHORT;
    for _ in 0..50 {
        now = now + SHORT;
        at_work.finish_and_start(now);
    }
    assert!(!woken(&at_work.monitor) && !woken(&third));
}

#[test]
fn further_workers_that_look_sleep_on() {
    let mut at_work = Monitored::new(3, whole_batch(), 100);
    let mut third = at_work.scheduler.worker();
    let now = at(1) + SHORT;
    assert_eq!(
        resting(at_work.scheduler.look(&mut third, now)),
        Time::NEVER
    );
    at_work.finish_and_start(now);
    assert!(!woken(&third));
}

#[test]
fn the_watch_goes_on_as_long_as_something_starts() {
    let mut at_work = Monitored::new(2, whole_batch(), 3);
    let mut now = at(1) + SHORT + SHORT;
    at_work.finish_and_start(now);
    at_work.finish_and_rest(now + SHORT);
    for index in 3..50 {
        now = now + LOOK;
        let Monitored {
            scheduler,
            batch,
            worker,
            monitor,
            ..
        } = &mut at_work;
        assert_eq!(resting(scheduler.look(monitor, now)), now + LOOK);
        scheduler.feed_some(*batch, std::iter::once(index), now);
        scheduler.catch_up(now);
        assert!(woken(worker) && !woken(monitor));
        at_work.running = scheduler.start(worker, now + SHORT);
        at_work.finish_and_rest(now + SHORT + SHORT);
    }
}

#[test]
fn the_watch_goes_to_work_when_an_operation_is_not_short() {
    let mut at_work = Monitored::new(3, whole_batch(), 10_000);
    let now = at(1) + SHORT + LOOK;
    assert!(matches!(
        at_work.scheduler.look(&mut at_work.monitor, now),
        Claim::Ready
    ));
    let mut running = at_work.scheduler.start(&mut at_work.monitor, now);
    // Short as they are from here on, it takes some time until they are trusted again.
    let mut third = at_work.scheduler.worker();
    let mut now = now;
    let mut trusted = None;
    for count in 0..9_000 {
        now = now + Duration::from_nanos(1);
        let finished = done(&running, now);
        running = at_work
            .scheduler
            .start_next(&mut at_work.monitor, finished, now);
        if let Claim::Rest(_) = at_work.scheduler.look(&mut third, now) {
            trusted = Some(count);
            break;
        }
    }
    assert!(trusted.is_some_and(|count| count > 4_000), "{trusted:?}");
}

#[test]
fn the_watch_goes_to_work_for_what_is_not_known_to_be_short() {
    let mut at_work = Monitored::new(2, whole_batch(), 100);
    at_work.scheduler.submit(7, at(1) + SHORT).unwrap();
    assert!(woken(&at_work.monitor), "nobody else is there for the call");
    let now = at(1) + SHORT;
    assert!(matches!(
        at_work.scheduler.look(&mut at_work.monitor, now),
        Claim::Ready
    ));
    let call = at_work.scheduler.start(&mut at_work.monitor, now);
    assert_eq!((call.batch, call.job), (SUBMITTED, 7));
}

#[test]
fn the_watch_looks_by_itself_for_what_is_not_known_to_be_short() {
    let mut at_work = Monitored::new(3, whole_batch(), 100);
    let mut parked = at_work.scheduler.worker();
    let now = at(1) + SHORT;
    resting(at_work.scheduler.look(&mut parked, now));
    at_work.scheduler.submit(7, now).unwrap();
    assert!(woken(&parked), "a worker sleeps beside the call");
    // That one is long in coming.
    at_work.finish_and_start(now + SHORT);
    assert_eq!(at_work.running.batch, SUBMITTED);
    at_work.scheduler.submit(8, now + SHORT).unwrap();
    assert!(matches!(
        at_work.scheduler.look(&mut at_work.monitor, now + LOOK),
        Claim::Ready
    ));
}

#[test]
fn what_waits_inside_its_operation_ends_the_monitor() {
    let at_work = Monitored::new(2, whole_batch(), 100);
    at_work.scheduler.block(at(1) + SHORT);
    assert!(woken(&at_work.monitor));
}

#[test]
fn the_watch_ends_with_the_executor() {
    let mut at_work = Monitored::new(2, whole_batch(), 3);
    let now = at(1) + SHORT + SHORT;
    at_work.scheduler.finish_input(at_work.batch);
    at_work.finish_and_start(now);
    at_work.finish_and_rest(now);
    at_work.scheduler.close();
    assert!(woken(&at_work.monitor));
    assert!(matches!(
        at_work.scheduler.look(&mut at_work.monitor, now),
        Claim::Exit
    ));
}

#[test]
fn the_watch_sleeps_when_nothing_happens() {
    let mut at_work = Monitored::new(2, whole_batch(), 3);
    let now = at(1) + SHORT + SHORT;
    at_work.finish_and_start(now);
    at_work.finish_and_rest(now);
    let scheduler = &at_work.scheduler;
    assert_eq!(
        resting(scheduler.look(&mut at_work.monitor, now + LOOK)),
        now + LOOK + LOOK
    );
    let later = now + LOOK + LOOK;
    assert_eq!(
        resting(scheduler.look(&mut at_work.monitor, later)),
        Time::NEVER
    );
}

/// Takes every outcome that is ready, until there is nothing to do for the owner but to rest.
fn take_all(at_work: &Monitored, now: Time) {
    while at_work.scheduler.step(at_work.batch, false, now) == Step::HandOver {
        at_work
            .scheduler
            .with(at_work.batch, |batch| while batch.hand_over().is_some() {});
    }
    given(&at_work.owner);
}

#[test]
fn an_owner_is_told_when_the_worker_has_nothing_more_to_start() {
    let mut at_work = Monitored::new(2, stream(Delivery::AsCompleted, 9), 3);
    at_work.scheduler.finish_input(at_work.batch);
    let now = at(1) + SHORT + SHORT;
    take_all(&at_work, now);
    at_work.finish_and_start(now);
    assert!(!given(&at_work.owner), "it would queue for the interpreter");
    at_work.finish_and_rest(now + SHORT);
    assert!(given(&at_work.owner));
}

#[test]
fn an_owner_is_told_when_the_watch_looks() {
    let mut at_work = Monitored::new(2, stream(Delivery::AsCompleted, 9), 9);
    at_work.scheduler.finish_input(at_work.batch);
    let now = at(1) + SHORT + SHORT;
    take_all(&at_work, now);
    at_work.finish_and_start(now);
    assert!(!given(&at_work.owner), "it would queue for the interpreter");
    at_work.scheduler.look(&mut at_work.monitor, now + LOOK);
    assert!(given(&at_work.owner));
}

#[test]
fn what_is_fed_during_a_watch_is_seen_to_when_its_owner_rests() {
    let mut at_work = Monitored::new(2, stream(Delivery::AsCompleted, 9), 3);
    let now = at(1) + SHORT + SHORT;
    at_work.finish_and_start(now);
    at_work.finish_and_rest(now);
    assert!(
        at_work
            .scheduler
            .feed_some(at_work.batch, std::iter::once(3), now),
        "outcomes are ready"
    );
    assert!(
        !woken(&at_work.worker),
        "it would queue for the interpreter"
    );
    at_work.scheduler.catch_up(now);
    assert!(woken(&at_work.worker));
}

#[test]
fn operations_that_run_side_by_side_are_not_watched() {
    let scheduler = unlimited(2);
    scheduler.add_complete(whole_batch(), 9, at(1));
    let (mut worker, mut other) = (scheduler.worker(), scheduler.worker());
    let first = scheduler.start(&mut worker, at(1));
    scheduler.start_next(&mut worker, done(&first, at(1)), at(1));
    assert!(matches!(scheduler.look(&mut other, at(1)), Claim::Ready));
}

/// One that keeps monitor, and an owner that reads while the worker has nothing to do.
fn reading() -> (Monitored, Time) {
    let mut at_work = Monitored::new(2, stream(Delivery::AsCompleted, 9), 3);
    let now = at(1) + SHORT + SHORT;
    at_work.finish_and_start(now);
    at_work.finish_and_rest(now);
    assert!(at_work.scheduler.begin_reading(at_work.batch, 9, now));
    (at_work, now)
}

#[test]
fn what_was_read_is_collected_when_the_next_is_long_in_coming() {
    let (mut at_work, now) = reading();
    let (scheduler, monitor) = (&at_work.scheduler, &mut at_work.monitor);
    assert_eq!(resting(scheduler.look(monitor, now + LOOK)), now + LOOK * 2);
    let claim = scheduler.look(monitor, now + LOOK * 2);
    assert!(matches!(claim, Claim::Collect), "{claim:?}");
    let (batch, context) = scheduler.take_reading().unwrap();
    assert_eq!((batch, context.as_str()), (at_work.batch, "batch"));
    assert!(scheduler.take_reading().is_none());
    scheduler.feed_some(batch, 3..5, now);
    assert_eq!(scheduler.start(monitor, now + LOOK * 2).job, 3);
    assert!(
        !scheduler.begin_reading(batch, 9, now),
        "nobody keeps monitor any more"
    );
}

#[test]
fn what_was_read_is_added_by_its_owner_where_that_comes_first() {
    let (mut at_work, now) = reading();
    at_work.scheduler.end_reading(at_work.batch, false);
    at_work.scheduler.look(&mut at_work.monitor, now + LOOK);
    assert_eq!(
        resting(at_work.scheduler.look(&mut at_work.monitor, now + LOOK * 2)),
        Time::NEVER
    );
}

#[test]
fn what_was_read_is_collected_whatever_ended_the_monitor() {
    let (mut at_work, now) = reading();
    at_work.scheduler.block(now);
    let claim = at_work.scheduler.look(&mut at_work.monitor, now);
    assert!(matches!(claim, Claim::Collect), "{claim:?}");

    let mut at_work = Monitored::new(2, stream(Delivery::AsCompleted, 9), 4);
    assert!(at_work.scheduler.begin_reading(at_work.batch, 9, now));
    let now = at(1) + SHORT;
    at_work.scheduler.pause(at_work.batch, now, now, at(9));
    let finished = done(&at_work.running, now);
    let (_, claim) = at_work
        .scheduler
        .claim_next(&mut at_work.worker, finished, now);
    assert_eq!(
        resting(claim),
        at(9),
        "it waits for all, and nobody watches"
    );
    let claim = at_work.scheduler.look(&mut at_work.monitor, now + LOOK);
    assert!(matches!(claim, Claim::Collect), "{claim:?}");
}

#[test]
fn what_was_read_is_collected_whatever_else_starts_meanwhile() {
    let mut at_work = Monitored::new(3, stream(Delivery::AsCompleted, 99), 4);
    let (other, _) = at_work
        .scheduler
        .add_batch(stream(Delivery::AsCompleted, 9), at(1));
    let mut now = at_work.now;
    at_work.scheduler.feed_some(other, 0..1, now);
    for _ in 0..2 {
        now = now + SHORT;
        at_work.finish_and_start(now);
    }
    // Now the other one is known to be short, too.
    let claim = at_work.scheduler.look(&mut at_work.monitor, now);
    assert_eq!(resting(claim), now + LOOK);
    at_work.finish_and_start(now + SHORT);
    at_work.finish_and_rest(now + SHORT);
    assert!(at_work.scheduler.begin_reading(other, 9, now));
    let mut work_until = |look| {
        let began = look - SHORT;
        at_work.scheduler.feed_some(at_work.batch, 4..5, began);
        at_work.scheduler.catch_up(began);
        at_work.running = at_work.scheduler.start(&mut at_work.worker, began);
        at_work.finish_and_rest(look);
        at_work.scheduler.look(&mut at_work.monitor, look)
    };
    assert_eq!(resting(work_until(now + LOOK)), now + LOOK * 2);
    let claim = work_until(now + LOOK * 2);
    assert!(matches!(claim, Claim::Collect), "{claim:?}");
    assert_eq!(at_work.scheduler.take_reading().unwrap().0, other);
}

#[test]
fn operations_that_are_not_known_to_be_short_are_added_one_by_one() {
    let at_work = Monitored::new(2, whole_batch(), 9);
    let (other, _) = at_work
        .scheduler
        .add_batch(stream(Delivery::AsCompleted, 9), at(1));
    assert!(!at_work.scheduler.begin_reading(other, 9, at(1)));
    let unwatched = unlimited(2).one_at_a_time(true);
    let (batch, _) = unwatched.add_complete(stream(Delivery::AsCompleted, 9), 9, at(1));
    let mut worker = unwatched.worker();
    let first = unwatched.start(&mut worker, at(1));
    unwatched.start_next(&mut worker, done(&first, at(1)), at(1));
    assert!(!unwatched.begin_reading(batch, 9, at(1)));
}

/// Two workers who sleep after short operations, and an owner who has more to read.
fn asleep() -> (Monitored, Time) {
    let (mut at_work, now) = reading();
    at_work.scheduler.end_reading(at_work.batch, false);
    let later = now + LOOK * 2;
    for now in [now + LOOK, later] {
        resting(at_work.scheduler.look(&mut at_work.monitor, now));
    }
    (at_work, later)
}

#[test]
fn one_of_those_who_sleep_monitors_while_many_are_read() {
    let (mut at_work, now) = asleep();
    let (scheduler, batch) = (&at_work.scheduler, at_work.batch);
    assert!(!scheduler.begin_reading(batch, MANY - 1, now), "too few");
    assert!(scheduler.begin_reading(batch, MANY, now));
    assert!(woken(&at_work.worker) && !woken(&at_work.monitor));
    let (posted, other) = (&mut at_work.worker, &mut at_work.monitor);
    assert_eq!(resting(scheduler.look(posted, now)), now + LOOK);
    scheduler.feed_some(batch, 3..5, now);
    scheduler.end_reading(batch, false);
    scheduler.catch_up(now);
    assert!(woken(other), "it is left to work");
    let running = scheduler.start(other, now + SHORT);
    assert_eq!(running.job, 3);
    assert_eq!(resting(scheduler.look(posted, now + LOOK)), now + LOOK * 2);
}

#[test]
fn nobody_monitors_for_an_input_that_was_long_in_coming() {
    let (mut at_work, now) = asleep();
    let (scheduler, batch) = (&at_work.scheduler, at_work.batch);
    assert!(scheduler.begin_reading(batch, MANY, now));
    let (posted, other) = (&mut at_work.worker, &mut at_work.monitor);
    assert_eq!(resting(scheduler.look(posted, now)), now + LOOK);
    let now = now + LOOK;
    let claim = scheduler.look(posted, now);
    assert!(matches!(claim, Claim::Collect), "{claim:?}");
    assert!(scheduler.take_reading().is_some());
    assert_eq!(resting(scheduler.look(posted, now)), Time::NEVER);
    for fed in [3..4_098, 4_098..4_099] {
        assert!(!scheduler.begin_reading(batch, MANY, now), "it may be slow");
        scheduler.feed_some(batch, fed.clone(), now);
        let mut running = scheduler.start(other, now);
        while running.job + 1 < fed.end {
            running = scheduler.start_next(other, done(&running, now), now);
        }
        scheduler.rest_after(other, done(&running, now), now);
        resting(scheduler.look(posted, now));
    }
    assert!(
        scheduler.begin_reading(batch, MANY, now),
        "it may be quick now"
    );
}

#[test]
fn nobody_monitors_who_is_left_to_work() {
    let (at_work, now) = asleep();
    let scheduler = &at_work.scheduler;
    scheduler.feed_some(at_work.batch, 3..4, now);
    assert!(woken(&at_work.monitor));
    assert!(!scheduler.begin_reading(at_work.batch, MANY, now));
    assert!(!woken(&at_work.worker), "there is nobody else");
}
