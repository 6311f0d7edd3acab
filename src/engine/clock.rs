//! The clock that a limiter or a scheduler goes by: the system's, or a virtual one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::alarm;
use super::lock::lock;
use super::signal::Signal;
use super::time::{Time, TimeSource};

/// What tells the time, and how threads wait by it. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's monotonic clock.
    #[default]
    Monotonic,
    /// One that stands still until it is moved.
    Virtual(Arc<VirtualClock>),
}

impl Clock {
    /// The time now.
    #[inline(always)]
    #[must_use]
    pub fn now(&self) -> Time {
        match self {
            Self::Monotonic => Time::now(),
            Self::Virtual(clock) => clock.now(),
        }
    }

    /// Waits for the signal or until `until`; at most for `slice`, by the system's clock. Takes the
    /// signal back.
    pub fn wait(&self, signal: &Arc<Signal>, until: Time, slice: Option<Duration>) {
        match self {
            Self::Monotonic => {
                let slice = slice.map_or(Time::NEVER, |slice| Time::now() + slice);
                signal.wait_until(until.min(slice));
            }
            Self::Virtual(clock) => clock.wait(signal, until, slice),
        }
    }

    /// Has the signal given at `until`, or soon after, for one who waits without a thread.
    pub fn give_at(&self, signal: &Arc<Signal>, until: Time) {
        match self {
            Self::Monotonic => alarm::ring_at(until, signal),
            Self::Virtual(clock) => clock.give_at(signal, until),
        }
    }
}

impl TimeSource for &Clock {
    #[inline(always)]
    fn now(&self) -> Time {
        Clock::now(self)
    }
}

/// A clock that stands still until it is moved. Those who wait by it are woken when their time has
/// come.
#[derive(Debug, Default)]
pub struct VirtualClock(Mutex<Sleepers>);

#[derive(Debug, Default)]
struct Sleepers {
    now: Time,
    sleepers: Vec<(Time, Arc<Signal>)>,
}

impl VirtualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Time) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Sleepers {
            now,
            sleepers: Vec::new(),
        })))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        lock(&self.0).now
    }

    /// Moves it on to `now`, never back, and wakes those whose time has come.
    pub fn advance_to(&self, now: Time) {
        let mut state = lock(&self.0);
        state.now = state.now.max(now);
        let now = state.now;
        let due = state.sleepers.extract_if(.., |(until, _)| *until <= now);
        let due: Vec<_> = due.map(|(_, signal)| signal).collect();
        drop(state);
        for signal in due {
            signal.notify();
        }
    }

    /// When the first of those who wait is due; None if none waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let state = lock(&self.0);
        state.sleepers.iter().map(|(until, _)| *until).min()
    }

    fn give_at(&self, signal: &Arc<Signal>, until: Time) {
        let mut state = lock(&self.0);
        if state.now >= until {
            drop(state);
            signal.notify();
        } else {
            state.sleepers.push((until, Arc::clone(signal)));
        }
    }

    fn wait(&self, signal: &Arc<Signal>, until: Time, slice: Option<Duration>) {
        self.give_at(signal, until);
        let slice = slice.map_or(Time::NEVER, |slice| Time::now() + slice);
        signal.wait_until(slice);
        let mut state = lock(&self.0);
        state
            .sleepers
            .retain(|(_, other)| !Arc::ptr_eq(other, signal));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::engine::limiter::{Limiter, Rate, Turn};

    fn second(second: u64) -> Time {
        Time::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn those_who_wait_are_woken_when_their_time_has_come() {
        let shown = VirtualClock::at(second(1));
        let clock = Clock::Virtual(Arc::clone(&shown));
        let waits = {
            let clock = clock.clone();
            thread::spawn(move || {
                clock.wait(&Arc::default(), second(3600), None);
                clock.now()
            })
        };
        while shown.next_due().is_none() {
            thread::yield_now();
        }
        shown.advance_to(second(3599));
        assert_eq!(shown.next_due(), Some(second(3600)));
        shown.advance_to(second(3600));
        assert_eq!(waits.join().ok(), Some(second(3600)));
        assert_eq!(shown.next_due(), None);
        shown.advance_to(second(5));
        assert_eq!(clock.now(), second(3600));
    }

    #[test]
    fn what_is_past_or_signalled_is_not_waited_for() {
        let clock = Clock::Virtual(VirtualClock::at(second(9)));
        clock.wait(&Arc::default(), second(9), None);
        let signal = Arc::<Signal>::default();
        signal.notify();
        clock.wait(&signal, Time::NEVER, None);
        clock.wait(&signal, Time::NEVER, Some(Duration::from_millis(1)));
        assert_eq!(clock.now(), second(9));
    }

    #[test]
    fn an_hour_at_a_limiter_takes_no_time() {
        let shown = VirtualClock::at(second(1));
        let clock = Clock::Virtual(Arc::clone(&shown));
        let rate = Rate::new(1, Duration::from_secs(1800), None, Some(Duration::ZERO));
        let Ok(limiter) = rate.map(Limiter::new) else {
            return;
        };
        let starts = {
            let clock = clock.clone();
            thread::spawn(move || {
                let mut starts = Vec::new();
                while starts.len() < 3 {
                    let signal = Arc::<Signal>::default();
                    let mut ticket = limiter.enqueue(1, Arc::clone(&signal));
                    loop {
                        match ticket.try_start(&clock) {
                            Turn::Ready => break,
                            Turn::At(due) => clock.wait(&signal, due, None),
                            Turn::Behind => clock.wait(&signal, Time::NEVER, None),
                        }
                    }
                    starts.push(clock.now());
                }
                starts
            })
        };
        while !starts.is_finished() {
            match shown.next_due() {
                Some(due) if due < Time::NEVER => shown.advance_to(due),
                _ => thread::yield_now(),
            }
        }
        let expected = vec![second(1), second(1801), second(3601)];
        assert_eq!(starts.join().ok(), Some(expected));
    }
}
