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

/// How many slots from `Head` on are looked at for one permit first: most often a free one is among the
/// first of them.
const LOOKED_AT: usize = 4096;
/// All of them are looked at so seldom that it takes a small part of the time: a nanosecond is about
/// what one takes.
const PAUSE_PER_SLOT: u64 = 32;

/// In how many groups those are counted that are not near.
const GROUPS: usize = 1024;

/// Permits that leave at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stays {
    pub(super) leaves: u64,
    pub(super) weight: u64,
}

/// What a look at all slots has shown: so many permits are not to be had before. It saves the next look,
/// and is this process's own.
#[derive(Debug, Default)]
pub(super) struct Seen {
    weight: u64,
    capacity: u64,
    /// Of [`Word::Freed`], when the look began.
    freed: u64,
    again_at: u64,
}

impl Seen {
    /// When to look again, if that is later.
    fn again_at(&self, map: &Map, (weight, capacity): (u64, u64), now: u64) -> Option<u64> {
        let same = self.weight == weight && self.capacity == capacity;
        let known = same && now < self.again_at && self.freed == freed(map);
        known.then_some(self.again_at)
    }

    /// They were not to be had before `due`.
    fn note(&mut self, map: &Map, sought: (u64, u64), freed: u64, (now, due): (u64, u64)) {
        let pause = map.slots() as u64 * PAUSE_PER_SLOT;
        *self = Self {
            weight: sought.0,
            capacity: sought.1,
            freed,
            again_at: due.min(now + pause),
        };
    }
}

/// How often permits were given back. It is looked at only where there are so many slots that a look at
/// all of them is to be saved.
fn freed(map: &Map) -> u64 {
    map.at(Word::Freed).load(Acquire)
}

/// Takes `weight` slots until `leaves`, all of them or none. `capacity` is how many permits may be in
/// the window then.
#[inline]
pub(super) fn take(
    map: &Map,
    seen: &mut Seen,
    weight: u64,
    capacity: u64,
    (now, leaves): (u64, u64),
) -> Option<Slots> {
    let slots = if weight == 1 {
        Slots::One(take_one(map, seen, now, leaves)?)
    } else {
        take_many(map, seen, weight, (now, leaves))?
    };
    if capacity < map.slots() as u64 && used(map, now) > capacity {
        give_back(map, &slots);
        return None;
    }
    Some(slots)
}

fn take_many(map: &Map, seen: &mut Seen, weight: u64, (now, leaves): (u64, u64)) -> Option<Slots> {
    let mut slots = Vec::new();
    for _ in 0..weight {
        if let Some(slot) = take_one(map, seen, now, leaves) {
            slots.push(slot);
        } else {
            give_back(map, &Slots::Many(slots.into()));
            return None;
        }
    }
    Some(Slots::Many(slots.into()))
}

#[inline]
fn take_one(map: &Map, seen: &mut Seen, now: u64, leaves: u64) -> Option<Slot> {
    let near = take_near(map, now, leaves);
    if near.is_some() || map.slots() <= LOOKED_AT {
        return near;
    }
    take_far(map, seen, now, leaves)
}

/// Takes one of the first slots from `Head` on.
#[inline]
fn take_near(map: &Map, now: u64, leaves: u64) -> Option<Slot> {
    let count = map.slots();
    let head = map.at(Word::Head).load(Relaxed);
    let first = usize::try_from(head).unwrap_or(0) % count;
    let soon = now + map.slack();
    let (mut place, mut passed, mut passing) = (first, 0_u64, true);
    let mut taken = None;
    for _ in 0..LOOKED_AT.min(count) {
        let stands;
        (taken, stands) = take_at(map, place, (now, leaves));
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

/// Takes one of all slots, beginning where one was found last: where many that are near stay for long.
#[cold]
fn take_far(map: &Map, seen: &mut Seen, now: u64, leaves: u64) -> Option<Slot> {
    let sought = (1, u64::MAX);
    if seen.again_at(map, sought, now).is_some() {
        return None;
    }
    let freed = freed(map);
    let mut due = u64::MAX;
    for place in from(map, Word::Far) {
        let (taken, stands) = take_at(map, place, (now, leaves));
        if taken.is_some() {
            map.at(Word::Far).store(place as u64 + 1, Relaxed);
            return taken;
        }
        due = due.min(stands);
    }
    seen.note(map, sought, freed, (now, due));
    None
}

/// Takes the slot if it is free. Returns what stands there otherwise, too.
#[inline(always)]
fn take_at(map: &Map, place: usize, (now, leaves): (u64, u64)) -> (Option<Slot>, u64) {
    let word = map.slot(place);
    let mut stands = word.load(Acquire);
    while stands <= now {
        match word.compare_exchange_weak(stands, leaves, SeqCst, Acquire) {
            Ok(before) => {
                let slot = Slot {
                    place,
                    before,
                    leaves,
                };
                return (Some(slot), stands);
            }
            Err(other) => stands = other,
        }
    }
    (None, stands)
}

/// Takes the permits back.
pub(super) fn give_back(map: &Map, slots: &Slots) {
    // The last first: `Head` goes back over them as it came.
    for slot in slots.as_slice().iter().rev() {
        put(map, slot, slot.before);
        // It is free again, and is to be found first.
        let next = (slot.place + 1) % map.slots();
        let _ =
            map.at(Word::Head)
                .compare_exchange(next as u64, slot.place as u64, Relaxed, Relaxed);
    }
    map.at(Word::Freed).fetch_add(1, AcqRel);
}

/// The permits leave at another time.
pub(super) fn settle(map: &Map, seen: &mut Seen, slots: &Slots, leaves: u64) {
    seen.again_at = seen.again_at.min(leaves);
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
pub(super) fn due(map: &Map, seen: &mut Seen, (weight, capacity): (u64, u64), now: u64) -> u64 {
    let slots = map.slots();
    let one = weight == 1 && capacity >= slots as u64;
    let mut near = u64::MAX;
    if one {
        for leaves in from_head(map, LOOKED_AT) {
            if leaves <= now {
                return now;
            }
            near = near.min(leaves);
        }
        if slots <= LOOKED_AT {
            return near;
        }
    }
    let sought = if one {
        (1, u64::MAX)
    } else {
        (weight, capacity)
    };
    if let Some(again_at) = seen.again_at(map, sought, now) {
        return again_at.min(near);
    }
    let freed = freed(map);
    let due = if one {
        from_head(map, slots).min().unwrap_or(now).max(now)
    } else {
        due_of_many(map, weight, capacity, now)
    };
    if due <= now {
        seen.again_at = 0;
    } else if slots > LOOKED_AT {
        seen.note(map, sought, freed, (now, due));
    }
    due
}

fn due_of_many(map: &Map, weight: u64, capacity: u64, now: u64) -> u64 {
    let slots = map.slots();
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

/// How many permits are in the window, and when they leave, in the order of that: those near `Head`
/// each by itself, the others in groups, each as early as the first of it does.
pub(super) fn leaving(map: &Map, now: u64) -> (u64, Vec<Stays>) {
    let mut stay: Vec<_> = from_head(map, LOOKED_AT)
        .filter(|leaves| *leaves > now)
        .map(|leaves| Stays { leaves, weight: 1 })
        .collect();
    let group = map.slots().saturating_sub(LOOKED_AT).div_ceil(GROUPS);
    let mut far = from(map, Word::Head).skip(LOOKED_AT).peekable();
    while far.peek().is_some() {
        let group = far
            .by_ref()
            .take(group)
            .map(|it| map.slot(it).load(Acquire));
        let (weight, leaves) = group
            .filter(|leaves| *leaves > now)
            .fold((0, u64::MAX), |(weight, first), leaves| {
                (weight + 1, leaves.min(first))
            });
        if weight > 0 {
            stay.push(Stays { leaves, weight });
        }
    }
    stay.sort_unstable_by_key(|it| it.leaves);
    (stay.iter().map(|it| it.weight).sum(), stay)
}

/// When the permits leave which have the slots from `Head` on.
fn from_head(map: &Map, looked_at: usize) -> impl Iterator<Item = u64> {
    let places = from(map, Word::Head).take(looked_at);
    places.map(|place| map.slot(place).load(Acquire))
}

/// All places once, beginning with the one that the word names.
fn from(map: &Map, word: Word) -> impl Iterator<Item = usize> {
    let count = map.slots();
    let first = usize::try_from(map.at(word).load(Relaxed)).unwrap_or(0) % count;
    (first..count).chain(0..first)
}
