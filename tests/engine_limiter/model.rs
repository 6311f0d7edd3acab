//! One rate as a plain list of the times of its permits, without any of the limiter's cleverness.

use std::time::Duration;

use paceline::engine::limiter::Rate;
use paceline::engine::time::Time;
use proptest::prelude::*;

/// Coarse enough that histories often meet at the same instant, and a quarter of the lateness
/// that pacing makes up for.
pub(crate) const UNIT: u64 = 250_000;
const TOLERANCE: u64 = 1_000_000;

pub(crate) fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) limit: u64,
    pub(crate) per: u64,
    pub(crate) margin: u64,
    pub(crate) burst: Option<u64>,
}

impl Setting {
    pub(crate) fn rate(self) -> Rate {
        Rate::new(
            self.limit,
            Duration::from_nanos(self.per),
            self.burst,
            Some(Duration::from_nanos(self.margin)),
        )
        .unwrap()
    }

    pub(crate) fn largest_weight(self) -> u64 {
        self.burst.unwrap_or(self.limit)
    }

    pub(crate) fn interval(self) -> u64 {
        (self.per + self.margin).div_ceil(self.limit)
    }
}

/// One rate, told by the list of everything it ever permitted.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) setting: Setting,
    pub(crate) permits: Vec<(u64, u64)>,
    earned: u64,
    pub(crate) paused_until: u64,
    pub(crate) latest: u64,
}

impl Model {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            setting,
            permits: Vec::new(),
            earned: 0,
            paused_until: 0,
            latest: 0,
        }
    }

    pub(crate) fn paced_from(&self, weight: u64) -> u64 {
        self.setting.burst.map_or(0, |burst| {
            let interval = self.setting.interval();
            (self.earned + (weight - 1) * interval).saturating_sub((burst - 1) * interval)
        })
    }

    pub(crate) fn permits_at(&self, weight: u64, time: u64) -> bool {
        let span = self.setting.per + self.setting.margin;
        let used: u64 = self
            .permits
            .iter()
            .filter(|(given, _)| given + span > time)
            .map(|(_, weight)| weight)
            .sum();
        time >= self.paused_until
            && time >= self.paced_from(weight)
            && used + weight <= self.setting.limit
    }

    /// The first time from now on that it permits `weight`: permission only ever begins when a
    /// permit leaves the window, the pause ends or the pace allows it.
    pub(crate) fn first_time(&self, weight: u64) -> u64 {
        let span = self.setting.per + self.setting.margin;
        let changes = self.permits.iter().map(|(given, _)| given + span);
        changes
            .chain([self.latest, self.paused_until, self.paced_from(weight)])
            .filter(|time| *time >= self.latest && self.permits_at(weight, *time))
            .min()
            .unwrap()
    }

    pub(crate) fn give(&mut self, weight: u64, queued: bool) {
        let now = self.latest;
        let interval = self.setting.interval();
        let tolerance = if queued {
            TOLERANCE.max(interval / 2)
        } else {
            TOLERANCE
        };
        let on_time = now - self.paced_from(weight) <= tolerance;
        let booked = if now > self.earned && on_time {
            self.earned
        } else {
            now
        };
        self.earned = self.earned.max(booked) + weight * interval;
        self.permits.push((now, weight));
    }

    /// Gives `weight` as soon as may be from a time on; returns when.
    pub(crate) fn give_from(&mut self, time: u64, weight: u64, queued: bool) -> u64 {
        self.latest = self.latest.max(time);
        self.latest = self.first_time(weight);
        self.give(weight, queued);
        self.latest
    }

    /// Whether `weight` may be given from a time on, and then all that is reserved no later than
    /// without.
    pub(crate) fn keeps(
        &self,
        reserved: &[(u64, u64)],
        (time, weight): (u64, u64),
        queued: bool,
    ) -> bool {
        let (mut without, mut after) = (self.clone(), self.clone());
        let given = after.give_from(time, weight, queued);
        reserved.iter().all(|(start, reserved)| {
            let kept = without.give_from(*start, *reserved, true);
            after.give_from(*start, *reserved, true) <= kept.max(given)
        })
    }

    /// What must hold whatever the model thinks.
    pub(crate) fn check_history(&self) -> Result<(), TestCaseError> {
        let span = self.setting.per + self.setting.margin;
        for (first, (start, _)) in self.permits.iter().enumerate() {
            let mut sum = 0;
            for (end, weight) in &self.permits[first..] {
                prop_assert!(end >= start, "permits out of order");
                sum += weight;
                let elapsed = end - start;
                if elapsed < span {
                    prop_assert!(sum <= self.setting.limit, "{sum} permits in {elapsed} ns");
                }
                if let Some(burst) = self.setting.burst {
                    let interval = self.setting.interval();
                    let made_up = TOLERANCE.max(interval / 2);
                    let paced = burst + (elapsed + made_up) / interval;
                    prop_assert!(sum <= paced, "{sum} permits paced in {elapsed} ns");
                }
            }
        }
        Ok(())
    }
}
