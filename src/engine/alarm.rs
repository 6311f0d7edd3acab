//! Gives signals at their times, for those who wait without a thread of their own.
//!
//! Event loops round their timers up, to a millisecond where they use `epoll`, which at a thousand
//! permits a second is all there is between two of them. So one thread of the process sleeps for all,
//! while there is anything to wait for. It knows no Python, and holds up no end of a process.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::lock::lock;
use super::process::PerProcess;
use super::signal::Signal;
use super::time::Time;

/// How long the thread stays without anything to wait for.
const STAYS: Duration = Duration::from_secs(2);

static ALARM: LazyLock<PerProcess<Arc<Alarm>>> = LazyLock::new(|| PerProcess::new(Arc::default()));

/// How many calls are kept at least before those are looked for that nobody waits for any more.
const FEW: usize = 64;

/// Gives the signal at that time, or soon after, if it is still there; at once where no thread can be
/// had for it.
pub(super) fn ring_at(time: Time, signal: &Arc<Signal>) {
    let alarm = ALARM.get(Arc::default);
    let mut state = lock(&alarm.state);
    let first = state.calls.peek().map_or(Time::NEVER, |first| first.0.time);
    state.push(Call {
        time,
        signal: Arc::downgrade(signal),
    });
    if !state.runs {
        let same = Arc::clone(&alarm);
        let thread = thread::Builder::new().name("paceline-alarm".to_owned());
        state.runs = thread.spawn(move || same.run()).is_ok();
        if !state.runs {
            let calls = std::mem::take(&mut state.calls);
            drop(state);
            for call in calls {
                call.0.give();
            }
        }
    } else if time < first {
        drop(state);
        alarm.sooner.notify_one();
    }
}

#[derive(Debug, Default)]
struct Alarm {
    state: Mutex<State>,
    sooner: Condvar,
}

#[derive(Debug, Default)]
struct State {
    calls: BinaryHeap<Reverse<Call>>,
    /// How many there were when it was last seen to that somebody waits for them.
    needed: usize,
    runs: bool,
}

impl State {
    /// Most have their signals long before their time, which may be an hour away: what nobody waits for
    /// is let go of whenever there is twice as much as was needed.
    fn push(&mut self, call: Call) {
        if self.calls.len() >= 2 * self.needed.max(FEW) {
            self.calls.retain(|call| call.0.signal.strong_count() > 0);
            self.needed = self.calls.len();
        }
        self.calls.push(Reverse(call));
    }
}

/// A signal to be given, which keeps nothing of what it wakes alive.
#[derive(Debug)]
struct Call {
    time: Time,
    signal: Weak<Signal>,
}

impl Call {
    fn give(&self) {
        if let Some(signal) = self.signal.upgrade() {
            signal.notify();
        }
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time
    }
}

impl Eq for Call {}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Call {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.time.cmp(&other.time)
    }
}

impl Alarm {
    fn run(&self) {
        let mut state = lock(&self.state);
        loop {
            let now = Time::now();
            let mut due = Vec::new();
            while let Some(first) = state.calls.peek()
                && first.0.time <= now
            {
                due.extend(state.calls.pop());
            }
            if !due.is_empty() {
                drop(state);
                for call in due {
                    call.0.give();
                }
                state = lock(&self.state);
                continue;
            }
            let left = state.calls.peek().map(|first| first.0.time.since(now));
            let (back, result) = self
                .sooner
                .wait_timeout(state, left.unwrap_or(STAYS))
                .unwrap_or_else(PoisonError::into_inner);
            state = back;
            if result.timed_out() && left.is_none() && state.calls.is_empty() {
                state.runs = false;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_given_in_the_order_of_their_times() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let done = Arc::<Signal>::default();
        let now = Time::now();
        let mut signals = Vec::new();
        for wait in [30, 10, 20, 0] {
            let (told, done) = (Arc::clone(&told), Arc::clone(&done));
            let signal = Signal::calling(move || {
                let mut told = lock(&told);
                told.push(wait);
                if told.len() == 4 {
                    done.notify();
                }
            });
            let signal = Arc::new(signal);
            ring_at(now + Duration::from_millis(wait), &signal);
            signals.push(signal);
        }
        assert!(done.wait_until(now + Duration::from_secs(30)));
        assert!(Time::now().since(now) >= Duration::from_millis(30));
        assert_eq!(*lock(&told), [0, 10, 20, 30]);
    }
    #[test]
    fn what_nobody_waits_for_is_not_kept_until_its_time() {
        let far = Time::now() + Duration::from_secs(3600);
        let mut state = State::default();
        let mut push = |signal| state.push(Call { time: far, signal });
        let waits = Arc::<Signal>::default();
        push(Arc::downgrade(&waits));
        for _ in 0..10_000 {
            push(Arc::downgrade(&Arc::default()));
        }
        assert!(state.calls.len() <= 2 * FEW);
        let kept = |call: &Reverse<Call>| call.0.signal.upgrade().is_some();
        assert_eq!(state.calls.iter().filter(|call| kept(call)).count(), 1);
    }
}
