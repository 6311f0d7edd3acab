//! A limit that the processes of one host share: a file in memory.
//!
//! Everything that is counted is one word, changed by compare-and-swap, so a process that is killed or
//! stopped at any instant holds up nobody. A permit of one needs at most two words, its slot and the
//! pace, and takes the second only when it has the first, which it can give back.

mod clock;
mod cut;
mod file;
mod holders;
mod host;
mod layout;
mod map;
mod pace;
mod place;
mod ring;
mod standing;

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use self::clock::HostClock;
use self::clock::Instant;
use self::file::LimitFile;
use self::holders::Seat;
use self::layout::{Numbers, Word};
use self::map::Map;
pub use self::place::Place;
use self::standing::SharedStanding;
use crate::engine::limiter::{
    Adaptive, Arrival, Backend, Counted, Due, Event, LOOK_AGAIN, Limiter, News, OpenError, Pacing,
    Permit, Rate, Request, Shared, Sharing, Slots, Stamp, Trouble, Why,
};
use crate::engine::lock::lock;
use crate::engine::process::PerProcess;
use crate::engine::time::Time;

/// How often it is seen to that the file is still there.
const CHECK_EVERY: u64 = 1_000_000_000;
/// When one looks again who lets another process go first.
const YIELD: Duration = Duration::from_micros(500);
/// A limit in a file, opened by this process or by the one that it was forked from.
#[derive(Debug)]
pub struct HostFile {
    file: Arc<LimitFile>,
    clock: HostClock,
    rate: Rate,
    standing: SharedStanding,
}

impl HostFile {
    /// Opens the file of a limit, or makes it. May wait for other processes that open it.
    ///
    /// # Errors
    ///
    /// If it is in use with other numbers, or cannot be shared.
    pub fn open(place: &Place, rate: Rate, clock: HostClock, now: Time) -> Result<Self, OpenError> {
        let numbers = Numbers::of_rate(&rate);
        let times = (clock.read(now), nanos(rate.longest()));
        let file = LimitFile::open(place.file()?, &numbers, times)?;
        Ok(Self {
            file: Arc::new(file),
            clock,
            rate,
            standing: Arc::new(PerProcess::new(Mutex::default())),
        })
    }

    /// The limiter that all share who open it.
    #[must_use]
    pub fn limiter(self) -> Limiter {
        Limiter::shared(self.rate, self)
    }
}

impl Sharing for HostFile {
    fn backend(&self, _: News) -> Box<dyn Backend> {
        let now = self.clock.read(Time::now());
        Box::new(HostBackend {
            seat: Seat::take(self.file.map(), now),
            file: Arc::clone(&self.file),
            clock: self.clock,
            rate: self.rate,
            check_at: now + CHECK_EVERY,
            seen: ring::Seen::default(),
            standing: Arc::clone(&self.standing),
            closed: false,
        })
    }

    fn place(&self) -> String {
        self.file.place()
    }

    fn trouble(&self) -> Option<Trouble> {
        let standing = self.standing.get(Mutex::default);
        lock(&standing).trouble()
    }

    fn take_events(&self) -> Vec<Event> {
        let standing = self.standing.get(Mutex::default);
        lock(&standing).take_events()
    }
}

/// What one process has of a limit in a file.
#[derive(Debug)]
struct HostBackend {
    file: Arc<LimitFile>,
    seat: Seat,
    clock: HostClock,
    rate: Rate,
    check_at: u64,
    seen: ring::Seen,
    standing: SharedStanding,
    /// The file has gone, and cannot be opened anew: nothing is given.
    closed: bool,
}

impl HostBackend {
    #[inline(always)]
    fn map(&self) -> &Map {
        self.file.map()
    }

    #[inline(always)]
    fn instant(&self, now: Time) -> Instant {
        Instant {
            here: now,
            host: self.clock.read(now),
        }
    }

    /// The pace as everybody has it.
    fn pacing(&self, pacing: Option<Pacing>, at: Instant) -> Option<Pacing> {
        let earned = self.map().at(Word::Earned).load(Acquire);
        pacing.map(|pacing| pacing.owing(at.to_here(earned)))
    }

    /// The limit in effect as everybody has it.
    fn adaptive(&self, adaptive: Option<Adaptive>, at: Instant) -> Option<Adaptive> {
        adaptive.map(|adaptive| cut::in_effect(self.map(), adaptive, at))
    }

    /// How many permits may be in the window once `weight` are.
    fn capacity(&self, request: &Request, at: Instant) -> u64 {
        self.adaptive(request.adaptive, at)
            .map_or(u64::MAX, |it| it.effective().max(request.weight))
    }

    fn is_closed(&self, at: Instant) -> bool {
        self.closed || self.map().at(Word::PausedUntil).load(Acquire) > at.host
    }
}

impl Backend for HostBackend {
    #[inline]
    fn refresh(&mut self, now: Time) -> Option<Rate> {
        let host = self.clock.read(now);
        let moved = self.file.has_moved();
        if !moved && host < self.check_at && !self.closed {
            return None;
        }
        self.check_at = host + CHECK_EVERY;
        if !moved && !self.file.is_deleted() {
            return None;
        }
        let next = self.file.successor(host);
        self.closed = next.is_err();
        let standing = self.standing.get(Mutex::default);
        match &next {
            Ok(_) => lock(&standing).found(self.file.path(), host),
            // It is opened by another process: that takes a moment.
            Err(OpenError::Busy(_)) => {}
            Err(OpenError::Value(why) | OpenError::System(why)) => {
                lock(&standing).lost(self.file.path(), why, host);
            }
        }
        let next = next.ok()?;
        self.seat.leave(self.map());
        self.file = Arc::new(next);
        self.seen = ring::Seen::default();
        self.seat = Seat::take(self.map(), host);
        let numbers = Numbers::of_file(self.map());
        if numbers == Numbers::of_rate(&self.rate) {
            return None;
        }
        let (limit, per) = (numbers.limit, Duration::from_nanos(numbers.per));
        let burst = (numbers.burst > 0).then_some(numbers.burst);
        // It was a rate of whoever wrote it.
        self.rate = self.rate.shared_as(limit, per, burst).ok()?;
        Some(self.rate)
    }

    fn due(&mut self, request: &Request) -> Due {
        let at = self.instant(request.now);
        if self.closed {
            return Due::At(at.here + LOOK_AGAIN);
        }
        let sought = (request.weight, self.capacity(request, at));
        let slot = ring::due(self.file.map(), &mut self.seen, sought, at.host);
        let grows = self.adaptive(request.adaptive, at).map(|it| it.next_step());
        let mut due = at.to_here(slot);
        if let Some(grows) = grows
            && slot > at.host
        {
            due = due.min(grows);
        }
        if let Some(pacing) = self.pacing(request.pacing, at) {
            due = due.max(pacing.due(request.weight, at.here));
        }
        due = due.max(at.to_here(self.map().get(Word::PausedUntil)));
        if due > at.here {
            Due::At(due)
        } else if self.seat.yields(self.map(), at.host) {
            Due::At(at.here + YIELD)
        } else {
            Due::Now
        }
    }

    #[inline]
    fn take(&mut self, request: &Request) -> Option<Permit> {
        let at = self.instant(request.now);
        if self.is_closed(at) || self.seat.yields(self.map(), at.host) {
            return None;
        }
        let capacity = self.capacity(request, at);
        let times = (at.host, at.host + request.stays);
        let (map, seen) = (self.file.map(), &mut self.seen);
        let slots = ring::take(map, seen, request.weight, capacity, times)?;
        let Ok(pace) = pace::book(self.map(), request, at) else {
            ring::give_back(self.map(), &slots);
            return None;
        };
        let permit = Permit::Slots(slots, pace);
        // Who replaces the file has not seen the permit, perhaps; and who pauses is to be heard to the
        // last instant.
        if self.file.has_moved() || self.is_closed(at) {
            self.give_back(permit);
            return None;
        }
        self.map()
            .at(Word::Granted)
            .fetch_add(request.weight, Relaxed);
        if request.arrival == Arrival::Queued {
            self.seat.wait(self.file.map(), None, at.host);
        }
        Some(permit)
    }

    fn give_back(&mut self, permit: Permit) {
        let Some((slots, pace)) = of_file(permit) else {
            return;
        };
        if let Some(pace) = pace {
            pace::take_back(self.map(), pace);
        }
        ring::give_back(self.map(), &slots);
    }

    fn settle(&mut self, permit: Permit, leaves: Time, now: Time) {
        if let Some((slots, _)) = of_file(permit) {
            let leaves = self.instant(now).to_host(leaves);
            ring::settle(self.file.map(), &mut self.seen, &slots, leaves);
        }
    }

    fn wait(&mut self, weight: Option<u64>, _: usize, now: Time) {
        let host = self.clock.read(now);
        self.seat.wait(self.file.map(), weight, host);
    }

    fn paused_until(&mut self, now: Time) -> Time {
        let at = self.instant(now);
        at.to_here(self.map().get(Word::PausedUntil))
    }

    fn pause_until(&mut self, until: Time, why: Why, adaptive: Option<Adaptive>, now: Time) {
        let at = self.instant(now);
        let until = at.to_host(until);
        let before = self.map().at(Word::PausedUntil).fetch_max(until, SeqCst);
        let resumes = before.max(at.host);
        if until <= resumes {
            return;
        }
        let by = u64::from(std::process::id()) << 1 | u64::from(why == Why::Refused);
        self.map().set(Word::PausedBy, by);
        if let Some(adaptive) = adaptive {
            self.hold(adaptive, Duration::from_nanos(until - resumes), now);
        }
    }

    fn hold(&mut self, adaptive: Adaptive, longer: Duration, now: Time) {
        let at = self.instant(now);
        cut::change(self.map(), at, adaptive, |adaptive| adaptive.hold(longer));
    }

    fn cut(&mut self, adaptive: Adaptive, now: Time) -> bool {
        let at = self.instant(now);
        cut::halve(self.map(), at, adaptive, nanos(adaptive.every()))
    }

    fn counted(
        &mut self,
        pacing: Option<Pacing>,
        adaptive: Option<Adaptive>,
        now: Time,
    ) -> Counted {
        let at = self.instant(now);
        let (used, leaving) = ring::leaving(self.map(), at.host);
        let stamp = |it: ring::Stays| Stamp {
            leaves: at.to_here(it.leaves),
            weight: it.weight,
        };
        Counted {
            used,
            first: leaving.into_iter().map(stamp).collect(),
            pacing: self.pacing(pacing, at),
            adaptive: self.adaptive(adaptive, at),
        }
    }

    fn change(&mut self, rate: Rate, now: Time) -> Result<(), OpenError> {
        let host = self.clock.read(now);
        let changed = self.file.change(&Numbers::of_rate(&rate), host)?;
        self.seat.leave(self.map());
        self.file = Arc::new(changed);
        self.seen = ring::Seen::default();
        self.seat = Seat::take(self.map(), host);
        self.rate = rate;
        Ok(())
    }

    fn holders(&mut self, now: Time) -> Shared {
        let at = self.instant(now);
        let paused = self.map().get(Word::PausedUntil).saturating_sub(at.host);
        let by = self.map().get(Word::PausedBy);
        let why = if by & 1 == 1 {
            Why::Refused
        } else {
            Why::Asked
        };
        let process = u32::try_from(by >> 1).unwrap_or(0);
        Shared {
            place: Some(self.file.path().display().to_string()),
            used: ring::used(self.map(), at.host),
            pause: (paused > 0).then(|| (Duration::from_nanos(paused), why, process)),
            holders: holders::holders(self.map()),
        }
    }
}

impl Drop for HostBackend {
    fn drop(&mut self) {
        self.seat.leave(self.file.map());
    }
}

/// A permit of the file's: all that it is given are.
#[allow(clippy::unnecessary_wraps)] // where there is no other backend
fn of_file(permit: Permit) -> Option<(Slots, Option<(u64, u64)>)> {
    match permit {
        Permit::Slots(slots, pace) => Some((slots, pace)),
        #[cfg(feature = "redis")]
        Permit::Numbered(..) => None,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
