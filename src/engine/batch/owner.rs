//! The owner of a batch: whose verb it is, who reads its input and is handed its outcomes.

use std::sync::Arc;

use crate::engine::signal::Signal;

/// What the owner of a batch does, and by what it is woken.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(super) struct Owner {
    signal: Arc<Signal>,
    /// It stays in one call until the batch has ended.
    attends: bool,
    /// It rests until it is told.
    waits: bool,
    /// It is a worker itself, and starts operations of the batch while it waits.
    works: bool,
    /// It will not come back.
    gone: bool,
}

impl Owner {
    pub(super) const fn new(signal: Arc<Signal>, attends: bool) -> Self {
        Self {
            signal,
            attends,
            waits: false,
            works: false,
            gone: false,
        }
    }

    pub(super) const fn attends(&self) -> bool {
        self.attends
    }

    /// Nothing is to wait for it any more.
    pub(super) const fn detach(&mut self) {
        self.attends = false;
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) const fn leave(&mut self) {
        self.gone = true;
    }

    #[inline(always)]
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// Whether it waits, and starts operations meanwhile.
    pub(super) const fn waits_and_works(&self) -> bool {
        self.waits && self.works
    }

    /// It rests until it is told, or does not.
    pub(super) const fn set_waiting(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// It rests until it is told, and starts operations meanwhile if it `works`.
    pub(super) const fn rest(&mut self, works: bool) {
        self.waits = true;
        self.works = works;
    }

    /// What wakes it, which is to be given.
    pub(super) fn tell(&mut self) -> Arc<Signal> {
        self.waits = false;
        Arc::clone(&self.signal)
    }
}
