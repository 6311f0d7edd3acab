//! How it stands with the server, and what is to be logged of that.

use crate::engine::limiter::{Event, Trouble};
use crate::engine::time::Time;

/// Whether there is contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contact {
    /// Not yet.
    Opening,
    Up,
    /// Since then, for that reason.
    Lost(Time, String),
    /// The server is there, and others use other numbers.
    Refused(String),
}

/// How it stands, and what nobody was told yet.
#[derive(Debug)]
pub(super) struct Standing {
    /// The address, as it is shown.
    shown: String,
    contact: Contact,
    events: Vec<Event>,
}

impl Standing {
    pub(super) fn new(shown: &str) -> Self {
        Self {
            shown: shown.to_owned(),
            contact: Contact::Opening,
            events: Vec::new(),
        }
    }

    pub(super) const fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Why nothing is granted, if so.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match &self.contact {
            Contact::Lost(_, why) => Some(Trouble::Lost(why.clone())),
            Contact::Refused(why) => Some(Trouble::Refused(why.clone())),
            Contact::Opening | Contact::Up => None,
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn note(&mut self, name: &'static str, reason: &str, seconds: Option<f64>) {
        self.events.push(Event {
            name,
            place: self.shown.clone(),
            reason: reason.to_owned(),
            seconds,
        });
    }

    /// What was granted is not known any more, for that reason: nothing starts for one window.
    pub(super) fn state_lost(&mut self, why: &str) {
        self.note("limiter_state_lost", why, None);
    }

    /// Contact is back, or there for the first time.
    pub(super) fn found(&mut self, now: Time) {
        if let Contact::Lost(since, _) = &self.contact {
            let lasted = now.since(*since).as_secs_f64();
            self.note("limiter_found", "it answers again", Some(lasted));
        }
        self.contact = Contact::Up;
    }

    /// Nothing is heard of the server any more.
    pub(super) fn lost(&mut self, why: &str, now: Time) {
        let text = format!("no contact with {}: {why}", self.shown);
        if let Contact::Lost(_, reason) = &mut self.contact {
            *reason = text;
            return;
        }
        if self.contact != Contact::Opening {
            self.note("limiter_lost", why, None);
        }
        self.contact = Contact::Lost(now, text);
    }

    /// Others use other numbers, it says.
    pub(super) fn refused(&mut self, why: String) {
        self.contact = Contact::Refused(why);
    }
}
