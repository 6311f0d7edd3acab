//! Where which word of the file is.
//!
//! The file is words of 64 bits in the machine's own order: a page of what all share, then the table of
//! holders, then one word for each permit of the limit, which says when that permit leaves the window.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use super::map::Map;
use crate::engine::limiter::Rate;

/// "paceline", in the order of this machine.
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"paceline");
/// Of the layout: a file of another one is refused.
pub(super) const VERSION: u64 = 1;

/// Words before the slots: a page, and the table of holders.
pub(super) const HOLDERS: usize = 512;
pub(super) const HOLDER_WORDS: usize = 8;
pub(super) const MOST_HOLDERS: usize = 128;
pub(super) const SLOTS: usize = HOLDERS + HOLDER_WORDS * MOST_HOLDERS;
/// The largest limit: its file has 80 MB.
pub(super) const LARGEST_LIMIT: u64 = 10_000_000;

/// What all share. Words that change often are not beside those that are read for every permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Word {
    Magic = 0,
    Version = 1,
    Limit = 2,
    /// Nanoseconds.
    Per = 3,
    /// 0 if permits are not paced.
    Burst = 4,
    /// Tells this file from every other that was or will be in its place.
    Generation = 5,
    /// That of a file which was deleted, and whose permits are in this one.
    Heir = 6,
    /// Not 0 while another file takes this one's place, and for ever when it has.
    Moved = 7,
    /// What tells one start of the host from the next; 0 if nothing does.
    Boot = 8,
    /// The time namespace of its processes; 0 if there is none.
    TimeSpace = 9,
    /// How far the wall clock is ahead of the monotonic one: to know the times of before a restart.
    WallAhead = 10,
    PausedUntil = 16,
    /// The process that has paused, and why.
    PausedBy = 17,
    /// When the pace is earned, for a limit with a burst.
    Earned = 18,
    /// The limit in effect, and since when, after an adaptive one was cut; 0 if it was not.
    Cut = 19,
    LastCut = 20,
    /// Nanoseconds that a permit stays at most.
    Longest = 21,
    /// One more than the last entry of the table that was ever used.
    Entries = 22,
    /// Where to look for a free slot first.
    Head = 32,
    /// Where to look for one that is not near `Head`.
    Far = 33,
    /// How often permits were given back.
    Freed = 34,
    /// Permits given so far.
    Granted = 40,
    /// Turns given so far.
    Turns = 48,
}

impl Map {
    #[inline(always)]
    pub(super) fn at(&self, word: Word) -> &AtomicU64 {
        self.word(word as usize)
    }

    #[inline(always)]
    pub(super) fn get(&self, word: Word) -> u64 {
        self.at(word).load(SeqCst)
    }

    pub(super) fn set(&self, word: Word, value: u64) {
        self.at(word).store(value, SeqCst);
    }

    /// The word of the permit that has the slot.
    #[inline(always)]
    pub(super) fn slot(&self, slot: usize) -> &AtomicU64 {
        self.word(SLOTS + slot)
    }

    pub(super) fn slots(&self) -> usize {
        self.words() - SLOTS
    }

    /// How much longer than `per` a permit stays at most.
    #[inline(always)]
    pub(super) fn slack(&self) -> u64 {
        let longest = self.at(Word::Longest).load(Relaxed);
        longest.saturating_sub(self.at(Word::Per).load(Relaxed))
    }
}

/// The numbers that all who share a limit have to agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) limit: u64,
    pub(super) per: u64,
    /// 0 if permits are not paced.
    pub(super) burst: u64,
}

impl Numbers {
    pub(super) fn of_rate(rate: &Rate) -> Self {
        Self {
            limit: rate.limit(),
            per: u64::try_from(rate.per().as_nanos()).unwrap_or(u64::MAX),
            burst: rate.burst().unwrap_or(0),
        }
    }

    pub(super) fn of_file(map: &Map) -> Self {
        Self {
            limit: map.get(Word::Limit),
            per: map.get(Word::Per),
            burst: map.get(Word::Burst),
        }
    }

    pub(super) fn write(&self, map: &Map) {
        map.set(Word::Limit, self.limit);
        map.set(Word::Per, self.per);
        map.set(Word::Burst, self.burst);
    }

    /// Words of a file for them.
    pub(super) fn words(&self) -> usize {
        SLOTS + usize::try_from(self.limit).unwrap_or(usize::MAX / 16)
    }

    /// As a user writes them.
    pub(super) fn in_words(&self) -> String {
        let per = Duration::from_nanos(self.per).as_secs_f64();
        let burst = match self.burst {
            0 => String::new(),
            burst => format!(", burst={burst}"),
        };
        format!("limit={}, per={per:?}{burst}", self.limit)
    }
}
