//! The scheduler's lock, and whom to wake when it is released.
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use super::state::State;
use crate::engine::lock::lock;
use crate::engine::model::Work;
use crate::engine::signal::Signal;

/// Signals to be given when this is dropped: those who wait for one go on to take a lock, which is
/// best released before.
#[derive(Debug, Default)]
pub(super) struct Notices(Vec<Arc<Signal>>);

impl Notices {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, signal: Arc<Signal>) {
        self.0.push(signal);
    }
}

impl Extend<Arc<Signal>> for Notices {
    fn extend<T: IntoIterator<Item = Arc<Signal>>>(&mut self, signals: T) {
        self.0.extend(signals);
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        for signal in &self.0 {
            signal.notify();
        }
    }
}

/// The state while its lock is held. Once that is released, those are woken who are to be.
#[derive(Debug)]
pub(super) struct Locked<'a, W: Work> {
    // Fields are dropped in this order.
    state: MutexGuard<'a, State<W>>,
    notices: Option<Notices>,
}

impl<'a, W: Work> Locked<'a, W> {
    #[inline(always)]
    pub(super) fn new(state: &'a Mutex<State<W>>) -> Self {
        Self {
            state: lock(state),
            notices: None,
        }
    }
}

impl<W: Work> Deref for Locked<'_, W> {
    type Target = State<W>;

    fn deref(&self) -> &State<W> {
        &self.state
    }
}

impl<W: Work> DerefMut for Locked<'_, W> {
    fn deref_mut(&mut self) -> &mut State<W> {
        &mut self.state
    }
}

impl<W: Work> Drop for Locked<'_, W> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        self.state.check_wakeups();
        if !self.state.notices.is_empty() {
            self.notices = Some(mem::take(&mut self.state.notices));
        }
    }
}
