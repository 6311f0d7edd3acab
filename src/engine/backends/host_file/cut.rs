//! The limit in effect of an adaptive one: one word, how much it was cut to, and since when.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::clock::Instant;
use super::layout::Word;
use super::map::Map;
use crate::engine::limiter::Adaptive;

/// The limit in effect is kept in so many bits, and the time since when, in milliseconds, in the rest.
const TIME_BITS: u32 = 40;

/// The limit in effect as everybody has it.
pub(super) fn in_effect(map: &Map, adaptive: Adaptive, at: Instant) -> Adaptive {
    grown(adaptive, map.at(Word::Cut).load(Acquire), at)
}

/// Cuts it, unless that was done within the last `every` nanoseconds. Whether it was.
pub(super) fn halve(map: &Map, at: Instant, adaptive: Adaptive, every: u64) -> bool {
    let word = map.at(Word::LastCut);
    let last = word.load(Acquire);
    let same_episode = last > 0 && at.host < last.saturating_add(every);
    let cuts = !same_episode
        && word
            .compare_exchange(last, at.host, AcqRel, Relaxed)
            .is_ok();
    if cuts {
        change(map, at, adaptive, |adaptive| adaptive.halve(at.here));
    }
    cuts
}

/// Changes the word of the limit in effect.
pub(super) fn change(map: &Map, at: Instant, adaptive: Adaptive, change: impl Fn(&mut Adaptive)) {
    let word = map.at(Word::Cut);
    let mut before = word.load(Acquire);
    loop {
        let mut changed = grown(adaptive, before, at);
        change(&mut changed);
        let after = written(changed, at);
        match word.compare_exchange(before, after, AcqRel, Acquire) {
            Ok(_) => return,
            Err(other) => before = other,
        }
    }
}

/// The limit in effect that the word stands for, grown until now.
fn grown(adaptive: Adaptive, word: u64, at: Instant) -> Adaptive {
    if word == 0 {
        return adaptive;
    }
    let since = (word & ((1 << TIME_BITS) - 1)) * 1_000_000;
    let mut adaptive = adaptive.cut_to(word >> TIME_BITS, at.to_here(since));
    while adaptive.step(at.here).is_some() {}
    adaptive
}

fn written(adaptive: Adaptive, at: Instant) -> u64 {
    if adaptive.is_whole() {
        return 0;
    }
    // Later rather than sooner: it grows by what was rounded.
    let since = at.to_host(adaptive.since()).div_ceil(1_000_000);
    adaptive.effective() << TIME_BITS | since & ((1 << TIME_BITS) - 1)
}
