//! How far asking for the next permit of a limiter that is not ours has come.

use std::mem;
use std::sync::Arc;

use crate::engine::signal::Signal;

/// How far asking for the next permit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No worker asks.
    Nobody,
    /// A worker does: between two operations, or `nested` inside one.
    Worker { nested: bool },
    /// A permit was granted, which the next start uses.
    Granted,
}

/// The next permit of a limiter that is not ours.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// None where permits come from a limiter of ours, or none are needed.
    stage: Option<Stage>,
    /// The workers that wait inside an operation until the permit was granted or refused.
    waiting: Vec<Arc<Signal>>,
}

impl Asking {
    /// Permits are to be asked for, or are not.
    pub(super) fn new(asks: bool) -> Self {
        Self {
            stage: asks.then_some(Stage::Nobody),
            waiting: Vec::new(),
        }
    }

    /// How far it has come; None where no permits are to be asked for.
    #[inline(always)]
    pub(super) const fn stage(&self) -> Option<Stage> {
        self.stage
    }

    /// Whether permits are to be asked for.
    pub(super) const fn is_needed(&self) -> bool {
        self.stage.is_some()
    }

    /// Whether a worker asks, so that nothing can start before its answer.
    #[inline(always)]
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self.stage, Some(Stage::Worker { .. }))
    }

    /// Whether a worker asks, and not inside an operation: it may never be answered.
    pub(super) const fn may_never_return(&self) -> bool {
        matches!(self.stage, Some(Stage::Worker { nested: false }))
    }

    /// Whether there is a permit that the next start uses.
    #[inline(always)]
    pub(super) fn is_granted(&self) -> bool {
        self.stage == Some(Stage::Granted)
    }

    /// A worker asks, between two operations or `nested` inside one.
    pub(super) const fn begin(&mut self, nested: bool) {
        self.stage = Some(Stage::Worker { nested });
    }

    /// A worker waits inside an operation for the answer.
    pub(super) fn await_answer(&mut self, signal: Arc<Signal>) {
        self.waiting.push(signal);
    }

    /// The permit was granted.
    pub(super) const fn grant(&mut self) {
        self.stage = Some(Stage::Granted);
    }

    /// No worker asks any more, and there is no permit. Gives what wakes those who wait for that.
    pub(super) fn end(&mut self) -> Vec<Arc<Signal>> {
        self.stage = Some(Stage::Nobody);
        mem::take(&mut self.waiting)
    }
}
