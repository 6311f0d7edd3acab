//! What the next request is to say.

use std::collections::HashMap;
use std::time::Duration;

use super::held::Permit;
use super::request::Want;
use super::server_clock::ServerClock;
use crate::engine::time::Time;

/// Permits for those who wait, not before a time: so many whenever it is, the others if they may be
/// taken at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) count: u32,
    pub(super) firm: u32,
    pub(super) weight: u64,
    pub(super) not_before: Time,
}

/// Collected until a request is sent.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools)] // each is another thing to be said
pub(super) struct Outgoing {
    /// Permits for those who wait.
    pub(super) want: Option<Wanted>,
    /// A permit of that weight, if it may be taken at once.
    pub(super) now: Option<u64>,
    /// When would that weight be granted?
    pub(super) ask: Option<u64>,
    pub(super) stats: bool,
    /// To hear how things stand.
    pub(super) sync: bool,
    pub(super) pause: Option<Time>,
    /// What was taken, as the server has lost it.
    pub(super) report: bool,
    pub(super) has_moved: bool,
    /// The numbers are to hold for everybody.
    pub(super) changes: bool,
    /// The limit in effect was cut.
    pub(super) has_cut: bool,
    returned: Vec<Permit>,
    leaves: HashMap<Permit, Time>,
}

impl Outgoing {
    /// What is said first.
    pub(super) fn hello() -> Self {
        Self {
            sync: true,
            ..Self::default()
        }
    }

    /// Whether something is to be said that cannot wait for a request that is sent anyway.
    pub(super) fn is_urgent(&self) -> bool {
        self.want.is_some()
            || self.now.is_some()
            || self.ask.is_some()
            || self.stats
            || self.sync
            || self.pause.is_some()
            || self.report
            || self.has_moved
            || self.changes
            || self.has_cut
            || !self.returned.is_empty()
    }

    pub(super) fn give_back(&mut self, permits: Vec<Permit>) {
        self.returned.extend(permits);
    }

    pub(super) fn leaves(&mut self, permit: Permit, at: Time) {
        self.leaves.insert(permit, at);
    }

    /// What was said to leave stays for a window that is longer, or shorter.
    pub(super) fn stay_longer(&mut self, before: Duration, after: Duration) {
        for leaves in self.leaves.values_mut() {
            *leaves = *leaves + after - before;
        }
    }

    /// The permits to be granted. None are wanted before it is known how late they may be.
    pub(super) fn take_want(&mut self, clock: &ServerClock, now: Time) -> Option<Want> {
        if !clock.is_known() {
            return None;
        }
        if let Some(weight) = self.now.take() {
            return Some(Want {
                count: 1,
                weight,
                not_before: 0,
                firm: 0,
            });
        }
        let wanted = self.want.take()?;
        let not_before = if wanted.not_before > now {
            clock.there(wanted.not_before, now)
        } else {
            0
        };
        Some(Want {
            count: wanted.count,
            weight: wanted.weight,
            not_before,
            firm: wanted.firm,
        })
    }

    /// What is given back, the last that was granted first.
    pub(super) fn take_returned(&mut self) -> Vec<Permit> {
        let mut returned = std::mem::take(&mut self.returned);
        returned.sort_by_key(|permit| std::cmp::Reverse(permit.number));
        returned
    }

    pub(super) fn take_leaves(&mut self) -> impl Iterator<Item = (Permit, Time)> {
        std::mem::take(&mut self.leaves).into_iter()
    }
}
