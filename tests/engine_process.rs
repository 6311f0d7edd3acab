//! State that a forked child does not inherit, and the signal that threads wait on.
//!
//! Telling the engine of a fork concerns the whole process, so these tests are one after another in
//! a program of their own.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use paceline::engine::limiter::{Limiter, Rate, Turn};
use paceline::engine::process::{PerProcess, forked, generation};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[expect(clippy::disallowed_methods)] // it guards nothing of the engine
fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts how many of it were made and dropped.
#[derive(Debug, Default)]
struct Counts {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

#[derive(Debug)]
struct Counted {
    number: usize,
    counts: Arc<Counts>,
}

impl Counted {
    fn new(counts: &Arc<Counts>) -> Self {
        let number = counts.made.fetch_add(1, Ordering::SeqCst);
        Self {
            number,
            counts: Arc::clone(counts),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn every_process_has_a_value_of_its_own() {
    let _alone = alone();
    let counts = Arc::<Counts>::default();
    let make = || Counted::new(&counts);
    let state = PerProcess::new(make());
    let before = generation();
    assert_eq!(state.get(make).number, 0);
    assert_eq!(state.with(make, |value| value.number), 0);
    for child in 1..4 {
        forked();
        assert_eq!(generation(), before + child as u64);
        assert!(state.current().is_none());
        // Whichever comes first makes it, once.
        if child % 2 == 0 {
            assert_eq!(state.get(make).number, child);
        }
        assert_eq!(state.with(make, |value| value.number), child);
        assert_eq!(state.get(make).number, child);
        assert_eq!(state.current().unwrap().number, child);
    }
    assert_eq!(counts.made.load(Ordering::SeqCst), 4);
    assert_eq!(
        counts.dropped.load(Ordering::SeqCst),
        0,
        "a parent's locks were touched"
    );
    drop(state);
    assert_eq!(
        counts.dropped.load(Ordering::SeqCst),
        1,
        "only this process's own is dropped"
    );
}

#[test]
fn threads_of_a_child_agree_on_its_value() {
    let _alone = alone();
    for _ in 0..50 {
        let counts = Arc::<Counts>::default();
        let state = PerProcess::new(Counted::new(&counts));
        forked();
        let start = Barrier::new(4);
        let numbers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        state.get(|| Counted::new(&counts)).number
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let current = state.current().unwrap().number;
        assert!(current > 0);
        assert!(
            numbers.iter().all(|number| *number == current),
            "{numbers:?}, {current}"
        );
        // Those that came too late have gone, the parent's has not.
        let made = counts.made.load(Ordering::SeqCst);
        assert_eq!(counts.dropped.load(Ordering::SeqCst), made - 2);
    }
}

#[test]
fn a_child_has_a_fresh_limiter_that_keeps_the_same_rate() {
    let _alone = alone();
    let now = Time::from_nanos(5);
    let limiter = Limiter::new(Rate::new(2, Duration::from_secs(10), None, None).unwrap());
    assert!(limiter.try_acquire(1, now) && limiter.try_acquire(1, now));
    limiter.pause_until(now + Duration::from_secs(100), now);
    let (first, second) = (Arc::<Signal>::default(), Arc::<Signal>::default());
    let mut ahead = limiter.enqueue(1, Arc::clone(&first));
    let behind = limiter.enqueue(1, Arc::clone(&second));
    forked();
    // The parent's permits, pause and queue are not counted here.
    assert_eq!(limiter.wait_time(1, now), Duration::ZERO);
    assert!(limiter.try_acquire(2, now));
    assert!(!limiter.try_acquire(1, now));
    // Nor do the parent's tickets stand in its queue.
    let mut own = limiter.enqueue(1, Arc::default());
    ahead.step_aside();
    let later = now + Duration::from_secs(11);
    assert_eq!(ahead.try_start(later), Turn::Behind);
    drop((ahead, behind));
    assert!(!second.wait_until(Time::default()));
    let Turn::At(due) = own.try_start(now) else {
        panic!("the child is not first in its queue")
    };
    assert_eq!(own.try_start(due), Turn::Ready);
}

#[test]
fn a_signal_given_early_is_kept_and_taken_once() {
    let signal = Signal::default();
    assert!(!signal.wait_until(Time::default()));
    assert!(!signal.wait_until(Time::now() + Duration::from_millis(5)));
    signal.notify();
    signal.notify();
    assert!(signal.wait_until(Time::NEVER));
    assert!(!signal.wait_until(Time::default()));
}

#[test]
fn a_wait_lasts_to_its_deadline() {
    let signal = Signal::default();
    let until = Time::now() + Duration::from_millis(30);
    assert!(!signal.wait_until(until));
    assert!(Time::now() >= until);
}

#[test]
fn a_look_out_ends_with_the_signal_and_leaves_it_given() {
    let signal = Signal::default();
    let until = Time::now() + Duration::from_millis(5);
    assert!(!signal.spin_until(until));
    assert!(Time::now() >= until);
    signal.notify();
    assert!(signal.spin_until(Time::default()));
    assert!(signal.wait_until(Time::default()));
    assert!(!signal.spin_until(Time::default()));
    thread::scope(|scope| {
        scope.spawn(|| signal.notify());
        assert!(signal.spin_until(Time::now() + Duration::from_secs(60)));
    });
}

#[test]
fn threads_hand_a_turn_to_and_fro() {
    let (request, answer) = (Signal::default(), Signal::default());
    let turns = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..1000 {
                assert!(request.wait_until(Time::NEVER));
                turns.fetch_add(1, Ordering::SeqCst);
                answer.notify();
            }
        });
        for turn in 0..1000 {
            assert_eq!(turns.load(Ordering::SeqCst), turn);
            request.notify();
            assert!(
                answer.wait_until(Time::now() + Duration::from_secs(60)),
                "a signal was lost"
            );
        }
    });
}
