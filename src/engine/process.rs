//! State that a forked child must not inherit.
//!
//! A fork copies every lock as it was at that instant, and none of the threads that held one. So
//! whatever has locks or threads lives in a [`PerProcess`], which hands each process its own, or in an
//! [`Owned`], which hands it to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

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

/// A value that only the process which made it can get at.
///
/// In a forked child its locks may be held by threads that are not there. So it is not to be had
/// there, and never dropped.
#[derive(Debug)]
pub struct Owned<T> {
    made_in: u64,
    /// Always there, until it is dropped.
    value: Option<T>,
}

/// What is asked for belongs to the process that this one was forked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited;

impl<T> Owned<T> {
    /// Holds `value` for the process that calls.
    pub fn new(value: T) -> Self {
        Self {
            made_in: generation(),
            value: Some(value),
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// If this process has inherited it.
    #[inline(always)]
    pub fn get(&self) -> Result<&T, Inherited> {
        match &self.value {
            Some(value) if self.made_in == generation() => Ok(value),
            _ => Err(Inherited),
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.made_in != generation() {
            std::mem::forget(self.value.take());
        }
    }
}

/// A value of which every process has its own.
#[derive(Debug)]
pub struct PerProcess<T> {
    made_in: u64,
    first: Arc<T>,
    /// That of the process which asked last, where it is not the one that made this.
    later: ArcSwapOption<(u64, Arc<T>)>,
}

impl<T> PerProcess<T> {
    /// Holds `value` for the process that calls.
    pub fn new(value: T) -> Self {
        Self {
            made_in: generation(),
            first: Arc::new(value),
            later: ArcSwapOption::empty(),
        }
    }

    /// Calls `act` with this process's value, without touching its reference count.
    pub fn with<R>(&self, make: impl Fn() -> T, act: impl FnOnce(&T) -> R) -> R {
        if self.made_in == generation() {
            act(&self.first)
        } else {
            act(&self.get(make))
        }
    }

    /// This process's value, if it has one.
    pub fn current(&self) -> Option<Arc<T>> {
        if self.made_in == generation() {
            return Some(Arc::clone(&self.first));
        }
        let later = self.later.load();
        let (made_in, value) = later.as_deref()?;
        (*made_in == generation()).then(|| Arc::clone(value))
    }

    /// This process's value; made by `make` when the process is a child that has none yet.
    pub fn get(&self, make: impl Fn() -> T) -> Arc<T> {
        if self.made_in == generation() {
            return Arc::clone(&self.first);
        }
        // Looked at once: another thread may put a value there at any moment.
        let inherited = self.later.load_full();
        if let Some(later) = &inherited
            && later.0 == generation()
        {
            return Arc::clone(&later.1);
        }
        let fresh = Arc::new((generation(), Arc::new(make())));
        let previous = self
            .later
            .compare_and_swap(&inherited, Some(Arc::clone(&fresh)));
        if previous.as_ref().map(Arc::as_ptr) == inherited.as_ref().map(Arc::as_ptr) {
            // Never dropped here: its locks may be held by threads that this process has not.
            std::mem::forget(inherited);
            Arc::clone(&fresh.1)
        } else {
            self.get(make)
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        // What another process made is left alone, for the same reason.
        if self.made_in != generation() {
            std::mem::forget(Arc::clone(&self.first));
        }
        if let Some(later) = self.later.load_full()
            && later.0 != generation()
        {
            std::mem::forget(later);
        }
    }
}
