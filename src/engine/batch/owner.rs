//! The owner of a batch: whose verb it is, who reads its input and is handed its outcomes.

use std::sync::Arc;

use crate::engine::signal::Signal;

/// What the owner of a batch does, and by what it is woken.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(in crate::engine) struct Owner {
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
    pub(in crate::engine) const fn new(signal: Arc<Signal>, attends: bool) -> Self {
        Self {
            signal,
            attends,
            waits: false,
            works: false,
            gone: false,
        }
    }

    pub(in crate::engine) const fn attends(&self) -> bool {
        self.attends
    }

    /// Nothing is to wait for it any more.
    pub(in crate::engine) const fn detach(&mut self) {
        self.attends = false;
    }

    pub(in crate::engine) const fn is_gone(&self) -> bool {
        self.gone
    }

    pub(in crate::engine) const fn leave(&mut self) {
        self.gone = true;
    }

    #[inline(always)]
    pub(in crate::engine) const fn waits(&self) -> bool {
        self.waits
    }

    /// Whether it waits, and starts operations meanwhile.
    pub(in crate::engine) const fn waits_and_works(&self) -> bool {
        self.waits && self.works
    }

    /// It rests until it is told, or does not.
    pub(in crate::engine) const fn set_waiting(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// It rests until it is told, and starts operations meanwhile if it `works`.
    pub(in crate::engine) const fn rest(&mut self, works: bool) {
        self.waits = true;
        self.works = works;
    }

    /// What wakes it, which is to be given.
    pub(in crate::engine) fn tell(&mut self) -> Arc<Signal> {
        self.waits = false;
        Arc::clone(&self.signal)
    }
}
