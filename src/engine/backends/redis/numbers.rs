//! The numbers of a limit, as the server keeps them.

use std::time::Duration;

use crate::engine::limiter::Rate;

/// The longest window: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What all who share a limit have to agree on, and what its permits are kept for.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    rate: Rate,
    /// Nanoseconds that a permit stays in the window at most, after its start.
    stays: u64,
}

impl Numbers {
    pub(super) fn new(rate: &Rate) -> Result<Self, String> {
        let margin = rate
            .bound()
            .map_or(rate.margin(), |it| it.max(rate.margin()));
        let stays = rate.per().saturating_add(margin);
        if stays > LONGEST {
            return Err(format!(
                "per and margin must be at most {} seconds on a server, not {}",
                LONGEST.as_secs(),
                stays.as_secs_f64()
            ));
        }
        Ok(Self {
            rate: *rate,
            stays: u64::try_from(stays.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    pub(super) const fn rate(&self) -> &Rate {
        &self.rate
    }

    /// The same for other numbers, as [`text`](Self::text) has them.
    pub(super) fn changed(&self, text: &str) -> Result<Self, String> {
        let mut numbers = text.split(' ').map(|it| it.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let (limit, per, burst) = (next(), Duration::from_nanos(next()), next());
        let rate = self
            .rate
            .shared_as(limit, per, (burst > 0).then_some(burst))
            .map_err(|error| error.to_string())?;
        Self::new(&rate)
    }

    pub(super) const fn stays(&self) -> u64 {
        self.stays
    }

    pub(super) const fn limit(&self) -> u64 {
        self.rate.limit()
    }

    pub(super) fn burst(&self) -> u64 {
        self.rate.burst().unwrap_or(0)
    }

    /// Between paced permits, with that margin.
    pub(super) fn interval(&self, margin: Duration) -> Duration {
        self.rate.interval(self.rate.limit(), margin)
    }

    pub(super) fn margin(&self) -> Duration {
        self.rate.margin()
    }

    /// The limit, the window in nanoseconds, the burst.
    pub(super) fn text(&self) -> String {
        format!(
            "{} {} {}",
            self.limit(),
            self.rate.per().as_nanos(),
            self.burst()
        )
    }

    /// Why others cannot share a limit that has those numbers, as [`text`](Self::text) has them.
    pub(super) fn unlike(&self, name: &str, theirs: &str) -> String {
        let ours = in_words(&self.text());
        let theirs = in_words(theirs);
        format!("the shared limit {name:?} is in use with {theirs}, which is not {ours}")
    }
}

fn in_words(text: &str) -> String {
    let mut numbers = text.split(' ');
    let limit = numbers.next().unwrap_or_default();
    let nanos: u64 = numbers.next().and_then(|it| it.parse().ok()).unwrap_or(0);
    let burst = numbers.next().filter(|burst| *burst != "0");
    let per = Duration::from_nanos(nanos).as_secs_f64();
    let burst = burst.map_or_else(String::new, |burst| format!(", burst={burst}"));
    format!("limit={limit}, per={per}{burst}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_numbers_are_named_beside_ours() {
        let rate = Rate::new(200, Duration::from_secs(60), None, None);
        let numbers = rate.map_err(|error| error.to_string());
        let numbers = numbers.and_then(|rate| Numbers::new(&rate));
        let words = numbers.map(|it| it.unlike("descope", "5 500000000 2"));
        let expected = "the shared limit \"descope\" is in use with limit=5, per=0.5, burst=2, which \
                        is not limit=200, per=60";
        assert_eq!(words, Ok(expected.to_owned()));
    }

    #[test]
    fn a_window_longer_than_servers_live_is_refused() {
        let rate = Rate::new(1, Duration::from_secs(400_000_000), None, None);
        let refused = rate.is_ok_and(|rate| Numbers::new(&rate).is_err());
        assert!(refused);
    }
}
