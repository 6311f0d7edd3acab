//! Which processes have the limit, and who of them waits: the table of holders.
//!
//! Permits are not handed from process to process; whoever comes when one is free takes it. So that
//! nobody is overtaken for ever, one who has waited while a number of permits was given to others goes
//! first: they leave it the next one, as long as it shows that it lives. A process that is stopped or
//! killed shows nothing, and is not waited for.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};
use std::time::{Duration, SystemTime};

use super::host;
use super::layout::{HOLDER_WORDS, HOLDERS, MOST_HOLDERS, Word};
use super::map::Map;
use crate::engine::limiter::Holder;
use crate::engine::process;

/// After so long without a sign one who waits is not waited for: five times what it sleeps at most.
const SILENT: u64 = 100_000_000;
/// After so long without a sign the entry of a process of another container is another's.
const GONE: u64 = 60_000_000_000;
/// One who waits may be overtaken by one part in this many of the limit,
const OVERTAKEN_SHARE: u64 = 8;
/// and by so many permits at most.
const MOST_OVERTAKEN: u64 = 64;

/// A process's entry in the table.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
enum Field {
    /// The number of the process; 0 if the entry is nobody's.
    Process = 0,
    /// When it came, in nanoseconds since 1970.
    Since = 1,
    /// Its turn among those who wait; 0 if it does not.
    Turn = 2,
    /// For how many permits.
    Weight = 3,
    /// How many permits had been given when it began to wait.
    GrantedBefore = 4,
    /// When it last showed that it lives.
    Seen = 5,
    /// The namespace that its number is of.
    Space = 6,
}

fn field(map: &Map, entry: usize, field: Field) -> &AtomicU64 {
    map.word(HOLDERS + entry * HOLDER_WORDS + field as usize)
}

fn entries(map: &Map) -> usize {
    let entries = usize::try_from(map.at(Word::Entries).load(Relaxed)).unwrap_or(0);
    entries.min(MOST_HOLDERS)
}

/// This process's entry. Without one, where the table is full, it is not seen, and nobody waits for it.
#[derive(Debug)]
pub(super) struct Seat {
    entry: Option<usize>,
    /// Its turn, if it waits.
    turn: Option<u64>,
    generation: u64,
}

impl Seat {
    /// Takes an entry that is nobody's, or that of a process which is not there any more.
    pub(super) fn take(map: &Map, now: u64) -> Self {
        let space = host::process_space();
        let entry = (0..MOST_HOLDERS).find(|entry| claim(map, *entry, space, now));
        if let Some(entry) = entry {
            field(map, entry, Field::Space).store(space, SeqCst);
            field(map, entry, Field::Turn).store(0, SeqCst);
            field(map, entry, Field::Since).store(nanos_since_1970(), Relaxed);
            field(map, entry, Field::Seen).store(now, Relaxed);
            map.at(Word::Entries).fetch_max(entry as u64 + 1, SeqCst);
        }
        Self {
            entry,
            turn: None,
            generation: process::generation(),
        }
    }

    /// Leaves it.
    pub(super) fn leave(&self, map: &Map) {
        if let Some(entry) = self.entry
            && self.generation == process::generation()
        {
            field(map, entry, Field::Turn).store(0, SeqCst);
            field(map, entry, Field::Process).store(0, SeqCst);
        }
    }

    /// Waits for so many permits, and shows that it lives; None if it does not wait.
    pub(super) fn wait(&mut self, map: &Map, weight: Option<u64>, now: u64) {
        let Some(entry) = self.entry else {
            return;
        };
        let Some(weight) = weight else {
            if self.turn.take().is_some() {
                field(map, entry, Field::Turn).store(0, SeqCst);
            }
            return;
        };
        field(map, entry, Field::Seen).store(now, Relaxed);
        field(map, entry, Field::Weight).store(weight, Relaxed);
        if self.turn.is_none() {
            let turn = map.at(Word::Turns).fetch_add(1, AcqRel) + 1;
            let granted = map.at(Word::Granted).load(Relaxed);
            field(map, entry, Field::GrantedBefore).store(granted, Relaxed);
            field(map, entry, Field::Turn).store(turn, SeqCst);
            self.turn = Some(turn);
        }
    }

    /// Whether another one who came before has been overtaken for long enough: it goes first.
    #[inline]
    pub(super) fn yields(&self, map: &Map, now: u64) -> bool {
        let mine = self.turn.unwrap_or(u64::MAX);
        let granted = map.at(Word::Granted).load(Relaxed);
        (0..entries(map)).any(|entry| {
            let turn = field(map, entry, Field::Turn).load(Relaxed);
            turn != 0
                && turn < mine
                && Some(entry) != self.entry
                && granted >= patience(map, entry)
                && is_seen(map, entry, now)
        })
    }
}

/// How many permits will have been given when the one who waits there goes first.
fn patience(map: &Map, entry: usize) -> u64 {
    let limit = map.at(Word::Limit).load(Relaxed);
    let overtaken = (limit / OVERTAKEN_SHARE).clamp(1, MOST_OVERTAKEN);
    let before = field(map, entry, Field::GrantedBefore).load(Relaxed);
    before.saturating_add(overtaken)
}

fn is_seen(map: &Map, entry: usize, now: u64) -> bool {
    let seen = field(map, entry, Field::Seen).load(Relaxed);
    now.saturating_sub(seen) < SILENT
}

/// Whether somebody waits who shows that it lives.
pub(super) fn anybody_waits(map: &Map, now: u64) -> bool {
    (0..entries(map))
        .any(|entry| field(map, entry, Field::Turn).load(Relaxed) != 0 && is_seen(map, entry, now))
}

/// The processes in the table that are there.
pub(super) fn holders(map: &Map) -> Vec<Holder> {
    let entries = (0..entries(map)).filter_map(|entry| {
        let process = field(map, entry, Field::Process).load(Relaxed);
        let process = u32::try_from(process).ok().filter(|it| is_there(*it))?;
        let since = field(map, entry, Field::Since).load(Relaxed);
        let waits = field(map, entry, Field::Turn).load(Relaxed) != 0;
        let weight = field(map, entry, Field::Weight).load(Relaxed);
        Some(Holder {
            host: None,
            process,
            since: Duration::from_nanos(since).as_secs_f64(),
            waits_for: if waits { weight } else { 0 },
        })
    });
    entries.collect()
}

fn claim(map: &Map, entry: usize, space: u64, now: u64) -> bool {
    let word = field(map, entry, Field::Process);
    let held_by = word.load(SeqCst);
    let silent = now.saturating_sub(field(map, entry, Field::Seen).load(Relaxed)) > GONE;
    // Of a process in another container nothing can be known but what it shows.
    let known = field(map, entry, Field::Space).load(Relaxed) == space;
    let free = held_by == 0 || (known || silent) && !u32::try_from(held_by).is_ok_and(is_there);
    let mine = u64::from(std::process::id());
    free && word.compare_exchange(held_by, mine, SeqCst, SeqCst).is_ok()
}

#[cfg(unix)]
fn is_there(process: u32) -> bool {
    let process = i32::try_from(process)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    process.is_some_and(|process| {
        rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
    })
}

#[cfg(not(unix))]
fn is_there(process: u32) -> bool {
    process != 0
}

fn nanos_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
