//! What follows a server's refusals: everybody pauses, then one call goes first, the probe, and the
//! others follow one by one when it has been answered.
//!
//! Refusals of calls that were under way when a pause began belong to it. One of a call that started
//! later is another one in a row; the episode that they make is over when a call is answered
//! without a refusal.
//!
//! Long by its tests.

use std::time::Duration;

use super::flow::{Flow, Spacing};
use super::retry::{GiveUp, Hopeless, Pause, Policy};
use super::time::Time;

/// A probe counts no longer when it has run for so many times as long as the slowest refusal of its
/// episode, and a little more.
const TIMES_AS_LONG: u32 = 2;
const LITTLE: Duration = Duration::from_millis(100);

/// Nor does one that has run for so long.
const LONGEST_PROBE: Duration = Duration::from_secs(10);

/// A call was refused, as the server's limit was hit.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// Of the executor that has called.
    pub policy: &'a Policy,
    /// When the call started.
    pub started: Time,
    /// How long the server asks to wait, if it says so.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everybody may start.
    Open,
    /// Whoever starts next is the probe.
    Due,
    /// The probe has started; nobody else starts before `until`, unless it is answered.
    Probing { started: Time, until: Time },
    /// One starts after the other.
    Flowing,
}

/// The refusals that were met at one limit, and what is to start until they are overcome.
#[derive(Debug)]
pub struct Recovery {
    phase: Phase,
    flow: Flow,
    /// When each pause of the episode was begun.
    in_a_row: Vec<Time>,
    /// How many in a row let unknown waits grow.
    growth: u32,
    /// When the last pause was begun. None started later that was under way then.
    decided: Option<Time>,
    /// When the server's pause ends.
    until: Time,
    /// How long the last pause was.
    length: Duration,
    /// How long a call of the episode ran at most before it was refused.
    slowest: Duration,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            phase: Phase::Open,
            flow: Flow::default(),
            in_a_row: Vec::new(),
            growth: 0,
            decided: None,
            until: Time::default(),
            length: Duration::ZERO,
            slowest: Duration::ZERO,
        }
    }
}

impl Recovery {
    /// A call was refused.
    ///
    /// Those that were under way when the last pause was begun tell nothing of the speed since, and
    /// let unknown waits grow no further. What they ask for is waited for all the same; one that does
    /// not say asks for no more than the pause that goes on, if one does.
    pub fn refused(&mut self, refusal: &Refusal<'_>, now: Time) -> Pause {
        let Refusal {
            policy,
            started,
            retry_after,
        } = *refusal;
        let is_news = self.decided.is_none_or(|decided| started > decided);
        let over = now >= self.until;
        if is_news {
            if self.in_a_row.is_empty() {
                self.slowest = Duration::ZERO;
                self.flow.refused(self.phase != Phase::Open, now);
            }
            // After a quiet spell as long as the last pause, growth begins anew.
            if started > self.until + self.length.max(policy.backoff) {
                self.growth = 0;
            }
            self.in_a_row.push(now);
            self.growth = self.growth.saturating_add(1);
            self.slowest = self.slowest.max(now.since(started));
            self.length = Duration::ZERO;
            self.decided = Some(now);
        }
        if is_news || over || retry_after.is_some() {
            let length = policy.pause(retry_after, self.growth, self.in_a_row.len());
            self.length = self.length.max(length);
            self.until = self.until.max(now + length);
        }
        let is_under_way = matches!(self.phase, Phase::Probing { .. });
        if is_news || now < self.until && !is_under_way {
            self.phase = Phase::Due;
        }
        Pause {
            until: self.until,
            begins: is_news || over && now < self.until,
            new_episode: is_news,
        }
    }

    /// The server has asked for a pause until then, at another limit that the call was charged to.
    pub fn extend(&mut self, until: Time) {
        self.until = self.until.max(until);
    }

    /// Whether it matters that calls start and end: otherwise nobody needs to tell.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.phase != Phase::Open || !self.in_a_row.is_empty()
    }

    /// Nothing starts before.
    #[must_use]
    pub fn opens(&self) -> Time {
        self.until.max(self.held_until())
    }

    /// The same, but for the server's pause.
    #[must_use]
    pub fn held_until(&self) -> Time {
        match self.phase {
            Phase::Open | Phase::Due => Time::default(),
            Phase::Probing { until, .. } => until,
            Phase::Flowing => self.flow.opens(),
        }
    }

    /// The same, if a probe is answered at once.
    #[must_use]
    pub fn surely_held_until(&self) -> Time {
        match self.phase {
            Phase::Probing { .. } => Time::default(),
            _ => self.held_until(),
        }
    }

    /// A call starts, which is let through at `now`, of `weight` permits.
    pub fn start(&mut self, started: Time, now: Time, weight: u64, spacing: Spacing) {
        self.phase = match self.phase {
            Phase::Due => Phase::Probing {
                started,
                until: now + self.longest_probe(),
            },
            Phase::Open => Phase::Open,
            Phase::Probing { .. } | Phase::Flowing => {
                if self.phase != Phase::Flowing {
                    // The probe runs for so long that it does not count any more.
                    self.flow.begin(now, now, spacing);
                }
                if self.flow.start(now, weight, spacing) {
                    Phase::Flowing
                } else {
                    Phase::Open
                }
            }
        };
    }

    fn longest_probe(&self) -> Duration {
        let longer = self.slowest.saturating_mul(TIMES_AS_LONG);
        longer.saturating_add(LITTLE).min(LONGEST_PROBE)
    }

    /// A call that started at `started` was answered without a refusal. Whether others may start
    /// earlier by that.
    pub fn answered(&mut self, started: Time, now: Time, spacing: Spacing) -> bool {
        if self.decided.is_some_and(|decided| started <= decided) {
            return false;
        }
        self.in_a_row.clear();
        let opens = matches!(self.phase, Phase::Probing { .. });
        if opens {
            let next = now.max(started + spacing.interval);
            self.flow.begin(next, now, spacing);
            self.phase = Phase::Flowing;
        }
        opens
    }

    /// A call that started at `started` has ended, and nobody knows whether the server has answered
    /// it: were it the probe, another one is to be. Whether others may start earlier by that.
    pub fn unanswered(&mut self, started: Time) -> bool {
        let probes = matches!(self.phase, Phase::Probing { started: at, .. } if at == started);
        if probes {
            self.phase = Phase::Due;
        }
        probes
    }

    /// Why one who has waited since then is to give up the server, if so.
    #[must_use]
    pub fn hopeless(&self, give_up: &GiveUp, since: Time, now: Time) -> Option<Hopeless> {
        let pause = self.until.since(now);
        if pause > give_up.pause {
            return Some(Hopeless::Pause(pause));
        }
        let before = self.in_a_row.partition_point(|begun| *begun < since);
        let refusals = self.in_a_row.len() - before;
        (refusals >= give_up.refusals).then_some(Hopeless::Refusals(refusals))
    }

    /// How long the last pause was.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::retry::Longer;
    use proptest::prelude::*;

    const SPACING: Spacing = Spacing {
        interval: Duration::from_millis(100),
        window: Duration::from_secs(1),
    };

    fn policy() -> Policy {
        Policy {
            attempts: 5,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(60),
            jitter: true,
            default_pause: None,
            max_pause: Duration::from_secs(3600),
            longer: Longer::End,
            budget: None,
        }
    }

    fn at(seconds: f64) -> Time {
        Time::default() + Duration::from_secs_f64(seconds)
    }

    fn refuse(
        recovery: &mut Recovery,
        started: f64,
        now: f64,
        retry_after: Option<Duration>,
    ) -> Pause {
        let refusal = Refusal {
            policy: &policy(),
            started: at(started),
            retry_after,
        };
        recovery.refused(&refusal, at(now))
    }

    fn start(recovery: &mut Recovery, now: f64) {
        assert!(recovery.opens() <= at(now), "nothing starts before");
        recovery.start(at(now), at(now), 1, SPACING);
    }

    fn answer(recovery: &mut Recovery, started: f64, now: f64) -> bool {
        recovery.answered(at(started), at(now), SPACING)
    }

    const TWO: Option<Duration> = Some(Duration::from_secs(2));

    #[test]
    fn one_goes_first_and_the_others_follow_evenly_for_a_window() {
        let mut recovery = Recovery::default();
        assert!(!recovery.is_active());
        refuse(&mut recovery, 0.9, 1.0, TWO);
        assert_eq!(recovery.opens(), at(3.0));
        start(&mut recovery, 3.0);
        assert!(recovery.opens() > at(3.2), "the others wait for it");
        assert!(recovery.surely_held_until() <= at(3.0));
        assert!(answer(&mut recovery, 3.0, 3.05));
        for start_at in [3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0] {
            assert_eq!(recovery.opens(), at(start_at));
            start(&mut recovery, start_at);
        }
        assert_eq!(recovery.opens(), at(4.05), "the window is over");
        start(&mut recovery, 4.05);
        assert!(!recovery.is_active());
    }

    #[test]
    fn a_probe_that_runs_longer_than_refusals_do_counts_no_longer() {
        let mut recovery = Recovery::default();
        refuse(&mut recovery, 0.95, 1.0, TWO);
        start(&mut recovery, 3.0);
        // Twice 50 ms, and 100 ms.
        assert_eq!(recovery.opens(), at(3.2));
        start(&mut recovery, 3.2);
        assert_eq!(recovery.opens(), at(3.3));
        assert!(recovery.is_active(), "nothing was answered yet");
        assert!(!answer(&mut recovery, 3.0, 33.0), "nobody waits for it");
        start(&mut recovery, 33.0);
        assert!(!recovery.is_active());
        // However long refusals take, nobody waits for longer than that.
        refuse(&mut recovery, 40.0, 99.0, Some(Duration::ZERO));
        start(&mut recovery, 99.0);
        assert_eq!(recovery.opens(), at(99.0) + LONGEST_PROBE);
    }

    #[test]
    fn a_probe_that_ends_without_an_answer_hands_its_part_on() {
        let mut recovery = Recovery::default();
        refuse(&mut recovery, 0.9, 1.0, TWO);
        start(&mut recovery, 3.0);
        assert!(!recovery.unanswered(at(2.0)), "that was another");
        assert!(recovery.unanswered(at(3.0)));
        assert_eq!(recovery.opens(), at(3.0));
        start(&mut recovery, 3.01);
        assert!(recovery.opens() > at(3.02));
        assert!(!answer(&mut recovery, 0.5, 3.02), "from before the pause");
        assert!(answer(&mut recovery, 3.01, 3.02));
    }

    #[test]
    fn a_server_is_given_up_at_so_many_refusals_in_a_row() {
        let mut recovery = Recovery::default();
        let give_up = policy().give_up();
        for pause in 0..5 {
            let started = f64::from(pause) * 10.0;
            assert_eq!(recovery.hopeless(&give_up, at(0.0), at(started)), None);
            refuse(&mut recovery, started, started + 0.1, Some(Duration::ZERO));
            // Those that were under way do not count.
            refuse(&mut recovery, started, started + 0.2, Some(Duration::ZERO));
            start(&mut recovery, started + 10.0);
        }
        assert!(recovery.hopeless(&give_up, at(0.0), at(50.0)).is_some());
        assert!(
            recovery.hopeless(&give_up, at(5.0), at(50.0)).is_none(),
            "one met only four"
        );
        answer(&mut recovery, 50.0, 50.1);
        assert_eq!(recovery.hopeless(&give_up, at(0.0), at(50.2)), None);
        let once = Policy {
            attempts: 1,
            ..policy()
        };
        refuse(&mut recovery, 60.0, 60.1, None);
        assert_eq!(recovery.hopeless(&once.give_up(), at(0.0), at(60.2)), None);
    }

    #[test]
    fn who_is_refused_again_after_the_time_asked_for_waits_longer() {
        let half = Some(Duration::from_millis(500));
        let mut recovery = Recovery::default();
        assert_eq!(refuse(&mut recovery, 0.9, 1.0, half).until, at(1.5));
        assert_eq!(refuse(&mut recovery, 1.5, 1.6, half).until, at(2.6));
        assert_eq!(refuse(&mut recovery, 2.6, 2.7, half).until, at(4.7));
        // What is asked for is the least.
        let minute = Some(Duration::from_secs(60));
        assert_eq!(refuse(&mut recovery, 4.7, 4.8, minute).until, at(64.8));
        start(&mut recovery, 64.8);
        answer(&mut recovery, 64.8, 64.9);
        assert_eq!(refuse(&mut recovery, 65.0, 65.1, half).until, at(65.6));
    }

    #[test]
    fn a_pause_that_is_too_long_is_not_waited_for() {
        let mut recovery = Recovery::default();
        refuse(&mut recovery, 0.9, 1.0, Some(Duration::from_secs(7200)));
        assert_eq!(recovery.opens(), at(7201.0));
        let give_up = policy().give_up();
        assert!(recovery.hopeless(&give_up, at(2.0), at(3600.0)).is_some());
        assert_eq!(recovery.hopeless(&give_up, at(2.0), at(3601.0)), None);
        let cut = Policy {
            longer: Longer::Cut,
            ..policy()
        };
        let refusal = Refusal {
            policy: &cut,
            started: at(10.0),
            retry_after: Some(Duration::MAX),
        };
        let mut recovery = Recovery::default();
        assert_eq!(recovery.refused(&refusal, at(11.0)).until, at(3611.0));
        assert_eq!(recovery.hopeless(&cut.give_up(), at(0.0), at(11.0)), None);
    }

    #[test]
    fn growth_begins_anew_after_a_quiet_spell_not_after_a_slow_refusal() {
        let mut recovery = Recovery::default();
        assert_eq!(refuse(&mut recovery, 0.0, 1.0, None).until, at(1.5));
        assert_eq!(refuse(&mut recovery, 1.6, 1.7, None).until, at(2.7));
        // It has begun right after the pause, and was long in coming.
        assert_eq!(refuse(&mut recovery, 2.8, 9.0, None).until, at(11.0));
        assert_eq!(refuse(&mut recovery, 60.0, 60.1, None).until, at(60.6));
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shortened_nor_longer_than_allowed(
            refusals in proptest::collection::vec((0.0..20.0, 0.0..5.0, proptest::option::of(0.0..1e9)), 1..40),
        ) {
            let policy = Policy { longer: Longer::Cut, ..policy() };
            let mut recovery = Recovery::default();
            let (mut now, mut until) = (Time::default(), Time::default());
            for (step, ran, retry_after) in refusals {
                now = now + Duration::from_secs_f64(step);
                let refusal = Refusal {
                    policy: &policy,
                    started: now - Duration::from_secs_f64(ran),
                    retry_after: retry_after.map(Duration::from_secs_f64),
                };
                let pause = recovery.refused(&refusal, now);
                prop_assert!(pause.until >= until);
                prop_assert!(pause.until <= until.max(now + policy.max_pause));
                until = pause.until;
            }
        }

        /// Calls start, end and are refused in any order; whoever waits does so for a time that comes.
        #[test]
        fn at_most_one_runs_between_a_pause_and_an_answer_and_nobody_waits_for_ever(
            steps in proptest::collection::vec((0..4_u8, 0..40_u64, any::<prop::sample::Index>()), 1..120),
        ) {
            let mut recovery = Recovery::default();
            let mut now = 1_000_u64;
            let mut running: Vec<u64> = Vec::new();
            let time = |millis: u64| Time::from_nanos(millis * 1_000_000);
            let mut since_pause: Option<(u64, usize)> = None;
            for (step, pass, which) in steps {
                now += pass;
                if step == 0 || running.is_empty() {
                    let opens = recovery.opens();
                    prop_assert!(opens.since(time(now)) <= Duration::from_secs(3600));
                    now = now.max(opens.as_nanos().div_ceil(1_000_000)) + 1;
                    let before = recovery.held_until();
                    recovery.start(time(now), time(now), 1, SPACING);
                    running.push(now);
                    if before > Time::default() {
                        // The first has run for too long.
                        since_pause = None;
                    } else if let Some((_, started)) = &mut since_pause {
                        *started += 1;
                        prop_assert_eq!(*started, 1);
                    }
                    continue;
                }
                let started = running.swap_remove(which.index(running.len()));
                match step {
                    1 => {
                        let policy = policy();
                        let refusal = Refusal { policy: &policy, started: time(started), retry_after: None };
                        let pause = recovery.refused(&refusal, time(now));
                        if recovery.held_until() == Time::default() {
                            since_pause = Some((now, 0));
                        }
                        prop_assert!(recovery.opens() >= pause.until);
                    }
                    2 => {
                        recovery.answered(time(started), time(now), SPACING);
                        if since_pause.is_some_and(|(paused, _)| started > paused) {
                            since_pause = None;
                        }
                    }
                    _ => {
                        recovery.unanswered(time(started));
                        since_pause = None;
                    }
                }
            }
        }
    }

    /// What follows from refusals of calls, by their start: until when, a pause, an episode of its own.
    fn refusals() -> impl FnMut(f64, f64, Option<Duration>) -> (Time, bool, bool) {
        let mut recovery = Recovery::default();
        move |started, now, retry_after| {
            let pause = refuse(&mut recovery, started, now, retry_after);
            (pause.until, pause.begins, pause.new_episode)
        }
    }

    #[test]
    fn refusals_of_calls_under_way_are_one_episode() {
        let retry_after = Some(Duration::from_secs(2));
        let mut refused = refusals();
        assert_eq!(refused(0.0, 1.0, retry_after), (at(3.0), true, true));
        assert_eq!(refused(0.9, 1.5, retry_after), (at(3.5), false, false));
        assert_eq!(refused(0.9, 1.6, None), (at(3.5), false, false));
        assert_eq!(refused(3.6, 3.7, retry_after), (at(5.7), true, true));
    }

    #[test]
    fn a_late_refusal_of_a_call_under_way_pauses_again() {
        let mut refused = refusals();
        assert_eq!(refused(0.0, 1.0, None), (at(1.5), true, true));
        // Each as long as the first: nothing was called meanwhile that would say more.
        assert_eq!(refused(0.9, 1.5, None), (at(2.0), true, false));
        assert_eq!(refused(0.5, 1.7, None), (at(2.0), false, false));
        assert_eq!(refused(0.0, 8.0, None), (at(8.5), true, false));
        let second = Some(Duration::from_secs(1));
        assert_eq!(refused(0.8, 9.0, second), (at(10.0), true, false));
        let at_once = Some(Duration::ZERO);
        assert_eq!(refused(0.1, 20.0, at_once), (at(20.0), false, false));
        // That of a later call is another episode, soon enough after the first to be longer.
        assert_eq!(refused(20.1, 20.2, None), (at(21.2), true, true));
    }
}
