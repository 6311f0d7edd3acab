//! What a caller waits for: the answer to a request that was not made yet.

use std::time::Instant;

use super::link::Link;
use super::standing::Contact;
use crate::engine::time::Time;

impl Link {
    /// Waits until there is contact for the first time.
    pub(super) fn wait_for_contact(&self) -> Result<(), String> {
        // Connecting twice, and one answer.
        let patience = self.patience().connecting * 2 + self.patience().answering;
        let until = Instant::now() + patience;
        self.wait_until(until, |state| match state.contact() {
            Contact::Opening => None,
            Contact::Up => Some(Ok(())),
            Contact::Lost(_, why) | Contact::Refused(why) => Some(Err(why.clone())),
        })
    }

    pub(super) fn ask_now(&self, weight: u64) -> Result<bool, String> {
        let held = self.with(|state| state.is_free(weight, Time::now()));
        if held {
            return Ok(true);
        }
        let _one = self.one_errand();
        self.ask(|outgoing| outgoing.now = Some(weight))?;
        Ok(self.with(|state| state.is_free(weight, Time::now())))
    }

    pub(super) fn would_be_granted(&self, weight: u64) -> Result<Time, String> {
        let _one = self.one_errand();
        self.ask(|outgoing| outgoing.ask = Some(weight))?;
        self.with(|state| state.answer())
            .ok_or_else(|| self.silence())
    }

    pub(super) fn fetch_stats(&self) -> Result<(), String> {
        let _one = self.one_errand();
        self.ask(|outgoing| outgoing.stats = true)
    }
}
