//! How calls follow a probe: one after the other, at first as fast as the limit allows on average. A
//! flow that is refused goes on at half that speed, and faster by a tenth with each quiet window.
//!
//! The speed at which it was last refused is tried again only after several quiet windows: where the
//! limit was told too high, or others use it too, each trial costs a refusal and a pause.

use std::time::Duration;

use super::time::Time;

/// One start after the other, at whole speed.
#[derive(Debug, Clone, Copy)]
pub struct Spacing {
    /// Between two starts.
    pub interval: Duration,
    /// The window of the limit.
    pub window: Duration,
}

/// So many parts are whole speed.
const WHOLE: u32 = 10;

/// How many quiet windows have to pass at one part less than the speed that was refused.
const CAUTION: u32 = 5;

/// Starts in a row, from a probe until all may start as the limit lets them.
#[derive(Debug)]
pub struct Flow {
    /// Parts of the whole speed.
    parts: u32,
    /// The parts at which it was last refused, if it was.
    refused_at: Option<u32>,
    /// How many windows were quiet at this speed.
    quiet: u32,
    next: Time,
    /// The end of the window at this speed.
    until: Time,
    /// When refusals are remembered no more, once the flow has ended.
    forgets: Time,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            parts: WHOLE,
            refused_at: None,
            quiet: 0,
            next: Time::default(),
            until: Time::default(),
            forgets: Time::default(),
        }
    }
}

impl Flow {
    /// The first refusal of an episode. `flows` is whether the flow after the last one goes on.
    pub fn refused(&mut self, flows: bool, now: Time) {
        if flows || now < self.forgets {
            self.refused_at = Some(self.parts);
            self.parts = (self.parts / 2).max(1);
        } else {
            *self = Self::default();
        }
    }

    /// Begins with a start at `next`, unless something starts before.
    pub fn begin(&mut self, next: Time, now: Time, spacing: Spacing) {
        self.next = next;
        self.until = now + spacing.window;
        self.quiet = 0;
    }

    /// A call of `weight` permits starts. Whether the flow goes on; otherwise it has ended before.
    pub fn start(&mut self, now: Time, weight: u64, spacing: Spacing) -> bool {
        let Spacing { interval, window } = spacing;
        while now >= self.until {
            self.forgets = self.until + window;
            if self.parts == WHOLE || window.is_zero() {
                return false;
            }
            self.until = self.forgets;
            self.quiet += 1;
            if self.refused_at != Some(self.parts + 1) || self.quiet >= CAUTION {
                self.parts += 1;
                self.quiet = 0;
            }
        }
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let slower = interval.saturating_mul(WHOLE) / self.parts;
        // One call in a window is never too fast.
        let interval = slower.min(interval.max(window));
        self.next = now + interval.saturating_mul(weight);
        true
    }

    /// Nothing starts before.
    #[must_use]
    pub fn opens(&self) -> Time {
        if self.parts == WHOLE {
            self.next.min(self.until)
        } else {
            self.next
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Spacing = Spacing {
        interval: Duration::from_millis(100),
        window: Duration::from_secs(1),
    };

    fn at(seconds: f64) -> Time {
        Time::default() + Duration::from_secs_f64(seconds)
    }

    /// Starts as early as it may until `end`; the number of starts in each second, and when it ended.
    fn starts(flow: &mut Flow, from: f64, end: f64) -> (Vec<usize>, Option<f64>) {
        let seconds = |time: Time| time.since(Time::default()).as_secs_f64();
        let mut counts = Vec::new();
        let mut now = at(from).max(flow.opens());
        while now < at(end) {
            if !flow.start(now, 1, SPACING) {
                return (counts, Some(seconds(now)));
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let second = (seconds(now) - from) as usize;
            counts.resize(second.max(counts.len().saturating_sub(1)) + 1, 0);
            counts[second] += 1;
            now = flow.opens();
        }
        (counts, None)
    }

    #[test]
    fn calls_flow_for_one_window_where_nothing_is_refused() {
        let mut flow = Flow::default();
        flow.refused(false, at(1.0));
        flow.begin(at(2.0), at(2.0), SPACING);
        assert_eq!(starts(&mut flow, 2.0, 9.0), (vec![10], Some(3.0)));
    }

    #[test]
    fn a_flow_that_is_refused_is_slower_and_recovers_step_by_step() {
        let mut flow = Flow::default();
        flow.refused(false, at(1.0));
        flow.begin(at(2.0), at(2.0), SPACING);
        starts(&mut flow, 2.0, 2.5);
        flow.refused(true, at(2.5));
        flow.begin(at(3.0), at(3.0), SPACING);
        let (counts, ended) = starts(&mut flow, 3.0, 99.0);
        // Half, and a tenth more in each window; whole speed only after five quiet windows.
        assert_eq!(counts.iter().sum::<usize>(), 5 + 6 + 7 + 8 + 5 * 9 + 10);
        assert_eq!(ended, Some(13.0));
    }

    #[test]
    fn a_refusal_soon_after_the_flow_counts_as_one_of_it() {
        let mut flow = Flow::default();
        flow.begin(at(2.0), at(2.0), SPACING);
        assert_eq!(starts(&mut flow, 2.0, 9.0).1, Some(3.0));
        flow.refused(false, at(3.9));
        flow.begin(at(4.5), at(4.5), SPACING);
        assert_eq!(starts(&mut flow, 4.5, 5.5), (vec![5], None));
        // Long after it, everything begins anew.
        let ended = starts(&mut flow, 5.5, 99.0).1.map(|ended| ended + 1.5);
        flow.refused(false, at(ended.unwrap_or_default()));
        flow.begin(at(60.0), at(60.0), SPACING);
        assert_eq!(starts(&mut flow, 60.0, 99.0), (vec![10], Some(61.0)));
    }

    #[test]
    fn the_speed_that_was_refused_is_tried_again_only_after_several_windows() {
        // A server that allows 55 where 100 were told: in tenths, 5 are served and 6 refused.
        let mut flow = Flow::default();
        flow.refused(false, at(0.0));
        let mut refusals = 0;
        let mut served = 0;
        let mut now = at(1.0);
        flow.begin(now, now, SPACING);
        while now < at(61.0) {
            assert!(flow.start(now, 1, SPACING));
            served += 1;
            if flow.parts > 5 {
                refusals += 1;
                flow.refused(true, now);
                now = now + Duration::from_secs(1);
                flow.begin(now, now, SPACING);
            }
            now = flow.opens();
        }
        assert!(refusals <= 9, "{refusals}");
        assert!(served >= 220, "{served}");
    }

    #[test]
    fn however_slow_one_call_starts_in_each_window() {
        let spacing = Spacing {
            interval: Duration::from_secs(1),
            window: Duration::from_secs(1),
        };
        let mut flow = Flow::default();
        for refusal in 0..5 {
            flow.refused(refusal > 0, at(0.0));
        }
        flow.begin(at(1.0), at(1.0), spacing);
        assert!(flow.start(at(1.0), 1, spacing));
        assert_eq!(flow.opens(), at(2.0));
        let none = Spacing {
            interval: Duration::ZERO,
            window: Duration::ZERO,
        };
        flow.begin(at(3.0), at(3.0), none);
        assert!(!flow.start(at(3.0), 1, none), "no window, no flow");
    }
}
