//! Limiters that learn their margin: beside a plain list of permits, and the window as a server
//! counts it.

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::limiter::{Ended, Limiter, Rate, Turn};
use paceline::engine::signal::Signal;
use proptest::prelude::*;

use super::model::at;
use super::waiting::signalled;

const MS: u64 = 1_000_000;
/// After so many calls that say how long calls take, the shortest is known.
const ENOUGH: usize = 16;

fn learning(limit: u64, per: u64, burst: Option<u64>) -> (Limiter, u64, u64) {
    let rate = Rate::new(limit, Duration::from_nanos(per), burst, None).unwrap();
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
    let (bound, of_start) = (nanos(rate.bound().unwrap()), nanos(rate.margin()));
    (Limiter::new(rate), bound, of_start)
}

/// What is kept of one permit, or of several that were given together.
#[derive(Debug, Clone, Copy)]
struct Permit {
    started: u64,
    weight: u64,
    margin: u64,
    runs: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Idle(u64),
    Start(u64),
    Direct(u64),
    EndReason(usize, bool),
    WaitTime(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60 * MS).prop_map(Step::Idle),
        1 => (0..1500 * MS).prop_map(Step::Idle),
        6 => (0..4_u64).prop_map(Step::Start),
        1 => (0..4_u64).prop_map(Step::Direct),
        6 => (0..100_usize, prop::bool::weighted(0.8)).prop_map(|(which, typical)| Step::EndReason(which, typical)),
        1 => (0..4_u64).prop_map(Step::WaitTime),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// A permit is in the window until start + `per` + margin, whatever came before it.
    #[test]
    fn every_decision_while_learning_is_the_lists(
        limit in 1..6_u64,
        per in 1..1200_u64,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let per = per * MS;
        let (limiter, bound, of_start) = learning(limit, per, None);
        let mut permits: Vec<Permit> = Vec::new();
        let mut typical: Vec<u64> = Vec::new();
        let mut now = 1_000 * MS;
        let leaves = |permit: &Permit| permit.started + per + permit.margin;
        for step in steps {
            let used = |time: u64, permits: &[Permit]| -> u64 {
                let inside = permits.iter().filter(|permit| leaves(permit) > time);
                inside.map(|permit| permit.weight).sum()
            };
            match step {
                Step::Idle(length) => now += length,
                Step::Start(weight) => {
                    let weight = 1 + weight % limit;
                    let free = used(now, &permits) + weight <= limit;
                    prop_assert_eq!(limiter.is_free(weight, at(now)), free);
                    prop_assert_eq!(limiter.try_start(weight, None, at(now)), free);
                    if free {
                        permits.push(Permit { started: now, weight, margin: bound, runs: true });
                    }
                }
                Step::Direct(weight) => {
                    let weight = 1 + weight % limit;
                    let free = used(now, &permits) + weight <= limit;
                    prop_assert_eq!(limiter.try_acquire(weight, at(now)), free);
                    if free {
                        permits.push(Permit { started: now, weight, margin: of_start, runs: false });
                    }
                }
                Step::EndReason(which, says) => {
                    let running: Vec<_> = permits.iter().filter(|permit| permit.runs).collect();
                    if running.is_empty() {
                        continue;
                    }
                    let Permit { started, weight, .. } = *running[which % running.len()];
                    let duration = now - started;
                    if says {
                        typical.push(duration);
                    }
                    let known = typical.len() >= ENOUGH;
                    let least = typical.iter().min().filter(|_| known).map_or(0, |it| it - it / 16);
                    let same = |it: &&mut Permit| it.runs && (it.started, it.weight) == (started, weight);
                    let permit = permits.iter_mut().find(same).unwrap();
                    permit.runs = false;
                    // It may have left already, as one that runs for long.
                    if leaves(permit) > now {
                        permit.margin = bound.min(if duration < least { duration } else { duration - least });
                    }
                    let ended = Ended { started: at(started), weight, ended: at(now), first: false, typical: says };
                    limiter.end(&ended, at(now));
                }
                Step::WaitTime(weight) => {
                    let weight = 1 + weight % limit;
                    let changes = permits.iter().map(leaves).chain([now]);
                    let free = |time: &u64| *time >= now && used(*time, &permits) + weight <= limit;
                    let first = changes.filter(free).min().unwrap();
                    let wait = limiter.wait_time(weight, at(now));
                    prop_assert_eq!(wait, Duration::from_nanos(first - now));
                }
            }
        }
    }

    /// The second promise: whatever calls take on their way, up to the bound, no window of `per` as
    /// a server counts it holds more than the limit; and nobody sleeps on who could start.
    #[test]
    fn no_window_of_arrivals_holds_more_than_the_limit(
        limit in 1..6_u64,
        per in prop_oneof![1..100_u64, 1..4000_u64],
        burst in prop::option::of(0..6_u64),
        workers in 1..9_usize,
        (least, work) in (0..20 * MS, 0..200 * MS),
        calls in prop::collection::vec(
            (0..40 * MS, 0..=1000_u64, 0..60 * MS, 0..20_u32, 0..6_u64), 1..100,
        ),
    ) {
        let per = per * MS;
        let burst = burst.map(|burst| 1 + burst % limit);
        let (limiter, bound, of_start) = learning(limit, per, burst);
        let mut now = 1_000 * MS;
        let mut running: Vec<(u64, u64, u64)> = Vec::new();
        let mut arrivals: Vec<(u64, u64)> = Vec::new();
        for (number, (idle, way, back, kind, weight)) in calls.into_iter().enumerate() {
            let weight = 1 + weight % burst.unwrap_or(limit);
            let idle_until = now + idle;
            while let Some((end, ..)) = first_end(&running)
                && (end <= idle_until || running.len() >= workers)
            {
                now = now.max(end);
                tell_first_end(&limiter, &mut running);
            }
            now = now.max(idle_until);
            // One of those that it learns from is as short as any can be.
            let shortest = number % ENOUGH == 2;
            if kind == 1 && !shortest {
                if limiter.try_acquire(weight, at(now)) {
                    arrivals.push((now + least + of_start * way / 1000, weight));
                }
                continue;
            }
            let signal = Arc::new(Signal::default());
            let mut ticket = limiter.enqueue_call(weight, Arc::clone(&signal));
            let mut looks = 0;
            loop {
                looks += 1;
                prop_assert!(looks < 1000, "it looks and looks");
                let due = match ticket.try_start(at(now)) {
                    Turn::Ready => break,
                    Turn::At(due) => due,
                    Turn::Behind => return Err(TestCaseError::fail("nobody is ahead")),
                };
                match first_end(&running) {
                    Some((end, ..)) if at(end) < due => {
                        now = now.max(end);
                        tell_first_end(&limiter, &mut running);
                        // Not told, it would sleep until the time that it was told before. (A pace
                        // changes a little with the margin in effect, and nobody is told of that.)
                        if !signalled(&signal) && burst.is_none() {
                            prop_assert_eq!(ticket.turn(at(now)), Turn::At(due));
                        }
                    }
                    _ => now = due.as_nanos(),
                }
            }
            let (way, back) = if shortest { (0, 0) } else { (bound * way / 1000, back) };
            arrivals.push((now + least + way, weight));
            // Of some the end is never told.
            if kind > 0 || shortest {
                running.push((now + least + way + work + back, now, weight));
            }
        }
        arrivals.sort_unstable();
        for (first, (begin, _)) in arrivals.iter().enumerate() {
            let window = arrivals[first..].iter().take_while(|(time, _)| time - begin < per);
            let sum: u64 = window.map(|(_, weight)| weight).sum();
            prop_assert!(sum <= limit, "{sum} arrivals in a window that begins at {begin}");
        }
    }
}

fn first_end(running: &[(u64, u64, u64)]) -> Option<(u64, u64, u64)> {
    running.iter().min().copied()
}

fn tell_first_end(limiter: &Limiter, running: &mut Vec<(u64, u64, u64)>) {
    let (end, started, weight) = first_end(running).unwrap();
    running.retain(|call| *call != (end, started, weight));
    let ended = Ended {
        started: at(started),
        weight,
        ended: at(end),
        first: false,
        typical: true,
    };
    limiter.end(&ended, at(end));
}

fn ended(started: u64, ended: u64) -> Ended {
    Ended {
        started: at(started),
        weight: 1,
        ended: at(ended),
        first: false,
        typical: true,
    }
}

#[test]
fn the_first_who_waits_is_woken_when_a_call_ends_that_it_waits_for() {
    let (limiter, bound, _) = learning(1, 10 * MS, None);
    let began = 1_000 * MS;
    assert!(limiter.try_start(1, None, at(began)));
    let [first, second] = [(); 2].map(|()| Arc::new(Signal::default()));
    let mut ticket = limiter.enqueue(1, Arc::clone(&first));
    let latest = at(began + 10 * MS + bound);
    assert_eq!(ticket.try_start(at(began)), Turn::At(latest));
    assert!(!ticket.comes_after(at(began + 10 * MS), at(began)));
    assert!(ticket.comes_after(at(began + 10 * MS - 1), at(began)));
    let mut behind = limiter.enqueue(1, Arc::clone(&second));
    assert_eq!(behind.try_start(at(began)), Turn::Behind);
    limiter.end(&ended(began, began + 15 * MS), at(began + 15 * MS));
    assert!(signalled(&first) && !signalled(&second));
    // All of it may have been the way there, so the window of the server ends 10 ms after its end.
    let due = at(began + 25 * MS);
    assert_eq!(ticket.try_start(at(began + 15 * MS)), Turn::At(due));
    assert_eq!(ticket.try_start(due), Turn::Ready);
    assert!(signalled(&second));
}

#[test]
fn of_a_combination_each_part_learns_by_itself() {
    let (short, short_bound, _) = learning(1, 10 * MS, None);
    let (long, long_bound, _) = learning(1, 10_000 * MS, None);
    let fixed = Rate::new(1, Duration::from_millis(10), None, Some(Duration::ZERO)).unwrap();
    let fixed = Limiter::new(fixed);
    let all = Limiter::all_of([&short, &long, &fixed]);
    assert!(all.learns() && !fixed.learns());
    let began = 1_000 * MS;
    assert!(all.try_start(1, None, at(began)));
    let waits = |limiter: &Limiter, now| limiter.wait_time(1, at(now)).as_nanos();
    assert_eq!(waits(&short, began), u128::from(10 * MS + short_bound));
    assert_eq!(waits(&long, began), u128::from(10_000 * MS + long_bound));
    assert_eq!(waits(&fixed, began), u128::from(10 * MS));
    all.end(&ended(began, began + 5 * MS), at(began + 5 * MS));
    assert_eq!(waits(&short, began + 5 * MS), u128::from(10 * MS));
    assert_eq!(waits(&long, began + 5 * MS), u128::from(10_000 * MS));
    assert_eq!(waits(&fixed, began + 5 * MS), u128::from(5 * MS));
    assert_eq!(all.margin(), Duration::from_millis(5));
}

#[test]
fn a_changed_limit_holds_for_those_who_wait_and_for_what_was_permitted() {
    let second = Duration::from_secs(1);
    let rate = Rate::new(2, second, None, Some(Duration::ZERO)).unwrap();
    let limiter = Limiter::new(rate);
    let began = 1_000 * MS;
    assert!(limiter.try_acquire(2, at(began)));
    let [first, second_one] = [(); 2].map(|()| Arc::new(Signal::default()));
    let mut ticket = limiter.enqueue(1, Arc::clone(&first));
    let mut heavy = limiter.enqueue(2, Arc::clone(&second_one));
    assert_eq!(ticket.try_start(at(began)), Turn::At(at(began + 1000 * MS)));
    // More of them: one may start at once.
    limiter
        .change(rate.changed(3, second).unwrap(), at(began + MS))
        .unwrap();
    assert!(signalled(&first) && signalled(&second_one));
    assert_eq!(ticket.try_start(at(began + MS)), Turn::Ready);
    assert_eq!(
        heavy.try_start(at(began + MS)),
        Turn::At(at(began + 1000 * MS))
    );
    // A longer window: what is in it stays longer.
    limiter
        .change(rate.changed(3, second * 2).unwrap(), at(began + MS))
        .unwrap();
    assert!(signalled(&second_one));
    assert_eq!(
        heavy.try_start(at(began + MS)),
        Turn::At(at(began + 2000 * MS))
    );
    // Fewer than it waits for: it is never granted, and leaves when it looks.
    limiter
        .change(rate.changed(1, second / 2).unwrap(), at(began + 2 * MS))
        .unwrap();
    assert!(signalled(&second_one));
    assert_eq!(limiter.largest_weight(), 1);
    assert_eq!(
        heavy.try_start(at(began + 2 * MS)),
        Turn::At(paceline::engine::time::Time::NEVER)
    );
    drop(heavy);
    assert_eq!(
        limiter.wait_time(1, at(began + 2 * MS)),
        Duration::from_millis(499)
    );
}

#[test]
fn a_metronome_has_no_gap_at_the_end_of_a_window() {
    for margin in [None, Some(Duration::from_millis(10))] {
        let rate = Rate::new(50, Duration::from_secs(1), Some(1), margin).unwrap();
        let limiter = Limiter::new(rate);
        let mut now = 1_000 * MS;
        let mut starts = Vec::new();
        for _ in 0..500 {
            let mut ticket = limiter.enqueue_call(1, Arc::default());
            while let Turn::At(due) = ticket.try_start(at(now)) {
                now = due.as_nanos();
            }
            starts.push(now);
            limiter.end(&ended(now, now + 5 * MS), at(now + 5 * MS));
        }
        let gaps = starts.windows(2).map(|pair| pair[1] - pair[0]);
        let even = gaps.filter(|gap| gap.abs_diff(20 * MS) <= MS).count();
        assert!(even >= 495, "{even} of 499 at {margin:?}");
        let took = starts[499] - starts[0];
        assert!(
            took * 985 <= 499 * 20 * MS * 1000,
            "{took} ns at {margin:?}"
        );
    }
}
