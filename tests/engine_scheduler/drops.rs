//! What is to be dropped is dropped without the lock: dropping it may come back to the scheduler.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use paceline::engine::clock::Clock;
use paceline::engine::model::{BatchId, BatchOptions, Delivery, EndReason, Ending, Finished, Work};
use paceline::engine::scheduler::{Claim, Scheduler, Start};

use crate::fixture::{at, stream};

/// Everything that it carries calls back when it is dropped.
#[derive(Debug)]
struct Dropping;

impl Work for Dropping {
    type Context = ();
    type Job = Thing;
    type Value = Thing;
    type Error = Thing;
}

/// Dropped while the scheduler is locked, it tells so.
#[derive(Debug)]
struct Thing {
    scheduler: Arc<Scheduler<Dropping>>,
    locked: Arc<AtomicBool>,
}

impl Drop for Thing {
    fn drop(&mut self) {
        let scheduler = Arc::clone(&self.scheduler);
        let (told, answer) = mpsc::channel();
        thread::spawn(move || {
            scheduler.closed();
            let _ = told.send(());
        });
        if answer.recv_timeout(Duration::from_secs(2)).is_err() {
            self.locked.store(true, Ordering::SeqCst);
        }
    }
}

struct Setup {
    scheduler: Arc<Scheduler<Dropping>>,
    locked: Arc<AtomicBool>,
    batch: BatchId,
}

impl Setup {
    /// One worker, and a stream of two operations.
    fn new() -> Self {
        let scheduler = Arc::new(Scheduler::new(1, None, Arc::new(()), Clock::default()));
        let options: BatchOptions = stream(Delivery::InOrder, 9);
        let batch = scheduler
            .add(Arc::new(()), Arc::default(), options, None, at(1))
            .unwrap();
        let setup = Self {
            scheduler,
            locked: Arc::default(),
            batch,
        };
        let jobs = vec![setup.thing(), setup.thing()];
        setup.scheduler.feed(batch, jobs.into_iter(), true, at(1));
        setup
    }

    fn thing(&self) -> Thing {
        Thing {
            scheduler: Arc::clone(&self.scheduler),
            locked: Arc::clone(&self.locked),
        }
    }

    fn value(&self) -> Ending<Dropping> {
        Ending::Result(Ok(self.thing()), false)
    }

    /// Runs both operations; the first ends in one way, the second in another.
    fn run(
        &self,
        first: impl FnOnce(Start<Dropping>) -> Ending<Dropping>,
        between: impl FnOnce(),
        second: impl FnOnce(Start<Dropping>) -> Ending<Dropping>,
    ) {
        let mut worker = self.scheduler.worker();
        let (_, claim) = self.scheduler.claim(&mut worker, None, at(1));
        let Claim::Start(start) = claim else {
            panic!("nothing starts")
        };
        let finished = Finished {
            ended: at(2),
            ending: first(start),
            waited: 0,
        };
        let (leftover, mut claim) = self.scheduler.claim(&mut worker, Some(finished), at(2));
        if leftover.is_some() {
            drop(leftover);
            claim = self.scheduler.claim(&mut worker, None, at(2)).1;
        }
        let Claim::Start(start) = claim else {
            panic!("nothing starts")
        };
        between();
        let finished = Finished {
            ended: at(3),
            ending: second(start),
            waited: 0,
        };
        let (leftover, _) = self.scheduler.claim(&mut worker, Some(finished), at(3));
        drop(leftover);
    }

    fn check(&self) {
        assert!(
            !self.locked.load(Ordering::SeqCst),
            "something was dropped within the lock"
        );
        // Break the circle of those that refer to the scheduler from within.
        drop(self.scheduler.remove(self.batch, at(9)));
        drop(
            self.scheduler
                .withdraw_all(Scheduler::<Dropping>::SUBMITTED),
        );
    }
}

#[test]
fn what_a_removed_batch_returns() {
    let setup = Setup::new();
    let remove = || drop(setup.scheduler.remove(setup.batch, at(2)));
    setup.run(|_| setup.value(), remove, |_| setup.value());
    setup.check();
}

#[test]
fn a_retry_that_comes_too_late_for_a_removed_batch() {
    let setup = Setup::new();
    let remove = || drop(setup.scheduler.remove(setup.batch, at(2)));
    let again = |start: Start<Dropping>| Ending::Again(setup.thing(), at(5), start.job);
    setup.run(|_| setup.value(), remove, again);
    setup.check();
}

#[test]
fn a_retry_that_comes_too_late() {
    let setup = Setup::new();
    let end = || setup.scheduler.end(setup.batch, EndReason::Failed, at(2));
    let again = |start: Start<Dropping>| Ending::Again(setup.thing(), at(5), start.job);
    setup.run(|_| setup.value(), end, again);
    setup.check();
}

#[test]
fn the_result_of_an_orphan() {
    let setup = Setup::new();
    drop(setup.scheduler.orphan(setup.batch, at(2)));
    setup.run(|_| setup.value(), || (), |_| setup.value());
    setup.check();
}

#[test]
fn a_retry_that_comes_too_late_for_an_orphan() {
    let setup = Setup::new();
    drop(setup.scheduler.orphan(setup.batch, at(2)));
    let end = || {
        setup
            .scheduler
            .end(setup.batch, EndReason::Cancelled, at(2));
    };
    let again = |start: Start<Dropping>| Ending::Again(setup.thing(), at(5), start.job);
    setup.run(|_| setup.value(), end, again);
    setup.check();
}

#[test]
fn what_orphaning_leaves() {
    let setup = Setup::new();
    let orphan = || drop(setup.scheduler.orphan(setup.batch, at(2)));
    let again = |start: Start<Dropping>| Ending::Again(setup.thing(), at(5), start.job);
    setup.run(again, orphan, |_| setup.value());
    setup.check();
}
