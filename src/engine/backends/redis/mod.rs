//! A limit that hosts share, kept by a Redis or Valkey server.
//!
//! The server grants a permit a time, in one atomic step on its own clock (`grant.lua`), so nobody has
//! to ask twice and nobody polls. A [`RedisStore`] is one process's end of it. It has two threads: one
//! sends requests, the other hears of pauses. What they know is a [`State`], and every method but those
//! that say so only looks at that and never waits.
//!
//! A start is never early: the time that was granted is waited for by the latest that the server's
//! clock may show ([`ServerClock`]), and the permit stays in the window from the latest that it may
//! have shown at the start. Until the server knows that, with the next request, it reckons with the
//! latest start that is allowed.

mod address;
mod closed;
mod due;
mod ear;
mod errand;
mod hearing;
mod held;
mod known;
mod lateness;
mod ledger;
mod limit;
mod line;
mod link;
mod numbers;
mod outgoing;
mod patience;
mod presence;
mod request;
mod sent;
mod server_clock;
mod speaking;
mod standing;
mod state;
mod stats;
mod terms;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::address::Address;
pub use self::address::without_password;
pub use self::due::Due;
pub use self::held::Permit;
pub use self::limit::RedisLimit;
use self::link::Link;
use self::numbers::Numbers;
pub use self::patience::Patience;
use self::state::State;
use crate::engine::limiter::{Event, Rate, Shared, Trouble, Why};
use crate::engine::process;
use crate::engine::time::Time;

/// One process's end of a limit on a server. It is of use only in the process that opened it.
pub struct RedisStore {
    link: Arc<Link>,
    made_in: u64,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.link.address().shown();
        f.debug_tuple("RedisStore").field(&address).finish()
    }
}

impl RedisStore {
    /// Begins to connect to the server and the limit that `address` names, as in
    /// `redis://user:password@cache:6379/0#name`.
    ///
    /// # Errors
    ///
    /// In words for the user: the address is none, or the numbers are too large.
    pub fn begin(address: &str, rate: &Rate, patience: Patience) -> Result<Self, String> {
        let address = Address::parse(address)?;
        Ok(Self::of(address, Numbers::new(rate)?, patience))
    }

    fn of(address: Address, numbers: Numbers, patience: Patience) -> Self {
        let state = State::new(numbers, address.shown());
        let link = Arc::new(Link::new(address, state, patience));
        if let Err(why) = speaking::start(&link) {
            link.with(|state| state.lost(&why, Time::now()));
        }
        Self {
            link,
            made_in: process::generation(),
        }
    }

    /// Waits until there is contact with the server.
    ///
    /// # Errors
    ///
    /// In words, if there is none, or others use other numbers.
    pub fn wait_for_contact(&self) -> Result<(), String> {
        self.link.wait_for_contact()
    }

    /// Has `news` called when those who wait are to look again, by a thread of the store's with nothing
    /// locked.
    pub fn tell_news(&self, news: Arc<dyn Fn() + Send + Sync>) {
        self.link.tell_news(news);
    }

    /// When `weight` permits may be taken; asks the server where that is not known. `behind` others
    /// wait as well, and nothing is needed before `not_before`.
    #[must_use]
    pub fn due(&self, weight: u64, behind: u32, not_before: Time, now: Time) -> Due {
        self.link
            .with(|state| state.due(weight, behind, not_before, now))
    }

    /// How long before they are needed permits are to be asked for.
    #[must_use]
    pub fn early(&self) -> Duration {
        self.link.with(|state| state.early())
    }

    /// Takes `weight` permits that are due, to stay in the window for so many nanoseconds. None if
    /// there are none, or they are late.
    #[must_use]
    pub fn take(&self, weight: u64, now: Time, stays: u64) -> Option<Permit> {
        self.link.with(|state| state.take(weight, now, stays))
    }

    /// Nothing was started with a permit.
    pub fn give_back(&self, permit: Permit) {
        self.link
            .with(|state| state.outgoing().give_back(vec![permit]));
    }

    /// A permit leaves the window then, not when it was said before.
    pub fn settle(&self, permit: Permit, leaves: Time) {
        self.link
            .with(|state| state.outgoing().leaves(permit, leaves));
    }

    /// One waits here for so many permits; 0 if nobody does.
    pub fn wait(&self, weight: u64) {
        self.link.with(|state| state.wait(weight));
    }

    /// Nothing starts before `until`, for all who share the limit.
    pub fn pause_until(&self, until: Time, why: Why) {
        self.link.with(|state| state.pause_until(until, why));
    }

    /// Until when nothing starts, whoever has paused it.
    #[must_use]
    pub fn paused_until(&self) -> Time {
        self.link.with(|state| state.paused_until())
    }

    /// Goes on at another rate, for all who share the limit.
    ///
    /// # Errors
    ///
    /// In words, if the numbers are too large.
    pub fn change(&self, rate: &Rate) -> Result<(), String> {
        let numbers = Numbers::new(rate)?;
        self.link.with(|state| state.change_for_all(numbers));
        Ok(())
    }

    /// A rate that holds for everybody now, if another process has changed it, and whether one has cut
    /// the limit in effect.
    #[must_use]
    pub fn take_news(&self) -> (Option<Rate>, bool) {
        self.link.with(|state| state.terms().take_news())
    }

    /// Tells the others that the limit in effect was cut.
    pub fn cut(&self) {
        self.link.with(|state| state.outgoing().has_cut = true);
    }

    /// So much time is between paced permits from now on.
    pub fn pace(&self, interval: Duration) {
        self.link.with(|state| state.terms().pace(interval));
    }

    /// Permits of this process are given as if that were the limit.
    pub fn bound(&self, limit: u64) {
        self.link.with(|state| state.terms().bound(limit));
    }

    /// When the next permit is to be had, if that is known and to come.
    #[must_use]
    pub fn next_known(&self, now: Time) -> Option<Time> {
        self.link.with(|state| state.next_known(now))
    }

    /// What is to be logged.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        self.link.with(State::take_events)
    }

    /// Why nothing is granted, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.link.with(|state| state.trouble())
    }

    /// Whether `weight` permits may be taken now, and are held if so. Waits for the server.
    ///
    /// # Errors
    ///
    /// Without contact, in words.
    pub fn ask_now(&self, weight: u64) -> Result<bool, String> {
        self.link.ask_now(weight)
    }

    /// When `weight` permits would be granted, behind all that is granted. Waits for the server.
    ///
    /// # Errors
    ///
    /// Without contact, in words.
    pub fn would_be_granted(&self, weight: u64) -> Result<Time, String> {
        self.link.would_be_granted(weight)
    }

    /// Asks who holds the limit, and how it stands, for [`shared`](Self::shared). Waits for the server.
    ///
    /// # Errors
    ///
    /// Without contact, in words.
    pub fn fetch_stats(&self) -> Result<(), String> {
        self.link.fetch_stats()
    }

    /// Who holds the limit, and how it stands, as of the last time that it was asked for.
    #[must_use]
    pub fn shared(&self) -> Shared {
        let shared = self.link.locked();
        Shared {
            place: Some(self.link.address().shown().to_owned()),
            ..shared.stats.clone().unwrap_or_default()
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        // A forked child has none of the threads, and their locks may be held for ever there.
        if self.made_in == process::generation() {
            self.link.stop();
        }
    }
}
