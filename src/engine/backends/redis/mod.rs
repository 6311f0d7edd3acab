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
mod line;
mod link;
mod numbers;
mod outgoing;
mod patience;
mod request;
mod sent;
mod server_clock;
mod speaking;
mod standing;
mod state;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::address::Address;
pub use self::due::Due;
pub use self::held::Permit;
use self::link::Link;
pub use self::link::News;
use self::numbers::Numbers;
pub use self::patience::Patience;
use self::standing::Contact;
pub use self::standing::Event;
use self::state::State;
pub use self::stats::{Holder, Stats};
use crate::engine::limiter::Rate;
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
    /// Connects to the server and the limit that `address` names, as in
    /// `redis://user:password@cache:6379/0#name`. Waits for it.
    ///
    /// # Errors
    ///
    /// In words for the user: the address, the server, or others use other numbers.
    pub fn open(
        address: &str,
        rate: &Rate,
        patience: Patience,
        news: News,
    ) -> Result<Self, String> {
        let address = Address::parse(address)?;
        let state = State::new(Numbers::new(rate)?, address.shown());
        let link = Arc::new(Link::new(address, state, patience, news));
        speaking::start(&link)?;
        let store = Self {
            link,
            made_in: process::generation(),
        };
        store.link.wait_for_contact()?;
        Ok(store)
    }

    /// When `weight` permits may be taken; asks the server where that is not known. `behind` others
    /// wait as well, and nothing is needed before `not_before`.
    #[must_use]
    pub fn due(&self, weight: u64, behind: u32, not_before: Time, now: Time) -> Due {
        self.link
            .with(|state| state.due(weight, behind, not_before, now))
    }

    /// Takes `weight` permits that are due, to stay in the window for so many nanoseconds. None if
    /// there are none, or they are late.
    #[must_use]
    pub fn take(&self, weight: u64, now: Time, stays: u64) -> Option<Permit> {
        self.link.with(|state| state.take(weight, now, stays))
    }

    /// A permit leaves the window then, not when it was said before.
    pub fn settle(&self, permit: Permit, leaves: Time) {
        self.link
            .with(|state| state.outgoing().leaves(permit, leaves));
    }

    /// Nothing starts before `until`, for all who share the limit.
    pub fn pause_until(&self, until: Time) {
        self.link.with(|state| state.pause_until(until));
    }

    /// Until when nothing starts, whoever has paused it.
    #[must_use]
    pub fn paused_until(&self) -> Time {
        self.link.with(|state| state.paused_until())
    }

    /// Permits are paced with that margin from now on.
    pub fn follow_margin(&self, margin: Duration) {
        self.link.with(|state| state.follow_margin(margin));
    }

    /// What is to be logged.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        self.link.with(State::take_events)
    }

    /// Why nothing starts, if there is no contact with the server.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.link.with(|state| match state.contact() {
            Contact::Lost(_, why) | Contact::Refused(why) => Some(why.clone()),
            Contact::Opening | Contact::Up => None,
        })
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

    /// Who holds the limit, and how it stands. Waits for the server.
    ///
    /// # Errors
    ///
    /// Without contact, in words.
    pub fn stats(&self) -> Result<Stats, String> {
        self.link.stats()
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
