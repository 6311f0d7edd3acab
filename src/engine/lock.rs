//! Taking a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, also where somebody has panicked who had it.
///
/// No code of the user's runs under a lock, so a panic there would be a fault of ours. It reaches the
/// one whose call it was, and the others are served on.
#[inline(always)]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
