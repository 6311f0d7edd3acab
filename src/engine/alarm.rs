//! Gives signals at their times, for those who wait without a thread of their own.
//!
//! Event loops round their timers up, to a millisecond where they use `epoll`, which at a thousand
//! permits a second is all there is between two of them. So one thread of the process sleeps for all,
//! while there is anything to wait for. It knows no Python, and holds up no end of a process.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::lock::lock;
use super::process::PerProcess;
use super::signal::Signal;
use super::time::Time;

/// How long the thread stays without anything to wait for.
const STAYS: Duration = Duration::from_secs(2);

static ALARM: LazyLock<PerProcess<Arc<Alarm>>> = LazyLock::new(|| PerProcess::new(Arc::default()));

/// Gives the signal at that time, or soon after; at once where no thread can be had for it.
pub(super) fn ring_at(time: Time, signal: &Arc<Signal>) {
    let alarm = ALARM.get(Arc::default);
    let mut state = lock(&alarm.state);
    let first = state.calls.peek().map_or(Time::NEVER, |first| first.0.time);
    state.calls.push(Reverse(Call {
        time,
        signal: Arc::clone(signal),
    }));
    if !state.runs {
        let same = Arc::clone(&alarm);
        let thread = thread::Builder::new().name("paceline-alarm".to_owned());
        state.runs = thread.spawn(move || same.run()).is_ok();
        if !state.runs {
            let calls = std::mem::take(&mut state.calls);
            drop(state);
            for call in calls {
                call.0.signal.notify();
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
    runs: bool,
}

#[derive(Debug)]
struct Call {
    time: Time,
    signal: Arc<Signal>,
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
                due.extend(state.calls.pop().map(|call| call.0.signal));
            }
            if !due.is_empty() {
                drop(state);
                for signal in due {
                    signal.notify();
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
        for wait in [30, 10, 20, 0] {
            let (told, done) = (Arc::clone(&told), Arc::clone(&done));
            let signal = Signal::calling(move || {
                let mut told = lock(&told);
                told.push(wait);
                if told.len() == 4 {
                    done.notify();
                }
            });
            ring_at(now + Duration::from_millis(wait), &Arc::new(signal));
        }
        assert!(done.wait_until(now + Duration::from_secs(30)));
        assert!(Time::now().since(now) >= Duration::from_millis(30));
        assert_eq!(*lock(&told), [0, 10, 20, 30]);
    }
}
