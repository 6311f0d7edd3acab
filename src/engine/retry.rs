//! When a failed operation is called again, for how long everybody pauses when a server says that
//! its limit was hit, and when to give it up.

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

/// What becomes of a server that asks for a longer pause than the policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Longer {
    /// It is given up.
    End,
    /// It is called again when the longest pause is over.
    Cut,
}

/// When a server is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GiveUp {
    /// At so many refusals in a row, each of a call that started after the pause before.
    pub refusals: usize,
    /// At a pause that still lasts longer than this.
    pub pause: Duration,
}

/// Why a server was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hopeless {
    /// It has refused so many times in a row.
    Refusals(usize),
    /// It asks for a pause that still lasts so long.
    Pause(Duration),
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
    /// The longest pause.
    pub max_pause: Duration,
    /// What becomes of a server that asks for a longer one.
    pub longer: Longer,
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

    /// How long everybody pauses after a refusal that asks for `retry_after`. Unknown waits grow, and
    /// this one is the `growth`th of them, from 1. It is the last refusal of so many `in_a_row`: a
    /// server that refuses again after the time that it has asked for is asked less and less often.
    #[must_use]
    pub fn pause(&self, retry_after: Option<Duration>, growth: u32, in_a_row: usize) -> Duration {
        let grown = |times: u32| doubled(self.backoff, times).min(self.max_backoff);
        let again = u32::try_from(in_a_row.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = match retry_after {
            Some(asked) if again > 0 => asked.max(grown(again)),
            Some(asked) => asked,
            None => self
                .default_pause
                .unwrap_or_else(|| grown(growth.saturating_sub(1))),
        };
        let least = match self.longer {
            Longer::End => retry_after.unwrap_or_default(),
            Longer::Cut => Duration::ZERO,
        };
        pause.min(self.max_pause).max(least)
    }

    /// When to give a server up. One refusal alone is never taken for the last word.
    #[must_use]
    pub fn give_up(&self) -> GiveUp {
        GiveUp {
            refusals: usize::try_from(self.attempts.max(2)).unwrap_or(usize::MAX),
            pause: match self.longer {
                Longer::End => self.max_pause,
                Longer::Cut => Duration::MAX,
            },
        }
    }
}

fn doubled(duration: Duration, times: u32) -> Duration {
    duration.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

/// A pause that a server's refusal leads to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Nothing starts before.
    pub until: Time,
    /// It is one of its own, not merely a longer one than before.
    pub begins: bool,
    /// The refusal is news: the call started after the last one that was.
    pub new_episode: bool,
}

impl Pause {
    /// The same at several limits at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            until: self.until.max(other.until),
            begins: self.begins || other.begins,
            new_episode: self.new_episode || other.new_episode,
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
            longer: Longer::End,
            budget: None,
        }
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
