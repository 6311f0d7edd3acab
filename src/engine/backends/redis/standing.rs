//! How it stands with the server, and what is to be logged of that.

use log::Level;

use crate::engine::time::Time;

/// Something to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    level: Level,
    text: String,
}

impl Event {
    /// How grave it is.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What has happened.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

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

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn warn(&mut self, text: String) {
        self.events.push(Event {
            level: Level::Warn,
            text,
        });
    }

    /// What was granted is not known any more, for that reason.
    pub(super) fn state_lost(&mut self, why: &str) {
        let shown = &self.shown;
        let text = format!("limiter_state_lost: {shown}: {why}; nothing starts for one window");
        self.warn(text);
    }

    /// Contact is back, or there for the first time.
    pub(super) fn found(&mut self, now: Time) {
        if let Contact::Lost(since, _) = &self.contact {
            let lasted = now.since(*since).as_secs_f64();
            let shown = &self.shown;
            self.warn(format!(
                "limiter_found: {shown} answers again after {lasted:.1} s"
            ));
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
            self.warn(format!(
                "limiter_lost: {text}; nothing starts until it answers"
            ));
        }
        self.contact = Contact::Lost(now, text);
    }

    /// Others use other numbers, it says.
    pub(super) fn refused(&mut self, why: String) {
        self.contact = Contact::Refused(why);
    }
}
