//! The exact window of several processes, without a lock.
//!
//! A limit of N has N slots. A permit takes any slot whose former one has left the window, by one
//! compare-and-swap of the time at which it leaves itself. So a slot holds one permit at a time, and no
//! window holds more than N, whoever is stopped or killed at whatever instant: what was not swapped was
//! not taken.
//!
//! Slots are taken in turn, so they are free in about the order in which they stand, and `Head` says
//! where to look first. A permit that stays longer than those taken after it is passed by, and `Head`
//! stays with it: nothing that leaves soon is behind `Head`.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use super::layout::Word;
use super::map::Map;
use crate::engine::limiter::{Slot, Slots};

/// How many slots are looked at for one permit. More are taken only while more calls than this stay in
/// the window for longer than most.
const LOOKED_AT: usize = 4096;

/// Takes `weight` slots until `leaves`, all of them or none. `capacity` is how many permits may be in
/// the window then.
#[inline]
pub(super) fn take(
    map: &Map,
    weight: u64,
    capacity: u64,
    (now, leaves): (u64, u64),
) -> Option<Slots> {
    let slots = if weight == 1 {
        Slots::One(take_one(map, LOOKED_AT, now, leaves)?)
    } else {
        take_many(map, weight, now, leaves)?
    };
    if capacity < map.slots() as u64 && used(map, now) > capacity {
        give_back(map, &slots);
        return None;
    }
    Some(slots)
}

fn take_many(map: &Map, weight: u64, now: u64, leaves: u64) -> Option<Slots> {
    let mut slots = Vec::new();
    for _ in 0..weight {
        if let Some(slot) = take_one(map, map.slots(), now, leaves) {
            slots.push(slot);
        } else {
            give_back(map, &Slots::Many(slots.into()));
            return None;
        }
    }
    Some(Slots::Many(slots.into()))
}

#[inline]
fn take_one(map: &Map, looked_at: usize, now: u64, leaves: u64) -> Option<Slot> {
    let count = map.slots();
    let head = map.at(Word::Head).load(Relaxed);
    let first = usize::try_from(head).unwrap_or(0) % count;
    let soon = now + map.slack();
    let (mut place, mut passed, mut passing) = (first, 0_u64, true);
    let mut taken = None;
    for _ in 0..looked_at.min(count) {
        let word = map.slot(place);
        let mut stands = word.load(Acquire);
        while stands <= now {
            match word.compare_exchange_weak(stands, leaves, SeqCst, Acquire) {
                Ok(before) => {
                    taken = Some(Slot {
                        place,
                        before,
                        leaves,
                    });
                    break;
                }
                Err(other) => stands = other,
            }
        }
        passing &= taken.is_some() || stands > soon;
        passed += u64::from(passing);
        if taken.is_some() {
            break;
        }
        place = if place + 1 == count { 0 } else { place + 1 };
    }
    // Where nothing is free, all may have been passed: that is once round, and says nothing.
    if taken.is_some() && passed > 0 {
        let next = (first as u64 + passed) % count as u64;
        // Another one knows as well where to look next.
        let _ = map
            .at(Word::Head)
            .compare_exchange(head, next, Relaxed, Relaxed);
    }
    taken
}

/// Takes the permits back.
pub(super) fn give_back(map: &Map, slots: &Slots) {
    for slot in slots.as_slice() {
        put(map, slot, slot.before);
        // It is free again, and is to be found first.
        let next = (slot.place + 1) % map.slots();
        let _ =
            map.at(Word::Head)
                .compare_exchange(next as u64, slot.place as u64, Relaxed, Relaxed);
    }
}

/// The permits leave at another time.
pub(super) fn settle(map: &Map, slots: &Slots, leaves: u64) {
    for slot in slots.as_slice() {
        put(map, slot, leaves);
    }
}

/// Writes another time for a permit, if it is still there. Where the file was replaced meanwhile, it
/// stands elsewhere, and stays for as long as was said.
fn put(map: &Map, slot: &Slot, leaves: u64) {
    if slot.place < map.slots() {
        let word = map.slot(slot.place);
        let _ = word.compare_exchange(slot.leaves, leaves, AcqRel, Relaxed);
    }
}

/// When `weight` permits are due, if at most `capacity` may be in the window; `now` if they are.
pub(super) fn due(map: &Map, weight: u64, capacity: u64, now: u64) -> u64 {
    let slots = map.slots();
    let whole = capacity >= slots as u64;
    if weight == 1 && whole {
        let mut least = u64::MAX;
        for leaves in from_head(map, LOOKED_AT) {
            if leaves <= now {
                return now;
            }
            least = least.min(leaves);
        }
        return least;
    }
    let mut stay: Vec<_> = from_head(map, slots).filter(|it| *it > now).collect();
    let allowed = capacity.min(slots as u64).saturating_sub(weight);
    let Some(last) = (stay.len() as u64)
        .checked_sub(allowed + 1)
        .and_then(|last| usize::try_from(last).ok())
    else {
        return now;
    };
    *stay.select_nth_unstable(last).1
}

/// How many permits are in the window.
pub(super) fn used(map: &Map, now: u64) -> u64 {
    from_head(map, map.slots()).filter(|it| *it > now).count() as u64
}

/// When the permits leave that are in the window.
pub(super) fn stay(map: &Map, now: u64) -> Vec<u64> {
    let all = from_head(map, map.slots());
    all.filter(|leaves| *leaves > now).collect()
}

/// How many permits are in the window, about, and when the first of them leave, in the order of that.
pub(super) fn first_to_leave(map: &Map, now: u64) -> (u64, Vec<u64>) {
    let mut looked_at = 0;
    let mut stay: Vec<_> = from_head(map, LOOKED_AT)
        .inspect(|_| looked_at += 1)
        .filter(|it| *it > now)
        .collect();
    // Those that are free stand before those that are not.
    let free = looked_at - stay.len();
    let used = if free > 0 && looked_at < map.slots() {
        used(map, now)
    } else {
        (map.slots() - free) as u64
    };
    stay.sort_unstable();
    (used, stay)
}

/// When the permits leave which have the slots from `Head` on.
fn from_head(map: &Map, looked_at: usize) -> impl Iterator<Item = u64> {
    let count = map.slots();
    let first = usize::try_from(map.at(Word::Head).load(Relaxed)).unwrap_or(0) % count;
    let places = (first..count).chain(0..first).take(looked_at);
    places.map(|place| map.slot(place).load(Acquire))
}
