//! Looking out for a moment before going to sleep: what has just been short may soon be followed by
//! more.
//!
//! To be woken takes a thread longer than a short operation. So a worker that has just run one looks
//! out for the next, without the interpreter, as long as waking would take. Whoever gives it something
//! then has the interpreter, and is mostly about to wait for that: a worker that came for it at once
//! would have to sleep until it is let go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::engine::time::Time;

/// How long a thread looks out: about what it takes to put it to sleep and to wake it.
const LONGEST: Duration = Duration::from_micros(20);

/// What took a worker less was short.
const SHORT: Duration = Duration::from_micros(100);

/// How long the thread that gave it something may have the interpreter, to begin to wait.
const COURTESY: Duration = Duration::from_micros(4);

/// Where there is one processor, a thread that looks out only keeps others from it.
static MAY: AtomicBool = AtomicBool::new(false);

/// A thread looks out: one at a time is enough.
static ONE_DOES: AtomicBool = AtomicBool::new(false);

/// Finds out, which takes a while, before there are workers: one that was about it when the process
/// forks would never tell the child's.
pub(super) fn prepare() {
    let several = thread::available_parallelism().is_ok_and(|it| it.get() > 1);
    MAY.store(several, Ordering::Relaxed);
}

/// Called in a child process that was just forked: the thread that looked out is not there.
pub(super) fn forked() {
    ONE_DOES.store(false, Ordering::Relaxed);
}

/// Whether the threads of an executor are to look out, and how.
#[derive(Debug)]
pub(crate) struct LookOut {
    /// Threads take turns at the interpreter.
    one_at_a_time: bool,
    /// What a worker ran last was short.
    short: AtomicBool,
}

impl LookOut {
    pub(super) const fn new(one_at_a_time: bool) -> Self {
        Self {
            one_at_a_time,
            short: AtomicBool::new(false),
        }
    }

    /// Notes how long a worker had the interpreter.
    pub(super) fn note(&self, took: Duration) {
        self.short.store(took < SHORT, Ordering::Relaxed);
    }

    /// Calls `look` with the time until which to look out, on a thread without the interpreter, if what
    /// ran last was short and no other thread looks out. If that is told something, the interpreter is
    /// left to others for a moment where threads take turns at it.
    pub(super) fn wait(&self, look: impl FnOnce(Time) -> bool) {
        let may = self.short.load(Ordering::Relaxed) && MAY.load(Ordering::Relaxed);
        if !may || ONE_DOES.swap(true, Ordering::Relaxed) {
            return;
        }
        let told = look(Time::now() + LONGEST);
        ONE_DOES.store(false, Ordering::Relaxed);
        if told && self.one_at_a_time {
            let until = Time::now() + COURTESY;
            while Time::now() < until {
                thread::yield_now();
            }
        }
    }
}
