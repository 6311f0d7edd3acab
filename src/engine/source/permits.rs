//! What could start, and the permits that were asked for or granted before a worker was there.

use super::Source;
use crate::engine::terms::{End, Gate, Work};
use crate::engine::time::Time;

/// An operation that has its permit and no worker yet.
#[derive(Debug)]
pub(super) struct Granted<J> {
    pub(super) index: usize,
    pub(super) attempts: u32,
    pub(super) waited: u64,
    pub(super) permit_wait: u64,
    pub(super) job: J,
}

impl<W: Work> Source<W> {
    /// Operations that could start now if there were permits.
    pub(in crate::engine) fn startable(&self, now: Time) -> usize {
        if self.ended.is_some() || now >= self.terms.deadline {
            return 0;
        }
        self.live
            + self
                .retries
                .iter()
                .filter(|retry| retry.0.due <= now)
                .count()
    }

    /// Whether a worker could start something now.
    pub(in crate::engine) fn available(&self, now: Time) -> bool {
        if !self.granted.is_empty() && self.uses_its_permits() {
            return self.ended.is_some() || now < self.terms.deadline;
        }
        self.ended.is_none()
            && now < self.terms.deadline
            && (self.terms.gate == Gate::Worker || self.spare_permits > 0)
            && (self.live > 0 || self.retry_due(now))
    }

    /// Whether operations that have their permit still start: what waits for running operations
    /// waits for these as well.
    pub(super) fn uses_its_permits(&self) -> bool {
        matches!(
            self.ended,
            None | Some(End::Operation | End::MaxFailures | End::Limiter | End::Failed)
        )
    }

    /// Permits that were granted or asked for, and are not used yet.
    pub(in crate::engine) fn reserved(&self, now: Time) -> usize {
        if !self.uses_its_permits() {
            return 0;
        }
        // Whoever asked has told so by ending the source.
        let given_up = matches!(self.ended, Some(End::Limiter | End::Failed));
        let asking = if given_up { 0 } else { self.asking };
        asking + self.granted.len() + self.spare_permits.min(self.startable(now))
    }

    /// Operations that a further worker could start.
    pub(in crate::engine) fn ready_for_workers(&self, now: Time) -> usize {
        match self.terms.gate {
            Gate::Worker if self.startable(now) == 0 => 0,
            Gate::Worker => self.live + self.retries.len(),
            Gate::Owner | Gate::Dispatcher => {
                self.granted.len() + self.spare_permits.min(self.startable(now))
            }
        }
    }

    /// Whether its owner, or the dispatcher, is to ask for one more permit.
    pub(in crate::engine) fn wants_permit(&self, now: Time) -> bool {
        self.asking == 0 && self.startable(now) > self.spare_permits
    }

    /// A permit was granted: it is for the next operation, whichever worker will start it.
    pub(in crate::engine) fn grant(&mut self, waited: u64, now: Time) {
        self.asking = self.asking.saturating_sub(1);
        match self.next(now, waited) {
            Some(granted) => self.granted.push_back(granted),
            None => self.spare_permits += 1,
        }
    }

    /// A permit was granted for an operation that its caller will start itself.
    pub fn add_permit(&mut self) {
        self.spare_permits += 1;
    }

    /// Whether its owner has been granted a permit that is not used yet.
    pub(in crate::engine) fn has_permit(&self) -> bool {
        !self.granted.is_empty() || self.spare_permits > 0
    }
}
