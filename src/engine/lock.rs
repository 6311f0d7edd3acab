//! Taking a lock, and what may be done under one.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, also where somebody has panicked who had it.
///
/// No code of the user's runs under a lock, so a panic there would be a fault of ours. It reaches the
/// one whose call it was, and the others are served on.
#[inline(always)]
#[expect(clippy::disallowed_methods)] // the one place where a mutex is locked
pub(in crate::engine) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What may be used under a lock though it belongs to one thread: nothing that it can do runs code of
/// the user's, or lets go of the interpreter.
pub trait LockSafe {}

impl LockSafe for () {}

/// A value behind a lock, for code that has to do with the interpreter.
///
/// Whoever has the lock must not run Python code: that may wait for another thread which waits for
/// this lock, and may run the collector, which takes it on the same thread. So the guard is never
/// handed out: what is done under the lock is a closure that is `Send`. It cannot hold `Python<'_>` or
/// a `Bound`, without which Python cannot be called. What it is to drop, it returns.
#[derive(Debug, Default)]
pub(crate) struct Guarded<T>(Mutex<T>);

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R + Send) -> R {
        act(&mut lock(&self.0))
    }

    /// The same with something lent to `act` that is not `Send`, and harmless.
    #[inline(always)]
    pub(crate) fn with_lent<L: LockSafe, R>(
        &self,
        lent: L,
        act: impl FnOnce(&mut T, L) -> R + Send,
    ) -> R {
        act(&mut lock(&self.0), lent)
    }
}
