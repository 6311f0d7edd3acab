//! Whether pauses are heard.

use std::time::Duration;

use crate::engine::time::Time;

/// Who has asked to be told something and was not told for so long hears nothing.
const DEAF: Duration = Duration::from_secs(1);
/// What is published on a holder's own channel when it leaves.
pub(super) const OVER: &str = "over";

/// What one of the two threads hears.
#[derive(Debug, Default)]
pub(super) struct Ear {
    /// Which thread hears them.
    epoch: u64,
    has_thread: bool,
    is_open: bool,
    /// Why it is not open.
    why: String,
    heard: Time,
    asks_echo: bool,
    /// Something is to be heard until then.
    echo_until: Option<Time>,
}

impl Ear {
    /// Whether it is that thread's.
    pub(super) const fn is_heard_by(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) const fn has_thread(&self) -> bool {
        self.has_thread
    }

    /// A thread is to begin; returns its number.
    pub(super) const fn begin(&mut self) -> u64 {
        self.epoch += 1;
        self.has_thread = true;
        self.epoch
    }

    /// What is the matter.
    pub(super) fn why(&self) -> String {
        format!("pauses cannot be heard: {}", self.why)
    }

    pub(super) const fn heard(&self) -> Time {
        self.heard
    }

    pub(super) const fn ask_echo(&mut self) {
        self.asks_echo = true;
    }

    /// The server has answered, so that what it sent before is to be heard soon.
    pub(super) fn expect_echo(&mut self, now: Time) {
        if std::mem::take(&mut self.asks_echo) && self.echo_until.is_none() {
            self.echo_until = Some(now + DEAF);
        }
    }

    pub(super) fn is_deaf(&self, now: Time) -> bool {
        self.is_open && self.echo_until.is_some_and(|until| now >= until)
    }

    /// Goes on without the thread.
    pub(super) fn close(&mut self, why: &str) {
        why.clone_into(&mut self.why);
        self.epoch += 1;
        self.has_thread = false;
        self.is_open = false;
        self.asks_echo = false;
        self.echo_until = None;
    }

    pub(super) fn next_look(&self) -> Time {
        self.echo_until.unwrap_or(Time::NEVER)
    }

    /// Something is heard.
    pub(super) fn hear(&mut self, now: Time) {
        self.is_open = true;
        self.heard = now;
        self.asks_echo = false;
        self.echo_until = None;
    }
}
