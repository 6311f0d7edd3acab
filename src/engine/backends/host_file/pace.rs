//! The pace of a limit with a burst: one word, when all permits so far will have been earned.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::clock::Instant;
use super::layout::Word;
use super::map::Map;
use crate::engine::limiter::Request;

/// The pace is behind: somebody else was first.
pub(super) struct NotDue;

/// Books a start at the pace. Returns what stood there, and what does now.
pub(super) fn book(
    map: &Map,
    request: &Request,
    at: Instant,
) -> Result<Option<(u64, u64)>, NotDue> {
    let Some(pacing) = request.pacing else {
        return Ok(None);
    };
    let word = map.at(Word::Earned);
    let mut before = word.load(Acquire);
    loop {
        let mut pacing = pacing.owing(at.to_here(before));
        if pacing.due(request.weight, at.here) > at.here {
            return Err(NotDue);
        }
        pacing.charge(request.weight, at.here, request.arrival);
        let after = at.to_host(pacing.earned());
        match word.compare_exchange(before, after, AcqRel, Acquire) {
            Ok(_) => return Ok(Some((before, after))),
            Err(other) => before = other,
        }
    }
}

/// Takes a start back, where nobody has built on it.
pub(super) fn take_back(map: &Map, (before, after): (u64, u64)) {
    let word = map.at(Word::Earned);
    let _ = word.compare_exchange(after, before, AcqRel, Relaxed);
}
