//! The scheduler's lock: when it is released, those are woken who are to be.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

use super::idle::WakeList;
use super::state::State;
use crate::engine::lock::lock;
use crate::engine::model::Work;

/// The state while its lock is held.
#[derive(Debug)]
pub(super) struct Locked<'a, W: Work> {
    // Fields are dropped in this order.
    state: MutexGuard<'a, State<W>>,
    wakes: Option<WakeList>,
}

impl<'a, W: Work> Locked<'a, W> {
    #[inline(always)]
    pub(super) fn new(state: &'a Mutex<State<W>>) -> Self {
        Self {
            state: lock(state),
            wakes: None,
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
        self.wakes = self.state.idle.take_wakes();
    }
}
