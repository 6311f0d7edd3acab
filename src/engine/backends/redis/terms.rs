//! On what terms permits are asked for: the numbers of the limit, and what this process makes of them.

use std::time::Duration;

use super::numbers::Numbers;
use crate::engine::limiter::Rate;

/// The terms, and what others have changed of them.
#[derive(Debug)]
pub(super) struct Terms {
    numbers: Numbers,
    /// Between paced permits.
    interval: Duration,
    /// In effect.
    limit: u64,
    /// A rate that holds for everybody now,
    changed: Option<Rate>,
    /// and whether another process has cut the limit in effect.
    is_cut: bool,
}

impl Terms {
    pub(super) fn new(numbers: Numbers) -> Self {
        Self {
            interval: numbers.interval(numbers.margin()),
            limit: numbers.limit(),
            numbers,
            changed: None,
            is_cut: false,
        }
    }

    pub(super) const fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) const fn pace(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub(super) const fn bound(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Goes on with other numbers. Returns how the window was before and is now, if they are others.
    pub(super) fn change(&mut self, numbers: Numbers) -> Option<(Duration, Duration)> {
        let windows = (self.numbers.rate().per(), numbers.rate().per());
        let are_others = numbers.text() != self.numbers.text();
        if are_others {
            self.limit = numbers.limit();
            self.numbers = numbers;
        }
        are_others.then_some(windows)
    }

    /// The same with those that others have, as a text.
    pub(super) fn hear_numbers(
        &mut self,
        text: &str,
    ) -> Result<Option<(Duration, Duration)>, String> {
        let numbers = self.numbers.changed(text)?;
        let rate = *numbers.rate();
        let windows = self.change(numbers);
        if windows.is_some() {
            self.changed = Some(rate);
        }
        Ok(windows)
    }

    pub(super) const fn hear_cut(&mut self) {
        self.is_cut = true;
    }

    /// A rate that holds for everybody now, and whether somebody has cut the limit in effect.
    pub(super) fn take_news(&mut self) -> (Option<Rate>, bool) {
        (self.changed.take(), std::mem::take(&mut self.is_cut))
    }
}
