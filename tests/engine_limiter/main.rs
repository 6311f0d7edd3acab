//! Random histories of a limiter against a model that keeps a plain list of times.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod model;
mod server;
mod steps;
mod store;
mod waiting;
mod world;

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::limiter::{Limiter, Rate, Ticket, Told, Turn};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;
use proptest::prelude::*;

use self::model::{Model, Setting, at};
use self::steps::{length, setting, step};
use self::store::Store;
use self::waiting::signalled;
use self::world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_is_the_models(
        settings in [setting(), setting(), setting()],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        for store in [Store::Memory, Store::host_file()] {
            let mut world = World::new(settings, &store);
            for step in &steps {
                world.step(step)?;
            }
            world.drain()?;
            for model in &world.models {
                model.check_history()?;
            }
        }
    }

    /// From windows of ten milliseconds to those of a day, and rates of less than one a second.
    #[test]
    fn windows_of_every_length_are_the_models(
        (per, limit, burst) in (
            prop::sample::select(vec![10_000_000, 500_000_000, 9_000_000_000, 86_400_000_000_000]),
            1..30_u64,
            prop::option::of(0..30_u64),
        ),
        steps in prop::collection::vec((0..2500_u64, 0..30_u64), 1..60),
    ) {
        let burst = burst.map(|burst| 1 + burst % limit);
        let setting = Setting { limit, per, margin: 0, burst };
        for store in [Store::Memory, Store::host_file()] {
            let limiter = store.limiter(setting.rate());
            let mut model = Model::new(setting);
            let mut now = per;
            for (idle, weight) in &steps {
                now += per / limit * idle / 1000;
                model.latest = now;
                let weight = 1 + weight % setting.largest_weight();
                let wait = model.first_time(weight) - now;
                prop_assert_eq!(limiter.wait_time(weight, at(now)), Duration::from_nanos(wait));
                let free = model.permits_at(weight, now);
                prop_assert_eq!(limiter.try_acquire(weight, at(now)), free);
                if free {
                    model.give(weight, false);
                }
            }
            model.check_history()?;
        }
    }

    /// Whatever the server refuses, an adaptive limiter keeps its limit and nobody waits for ever.
    #[test]
    fn an_adaptive_limit_is_never_exceeded(
        setting in setting(),
        steps in prop::collection::vec((length(), 0..8_u64, 0..6_u32), 1..80),
    ) {
        for store in [Store::Memory, Store::host_file()] {
        let limiter = store.limiter(setting.rate().adaptive().unwrap());
        let mut model = Model::new(setting);
        let mut now = 1_000_000_000;
        for (idle, weight, refused) in steps.clone() {
            now += idle;
            if refused == 0 {
                limiter.slow_down(at(now));
            }
            let weight = 1 + weight % setting.largest_weight();
            let mut ticket = limiter.enqueue(weight, Arc::default());
            let foreseen = foreseen(&ticket, now);
            let mut turns = 0;
            loop {
                match ticket.try_start(at(now)) {
                    Turn::Ready => break,
                    Turn::At(due) => {
                        prop_assert!(due > at(now), "told to wait for the past");
                        now = due.as_nanos();
                    }
                    Turn::Behind => prop_assert!(false, "nobody is ahead"),
                }
                turns += 1;
                prop_assert!(turns < 50, "waits for ever");
            }
            // A limit that is shared says when to look again: when it grows, for one.
                let shared = matches!(store, Store::HostFile(..));
                let kept = at(now) == foreseen || shared && at(now) > foreseen;
                prop_assert!(kept, "foreseen {foreseen:?}, granted at {now}");
            model.permits.push((now, weight));
            let effective = limiter.effective_limit(at(now));
            prop_assert!((1..=setting.limit).contains(&effective));
        }
        // The pace is kept too, and at the full limit it is no faster than without cuts.
        model.check_history()?;
        }
    }
}

fn foreseen(ticket: &Ticket, now: u64) -> Time {
    match ticket.turn(at(now)) {
        Turn::Ready => at(now),
        Turn::At(due) => due,
        Turn::Behind => Time::NEVER,
    }
}

#[test]
fn a_huge_limit_costs_nothing_until_it_is_used() {
    let rate = Rate::new(Rate::LARGEST_LIMIT, Duration::from_secs(1), None, None).unwrap();
    let limiter = Limiter::new(rate);
    assert!(limiter.try_acquire(Rate::LARGEST_LIMIT, at(5)));
    assert!(!limiter.try_acquire(1, at(5)));
    assert!(!limiter.try_acquire(Rate::LARGEST_LIMIT, at(5)));
    assert_eq!(limiter.wait_time(1, at(5)), Duration::from_millis(1010));
}

#[test]
fn more_than_the_rate_ever_allows_is_never_granted() {
    let second = Duration::from_secs(1);
    let whole = Limiter::new(Rate::new(5, second, None, None).unwrap());
    let paced = Limiter::new(Rate::new(5, second, Some(2), None).unwrap());
    for (limiter, weight) in [
        (&whole, 6),
        (&whole, u64::MAX),
        (&paced, 3),
        (&Limiter::all_of([&whole, &paced]), 3),
    ] {
        assert!(weight > limiter.largest_weight());
        assert!(!limiter.try_acquire(weight, at(1)));
        assert_eq!(limiter.wait_time(weight, at(1)), Time::NEVER.since(at(1)));
        let mut ticket = limiter.enqueue(weight, Arc::default());
        assert_eq!(ticket.try_start(at(1)), Turn::At(Time::NEVER));
        assert_eq!(limiter.wait_time(1, at(1)), Time::NEVER.since(at(1)));
    }
    assert!(whole.try_acquire(5, at(1)) && paced.try_acquire(2, at(1)));
}

#[test]
fn a_full_window_frees_itself_permit_by_permit() {
    let second = Duration::from_secs(1);
    let limiter = Limiter::new(Rate::new(3, second, None, Some(Duration::ZERO)).unwrap());
    for start in [0, 10, 20] {
        assert!(limiter.try_acquire(1, at(start)));
    }
    assert!(!limiter.try_acquire(1, at(999_999_999)));
    assert!(limiter.try_acquire(1, at(1_000_000_000)));
    assert!(!limiter.try_acquire(1, at(1_000_000_009)));
    assert!(limiter.try_acquire(1, at(1_000_000_010)));
    assert_eq!(limiter.wait_time(3, at(1_000_000_010)), second);
}

#[test]
fn a_ticket_that_is_dropped_takes_nothing_and_wakes_the_next() {
    let limiter = Limiter::new(Rate::new(2, Duration::from_secs(1), None, None).unwrap());
    let (first, second) = (Arc::new(Signal::default()), Arc::new(Signal::default()));
    let heavy = limiter.enqueue(2, Arc::clone(&first));
    let mut light = limiter.enqueue(1, Arc::clone(&second));
    assert_eq!(light.try_start(at(1)), Turn::Behind);
    assert!(!limiter.try_acquire(1, at(1)), "overtook the queue");
    assert!(!signalled(&second));
    drop(heavy);
    assert!(signalled(&second) && !signalled(&first));
    assert_eq!(light.try_start(at(1)), Turn::Ready);
    assert_eq!(light.try_start(at(1)), Turn::Behind, "once is all");
    drop(light);
    assert!(limiter.try_acquire(1, at(1)));
    assert!(!limiter.try_acquire(1, at(1)));
}

#[test]
fn a_ticket_that_steps_aside_lets_others_go_first_and_keeps_its_place() {
    let second = Duration::from_secs(1);
    let limiter = Limiter::new(Rate::new(2, second, None, Some(Duration::ZERO)).unwrap());
    let both = Limiter::all_of([
        &limiter,
        &Limiter::new(Rate::new(9, second, None, None).unwrap()),
    ]);
    assert!(limiter.try_acquire(1, at(1)));
    let [first, second, third] = [(); 3].map(|()| Arc::new(Signal::default()));
    let mut heavy = both.enqueue(2, Arc::clone(&first));
    let mut light = limiter.enqueue(1, Arc::clone(&second));
    assert_eq!(heavy.try_start(at(1)), Turn::At(at(1_000_000_001)));
    assert_eq!(light.try_start(at(1)), Turn::Behind);
    heavy.step_aside();
    assert!(signalled(&second) && !signalled(&first));
    assert_eq!(light.turn(at(1)), Turn::Ready);
    // Both are aside: nobody is in the way of one who comes now.
    light.step_aside();
    assert_eq!(limiter.wait_time(1, at(1)), Duration::ZERO);
    let mut last = limiter.enqueue(1, Arc::clone(&third));
    assert_eq!(last.turn(at(1)), Turn::Ready);
    // Back in their places, they are ahead again.
    assert_eq!(heavy.try_start(at(1)), Turn::At(at(1_000_000_001)));
    assert_eq!(light.try_start(at(1)), Turn::Behind);
    assert_eq!(last.try_start(at(1)), Turn::Behind);
    assert!(!limiter.try_acquire(1, at(1)));
    // One that is aside may leave, and nobody's turn comes by that.
    heavy.step_aside();
    assert!(signalled(&second));
    drop(heavy);
    assert!(
        ![&first, &second, &third]
            .into_iter()
            .any(|signal| signalled(signal))
    );
    assert_eq!(light.try_start(at(1)), Turn::Ready);
    assert!(signalled(&third));
}

/// Two rates of so many permits a second, without margins, and the combination of both.
fn pair(one: u64, other: u64) -> (Limiter, Limiter, Limiter) {
    let second = Duration::from_secs(1);
    let [one, other] = [one, other]
        .map(|limit| Limiter::new(Rate::new(limit, second, None, Some(Duration::ZERO)).unwrap()));
    let both = Limiter::all_of([&one, &other]);
    (one, other, both)
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn one_who_waits_for_a_rate_lets_others_use_another_one() {
    let (account, reports, both) = pair(3, 1);
    assert!(both.try_acquire(1, at(5)));
    let mut report = both.enqueue(1, Arc::default());
    assert_eq!(report.try_start(at(6)), Turn::At(at(SECOND + 5)));
    // One of the two that are left on the account may go first, and does not make the report late.
    assert_eq!(account.wait_time(1, at(6)), Duration::ZERO);
    assert!(account.try_acquire(1, at(6)));
    // The last one too: what was taken first is back in time.
    assert!(account.enqueue(1, Arc::default()).try_start(at(6)) == Turn::Ready);
    assert_eq!(account.wait_time(1, at(6)), Duration::from_nanos(SECOND));
    assert!(!account.try_acquire(1, at(6)));
    assert!(!reports.try_acquire(1, at(6)));
    assert_eq!(
        reports.wait_time(1, at(6)),
        Duration::from_nanos(2 * SECOND - 1)
    );
    assert_eq!(report.try_start(at(SECOND + 5)), Turn::Ready);
}

#[test]
fn nobody_who_goes_first_makes_one_late_who_came_before() {
    let (account, reports, both) = pair(2, 1);
    assert!(reports.try_acquire(1, at(5)));
    assert!(account.try_acquire(1, at(SECOND)));
    let (first, second) = (Arc::new(Signal::default()), Arc::new(Signal::default()));
    let mut report = both.enqueue(1, Arc::clone(&first));
    assert_eq!(report.try_start(at(SECOND)), Turn::At(at(SECOND + 5)));
    // The last permit of the account would be missed when the report is due.
    assert!(!account.try_acquire(1, at(SECOND)));
    assert_eq!(
        account.wait_time(1, at(SECOND)),
        Duration::from_nanos(SECOND)
    );
    let mut other = account.enqueue(1, Arc::clone(&second));
    assert_eq!(other.try_start(at(SECOND)), Turn::Behind);
    // It is told as soon as the report is later for another reason, but not before.
    assert_eq!(report.try_start(at(SECOND + 1)), Turn::At(at(SECOND + 5)));
    assert!(!signalled(&second));
    reports.pause_until(at(4 * SECOND), at(SECOND + 1));
    assert!(signalled(&first) && !signalled(&second));
    assert_eq!(report.try_start(at(SECOND + 2)), Turn::At(at(4 * SECOND)));
    assert!(signalled(&second) && !signalled(&first));
    assert_eq!(other.try_start(at(SECOND + 2)), Turn::Ready);
    assert_eq!(report.try_start(at(4 * SECOND)), Turn::Ready);
}

#[test]
fn what_cannot_all_be_kept_keeps_nobody_out_who_makes_none_later() {
    let rate = |limit, millis, span| {
        let per = Duration::from_millis(millis);
        let limiter = Limiter::new(Rate::new(limit, per, None, Some(Duration::ZERO)).unwrap());
        assert!(limiter.try_acquire(span, at(SECOND)));
        limiter
    };
    let (one, other) = (rate(1, 1500, 1), rate(2, 1600, 2));
    let (account, _, _) = pair(2, 1);
    let [mut first, mut second] = [(&one, 1), (&other, 2)]
        .map(|(part, weight)| Limiter::all_of([&account, part]).enqueue(weight, Arc::default()));
    let millis = |millis: u64| at(SECOND + millis * 1_000_000);
    assert_eq!(first.try_start(millis(0)), Turn::At(millis(1500)));
    // With the permit of the first there is no room for both of its own then.
    assert_eq!(second.try_start(millis(0)), Turn::At(millis(1600)));
    assert_eq!(account.wait_time(1, millis(0)), Duration::ZERO);
    assert!(account.try_acquire(1, millis(0)));
    assert_eq!(first.try_start(millis(1500)), Turn::Ready);
    assert_eq!(second.try_start(millis(1600)), Turn::At(millis(2500)));
    assert_eq!(second.try_start(millis(2500)), Turn::Ready);
}

#[test]
fn two_rates_that_are_never_free_together_do_not_keep_one_waiting() {
    let (one, other, both) = pair(1, 1);
    let half = SECOND / 2;
    assert!(one.try_acquire(1, at(half)));
    assert!(other.try_acquire(1, at(SECOND)));
    let mut combined = both.enqueue(1, Arc::default());
    assert_eq!(combined.try_start(at(SECOND)), Turn::At(at(2 * SECOND)));
    // Each is taken anew as soon as it is free, for ever, by anybody who may go first.
    assert!(
        !one.try_acquire(1, at(3 * half)),
        "it would be missed at two seconds"
    );
    let mut next = one.enqueue(1, Arc::default());
    assert_eq!(next.try_start(at(3 * half)), Turn::Behind);
    assert!(!other.try_acquire(1, at(2 * SECOND)));
    assert_eq!(combined.try_start(at(2 * SECOND)), Turn::Ready);
    assert_eq!(next.try_start(at(2 * SECOND)), Turn::At(at(3 * SECOND)));
}

#[test]
fn one_who_stands_behind_at_one_rate_keeps_nobody_from_another() {
    let (account, reports, both) = pair(2, 1);
    assert!(reports.try_acquire(1, at(5)));
    let [first, second, third] = [(); 3].map(|()| Arc::new(Signal::default()));
    let mut ahead = reports.enqueue(1, Arc::clone(&first));
    assert_eq!(ahead.try_start(at(5)), Turn::At(at(SECOND + 5)));
    let mut report = both.enqueue(1, Arc::clone(&second));
    assert_eq!(report.try_start(at(6)), Turn::Behind);
    // Nobody knows when it can start, so it keeps nothing of the account for that.
    assert!(account.try_acquire(1, at(7)) && account.try_acquire(1, at(7)));
    let mut other = account.enqueue(1, Arc::clone(&third));
    assert_eq!(other.try_start(at(7)), Turn::At(at(SECOND + 7)));
    // When it comes to be the first, it is told, and the one that went before it waits its turn.
    drop(ahead);
    assert!(signalled(&second));
    assert_eq!(report.try_start(at(7)), Turn::At(at(SECOND + 7)));
    assert_eq!(other.try_start(at(SECOND + 7)), Turn::Behind);
    assert_eq!(report.try_start(at(SECOND + 7)), Turn::Ready);
    assert!(signalled(&third));
    assert_eq!(other.try_start(at(SECOND + 7)), Turn::Ready);
}

#[test]
fn no_more_is_given_than_a_server_says_is_left() {
    let second = 1_000_000_000;
    let limiter = Limiter::new(Rate::new(100, Duration::from_secs(1), None, None).unwrap());
    let told = |started, remaining| Told {
        started: at(started),
        remaining,
        until: at(5 * second),
        running: 1,
    };
    assert!(limiter.try_acquire(1, at(10)));
    limiter.hear(&told(10, 3), at(20));
    assert!(!limiter.try_acquire(3, at(20)));
    assert!(limiter.try_acquire(2, at(20)));
    assert!(!limiter.try_acquire(1, at(4 * second)));
    assert_eq!(limiter.wait_time(1, at(4 * second)), Duration::from_secs(1));
    // Those who wait are woken when there is more, and not when there is less.
    let signal = Arc::new(Signal::default());
    let mut ticket = limiter.enqueue(1, Arc::clone(&signal));
    assert_eq!(ticket.try_start(at(4 * second)), Turn::At(at(5 * second)));
    limiter.hear(&told(20, 1), at(4 * second));
    assert!(!signalled(&signal));
    limiter.hear(&told(4 * second, 2), at(4 * second + 1));
    assert!(signalled(&signal));
    assert_eq!(ticket.try_start(at(4 * second + 1)), Turn::Ready);
    assert!(!limiter.try_acquire(1, at(5 * second - 1)));
    assert!(limiter.try_acquire(100, at(6 * second)));
}
