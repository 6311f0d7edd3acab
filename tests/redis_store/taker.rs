//! One who takes permits of a store, as a limiter does.

use std::sync::Arc;
use std::time::Duration;

use paceline::engine::backends::redis::{Due, Patience, Permit, RedisStore};
use paceline::engine::limiter::Rate;
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

/// A store with one thread that waits.
pub(crate) struct Taker {
    pub(crate) store: RedisStore,
    signal: Arc<Signal>,
    stays: u64,
}

pub(crate) fn rate(limit: u64, per: Duration) -> Rate {
    Rate::new(limit, per, None, Some(Duration::ZERO)).unwrap()
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Taker {
    pub(crate) fn open(address: &str, rate: &Rate) -> Result<Self, String> {
        let patience = Patience {
            connecting: ms(1000),
            answering: ms(700),
        };
        let signal = Arc::<Signal>::default();
        let told = Arc::clone(&signal);
        let store = RedisStore::begin(address, rate, patience)?;
        store.tell_news(Arc::new(move || told.notify()));
        store.wait_for_contact()?;
        let stays = rate.per() + rate.margin();
        Ok(Self {
            store,
            signal,
            stays: u64::try_from(stays.as_nanos()).unwrap(),
        })
    }

    /// Takes `weight` permits as soon as they are due. Returns when.
    pub(crate) fn take(&self, weight: u64) -> (Time, Permit) {
        self.take_before(weight, Time::now() + Duration::from_secs(50))
            .expect("no permit in 50 s")
    }

    /// The same if it is before `end`.
    pub(crate) fn take_before(&self, weight: u64, end: Time) -> Option<(Time, Permit)> {
        loop {
            let now = Time::now();
            if now >= end {
                return None;
            }
            match self.store.due(weight, 0, now, now) {
                Due::Now => {
                    let now = Time::now();
                    if let Some(permit) = self.store.take(weight, now, self.stays) {
                        return Some((now, permit));
                    }
                }
                Due::At(at) => {
                    self.signal.wait_until(at.min(end));
                }
                Due::Asked | Due::Lost(_) | Due::Refused(_) => {
                    self.signal.wait_until(end);
                }
            }
        }
    }
}

/// The most weight in any stretch of `per`, of starts with weights.
pub(crate) fn most_in(mut starts: Vec<(Time, u64)>, per: Duration) -> u64 {
    starts.sort();
    let mut first = 0;
    let mut sum = 0;
    let mut most = 0;
    for &(start, weight) in &starts {
        sum += weight;
        while start.since(starts[first].0) >= per {
            sum -= starts[first].1;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}
