//! State that a forked child must not inherit.
//!
//! A fork copies every lock as it was at that instant, and none of the threads that held one. So
//! whatever has locks or threads lives in a [`PerProcess`], which hands each process its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

static FORKS: AtomicU64 = AtomicU64::new(0);

/// Tells that this process is a child that was just forked. Called in the child, before any other
/// use of the engine there.
pub fn forked() {
    FORKS.fetch_add(1, Ordering::SeqCst);
}

/// Which process this is, counted in forks from the first one.
pub fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// A value of which every process has its own.
#[derive(Debug)]
pub struct PerProcess<T> {
    slot: ArcSwap<(u64, Arc<T>)>,
}

impl<T> PerProcess<T> {
    /// Holds `value` for the process that calls.
    pub fn new(value: T) -> Self {
        Self {
            slot: ArcSwap::from_pointee((generation(), Arc::new(value))),
        }
    }

    /// Calls `act` with this process's value, without touching its reference count.
    pub fn with<R>(&self, make: impl Fn() -> T, act: impl FnOnce(&T) -> R) -> R {
        let current = self.slot.load();
        if current.0 == generation() {
            act(&current.1)
        } else {
            drop(current);
            act(&self.get(make))
        }
    }

    /// This process's value, if it has one.
    pub fn current(&self) -> Option<Arc<T>> {
        let current = self.slot.load();
        (current.0 == generation()).then(|| Arc::clone(&current.1))
    }

    /// This process's value; made by `make` when the process is a child that has none yet.
    pub fn get(&self, make: impl Fn() -> T) -> Arc<T> {
        let current = self.slot.load();
        if current.0 == generation() {
            return Arc::clone(&current.1);
        }
        // The parent's value is never dropped here: its locks may be held by threads that do not
        // exist in this process.
        std::mem::forget(Arc::clone(&current.1));
        let fresh = Arc::new((generation(), Arc::new(make())));
        let previous = self.slot.compare_and_swap(&current, Arc::clone(&fresh));
        if Arc::ptr_eq(&previous, &current) {
            Arc::clone(&fresh.1)
        } else {
            self.get(make)
        }
    }
}
