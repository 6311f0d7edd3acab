//! When a failed operation is called again, and for how long everybody pauses when a server says
//! that its limit was hit.

use std::time::Duration;

use super::time::Time;

/// How many calls of a batch may be repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// This many.
    Count(usize),
    /// This share of the operations read so far, but one where it is more than none.
    Share(f64),
}

impl Budget {
    /// Whether one more repetition is within the budget.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts far below 2^52
    pub fn allows(self, spent: usize, operations: usize) -> bool {
        match self {
            Self::Count(count) => spent < count,
            // The quotient is rounded as the share was when it was written down, so that 29 of 100
            // are within 0.29. The product of 0.29 and 100 is less than 29.
            Self::Share(share) => {
                share > 0.0 && (spent == 0 || (spent + 1) as f64 / operations as f64 <= share)
            }
        }
    }
}

/// When and how often failed operations are called again.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How often an operation is called at most.
    pub attempts: u32,
    /// The first wait at most; it doubles with each further one.
    pub backoff: Duration,
    /// Where that growth ends.
    pub max_backoff: Duration,
    /// Waits are drawn evenly from zero to that figure.
    pub jitter: bool,
    /// How long everybody pauses when the server did not say; by default as the backoff.
    pub default_pause: Option<Duration>,
    /// What the server asks for is cut to this.
    pub max_pause: Duration,
    /// How many calls may be repetitions.
    pub budget: Option<Budget>,
}

impl Policy {
    /// How long to wait after the failed call number `attempt`, from 1; `random` is drawn evenly
    /// from 0 to 1.
    #[must_use]
    pub fn backoff_after(&self, attempt: u32, random: f64) -> Duration {
        let most = doubled(self.backoff, attempt.saturating_sub(1)).min(self.max_backoff);
        if self.jitter {
            most.mul_f64(random.clamp(0.0, 1.0))
        } else {
            most
        }
    }
}

fn doubled(duration: Duration, times: u32) -> Duration {
    duration.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

/// A pause that a server's refusal leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Nothing starts before.
    pub until: Time,
    /// It is one of its own, not merely a longer one than before.
    pub begins: bool,
    /// The refusal is news: the call started after the last one that was.
    pub new_episode: bool,
}

/// Tells refusals of one episode from new ones.
#[derive(Debug, Default)]
pub struct Episodes {
    /// How many there were in a row.
    count: u32,
    /// When the last one began.
    decided: Time,
    /// When the last pause ends.
    until: Time,
    /// The longest pause of the last episode.
    length: Duration,
}

impl Episodes {
    /// A call that started at `started` was refused, and the server asks to wait `retry_after`.
    ///
    /// Those of calls that were under way when an episode began belong to it, however late they
    /// come: they tell nothing of the speed since, and let unknown waits grow no further. What they
    /// ask for is waited for all the same; one that does not say asks for no more than the pause
    /// that goes on, if one does.
    pub fn refused(
        &mut self,
        policy: &Policy,
        started: Time,
        now: Time,
        retry_after: Option<Duration>,
    ) -> Pause {
        let new_episode = self.count == 0 || started > self.decided;
        let over = now >= self.until;
        if new_episode {
            // After a quiet spell as long as that, growth begins anew.
            if now > self.until + self.length.max(policy.backoff) {
                self.count = 0;
            }
            self.count = self.count.saturating_add(1);
            self.length = Duration::ZERO;
            self.decided = now;
        }
        let unknown = || {
            let grown = doubled(policy.backoff, self.count.saturating_sub(1));
            policy
                .default_pause
                .unwrap_or(grown.min(policy.max_backoff))
        };
        if new_episode || over || retry_after.is_some() {
            let length = retry_after.unwrap_or_else(unknown).min(policy.max_pause);
            self.length = self.length.max(length);
            self.until = self.until.max(now + length);
        }
        Pause {
            until: self.until,
            begins: new_episode || over && now < self.until,
            new_episode,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::ParseFloatError;

    use super::*;
    use proptest::prelude::*;

    fn policy() -> Policy {
        Policy {
            attempts: 5,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(60),
            jitter: true,
            default_pause: None,
            max_pause: Duration::from_secs(3600),
            budget: None,
        }
    }

    fn at(seconds: f64) -> Time {
        Time::default() + Duration::from_secs_f64(seconds)
    }

    proptest! {
        #[test]
        fn backoff_stays_within_its_bounds(attempt in 1_u32..u32::MAX, random in 0.0..=1.0) {
            let policy = policy();
            let whole = Policy { jitter: false, ..policy }.backoff_after(attempt, random);
            let drawn = policy.backoff_after(attempt, random);
            prop_assert!(drawn <= whole);
            prop_assert!(whole <= policy.max_backoff);
            prop_assert!(whole >= policy.backoff);
        }

        #[test]
        fn a_pause_is_never_shortened_nor_longer_than_allowed(
            refusals in proptest::collection::vec((0.0..20.0, 0.0..5.0, proptest::option::of(0.0..1e9)), 1..40),
        ) {
            let policy = policy();
            let mut episodes = Episodes::default();
            let (mut now, mut until) = (Time::default(), Time::default());
            for (step, ran, retry_after) in refusals {
                now = now + Duration::from_secs_f64(step);
                let started = now - Duration::from_secs_f64(ran);
                let pause = episodes.refused(&policy, started, now, retry_after.map(Duration::from_secs_f64));
                prop_assert!(pause.until >= until);
                prop_assert!(pause.until <= until.max(now + policy.max_pause));
                until = pause.until;
            }
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let policy = Policy {
            jitter: false,
            ..policy()
        };
        let seconds: Vec<_> = (1..=9)
            .map(|attempt| policy.backoff_after(attempt, 0.3).as_secs_f64())
            .collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    /// What follows from refusals of calls, by their start: until when, a pause, an episode of its own.
    fn refusals() -> impl FnMut(f64, f64, Option<Duration>) -> (Time, bool, bool) {
        let mut episodes = Episodes::default();
        move |started, now, retry_after| {
            let pause = episodes.refused(&policy(), at(started), at(now), retry_after);
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

    #[test]
    fn unknown_waits_grow_and_recover() {
        let mut episodes = Episodes::default();
        assert_eq!(
            episodes.refused(&policy(), at(0.0), at(1.0), None).until,
            at(1.5)
        );
        assert_eq!(
            episodes.refused(&policy(), at(1.6), at(1.7), None).until,
            at(2.7)
        );
        assert_eq!(
            episodes.refused(&policy(), at(2.8), at(2.9), None).until,
            at(4.9)
        );
        assert_eq!(
            episodes.refused(&policy(), at(60.0), at(60.1), None).until,
            at(60.6)
        );
    }

    #[test]
    fn a_budget_is_a_number_or_a_share() {
        assert!(Budget::Count(2).allows(1, 0));
        assert!(!Budget::Count(2).allows(2, 1000));
        assert!(Budget::Share(0.1).allows(9, 100));
        assert!(!Budget::Share(0.1).allows(10, 100));
        assert!(Budget::Share(0.1).allows(0, 1), "one at least");
        assert!(!Budget::Share(0.1).allows(1, 19));
        assert!(Budget::Share(0.1).allows(1, 20));
        assert!(!Budget::Share(0.0).allows(0, 100));
    }

    #[test]
    fn a_share_is_spent_to_the_last_however_it_is_rounded() -> Result<(), ParseFloatError> {
        for digits in 1..4 {
            let operations = 10_usize.pow(digits);
            for allowed in 1..=operations {
                let share = format!("{allowed}e-{digits}").parse()?;
                let allows = |spent| Budget::Share(share).allows(spent, operations);
                let around = (allows(allowed - 1), allows(allowed));
                assert_eq!(around, (true, false), "{share} of {operations}");
            }
        }
        Ok(())
    }
}
