//! A signal that one thread waits for and any thread can give; given early, it is kept.

use std::sync::{Condvar, Mutex, PoisonError};

use super::lock::lock;
use super::time::Time;

/// Wakes the one thread that waits on it. Wait only while detached from Python.
#[derive(Debug, Default)]
pub struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Ends the wait under way, or the next one.
    pub fn notify(&self) {
        *lock(&self.given) = true;
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
        std::mem::take(&mut *given)
    }
}
