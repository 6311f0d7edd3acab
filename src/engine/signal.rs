//! A signal that one thread waits for and any thread can give; given early, it is kept.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::lock::lock;
use super::time::Time;

/// Wakes the one thread that waits on it, or calls what wakes an event loop. Wait only while detached
/// from Python.
#[derive(Default)]
pub struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
    /// Whether it is given, to be looked at without the lock.
    seen: AtomicBool,
    /// What is called instead of waking a thread.
    hook: Option<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("given", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Signal {
    /// One that nobody waits on: whoever gives it calls `hook`, on any thread.
    pub fn calling(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            hook: Some(Box::new(hook)),
            ..Self::default()
        }
    }

    /// Ends the wait under way, or the next one.
    pub fn notify(&self) {
        if let Some(hook) = &self.hook {
            hook();
            return;
        }
        let mut given = lock(&self.given);
        *given = true;
        self.seen.store(true, Ordering::Release);
        drop(given);
        self.changed.notify_one();
    }

    /// Waits for the signal, or until `deadline`; takes the signal back.
    ///
    /// Returns whether it was given.
    pub fn wait_until(&self, deadline: Time) -> bool {
        let given = lock(&self.given);
        let mut given = if deadline == Time::NEVER {
            self.changed
                .wait_while(given, |given| !*given)
                .unwrap_or_else(PoisonError::into_inner)
        } else {
            let left = deadline.since(Time::now());
            self.changed
                .wait_timeout_while(given, left, |given| !*given)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        };
        self.seen.store(false, Ordering::Relaxed);
        std::mem::take(&mut *given)
    }

    /// Looks for the signal until `deadline`, which is near, without going to sleep. Whether it is
    /// given; it is not taken back.
    pub fn spin_until(&self, deadline: Time) -> bool {
        loop {
            if self.seen.load(Ordering::Acquire) {
                return true;
            }
            // Where there are more threads than processors, others are to have this one.
            thread::yield_now();
            if Time::now() >= deadline {
                return false;
            }
        }
    }
}
