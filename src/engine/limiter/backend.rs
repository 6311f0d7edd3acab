//! What counts the permits of a limit that other processes share.
//!
//! A [`Backend`] counts, and `shared_gate.rs` decides by it as `gate.rs` does for a limit of this process
//! alone: what is learnt of answers stays in the process, what is counted is everybody's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::adaptive::Adaptive;
use super::pacing::{Arrival, Pacing};
use super::rate::Rate;
use super::window::Stamp;
use crate::engine::time::Time;

/// How long one who waits sleeps at most until it looks again: so others see that it lives, and it
/// sees what they have changed.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is asked of a backend.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Request {
    pub(in crate::engine) weight: u64,
    pub(in crate::engine) now: Time,
    /// Nothing is needed earlier, whatever is free.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(in crate::engine) not_before: Time,
    /// Nanoseconds that the permits stay.
    pub(in crate::engine) stays: u64,
    pub(in crate::engine) arrival: Arrival,
    /// At which pace and up to which limit, but for what the backend knows of them.
    pub(in crate::engine) pacing: Option<Pacing>,
    pub(in crate::engine) adaptive: Option<Adaptive>,
}

/// When permits are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Due {
    Now,
    At(Time),
}

/// Permits that were taken, as their backend knows them.
#[derive(Debug)]
pub(in crate::engine) enum Permit {
    /// Where each of them is, and what is written there; the pace before and after.
    Slots(Slots, Option<(u64, u64)>),
    /// A number and a weight.
    #[cfg(feature = "redis")]
    Numbered(i64, u64),
}

/// One slot is most often enough, and takes no memory of its own.
#[derive(Debug)]
pub(in crate::engine) enum Slots {
    One(Slot),
    Many(Box<[Slot]>),
}

impl Slots {
    pub(in crate::engine) fn as_slice(&self) -> &[Slot] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }
}

/// A permit's place, and the word that stands there until it leaves.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Slot {
    pub(in crate::engine) place: usize,
    pub(in crate::engine) before: u64,
    pub(in crate::engine) leaves: u64,
}

/// What is counted now, in this process's time.
#[derive(Debug)]
pub(in crate::engine) struct Counted {
    pub(in crate::engine) used: u64,
    /// The first to leave, in the order of that.
    pub(in crate::engine) first: Vec<Stamp>,
    pub(in crate::engine) pacing: Option<Pacing>,
    pub(in crate::engine) adaptive: Option<Adaptive>,
}

/// Counts permits for several processes. Nothing here waits.
pub(in crate::engine) trait Backend: fmt::Debug + Send {
    /// Looks for news. Returns the rate that is in force now, if another process has changed it.
    fn refresh(&mut self, now: Time) -> Option<Rate>;

    /// When permits are due, as far as others are concerned. Takes nothing.
    fn due(&mut self, request: &Request) -> Due;

    /// Takes permits if they are due.
    fn take(&mut self, request: &Request) -> Option<Permit>;

    /// Takes back what nothing was started with.
    fn give_back(&mut self, permit: Permit);

    /// The permits leave at that time, which is earlier than was said.
    fn settle(&mut self, permit: Permit, leaves: Time, now: Time);

    /// Somebody of this process waits for so many permits, and so many wait in all; or nobody does any
    /// more.
    fn wait(&mut self, weight: Option<u64>, waiting: usize, now: Time);

    /// Nothing starts before.
    fn paused_until(&mut self, now: Time) -> Time;

    /// Lengthens the pause. `adaptive` does not grow meanwhile.
    fn pause_until(&mut self, until: Time, why: Why, adaptive: Option<Adaptive>, now: Time);

    /// Cuts the limit in effect, unless this belongs to an episode that it was cut for already.
    fn cut(&mut self, adaptive: Adaptive, now: Time) -> bool;

    /// Makes the limit in effect grow so much later.
    fn hold(&mut self, adaptive: Adaptive, longer: Duration, now: Time);

    /// What is counted now.
    fn counted(&mut self, pacing: Option<Pacing>, adaptive: Option<Adaptive>, now: Time)
    -> Counted;

    /// Goes on at another rate, for everybody.
    fn change(&mut self, rate: Rate, now: Time) -> Result<(), OpenError>;

    /// Who shares it.
    fn holders(&mut self, now: Time) -> Shared;
}

/// Where a limit is shared: makes what each process has of it.
pub(in crate::engine) trait Sharing: fmt::Debug + Send + Sync {
    /// What the process that calls counts by. `news` is called when those who wait are to look again,
    /// with nothing locked.
    fn backend(&self, news: News) -> Box<dyn Backend>;

    /// Which limit it is, in the same words for all of this process who share it.
    fn place(&self) -> String;

    /// Whether those who wait are to look again by themselves every [`LOOK_AGAIN`].
    fn has_to_be_watched(&self) -> bool {
        true
    }

    /// Waits for an answer, where that is not known here at once.
    fn fetch(&self, _what: Fetch) {}

    /// Why nothing is granted at all.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// What is to be logged.
    fn take_events(&self) -> Vec<Event> {
        Vec::new()
    }
}

/// What is called when those who wait are to look again.
pub(in crate::engine) type News = Arc<dyn Fn() + Send + Sync>;

/// What may have to be asked of a server, and waited for.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
pub(in crate::engine) enum Fetch {
    /// So many permits, if they may be taken now.
    Permits(u64),
    /// When so many would be granted.
    Due(u64),
    /// Who shares it.
    Holders,
}

/// Why nothing is granted: the user's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no contact with the server.
    Lost(String),
    /// Others use other numbers.
    Refused(String),
}

/// Something to be logged, as a warning.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What has happened, in one word.
    pub name: &'static str,
    /// Where the limit is shared.
    pub place: String,
    /// Why.
    pub reason: String,
    /// For how long it lasted.
    pub seconds: Option<f64>,
}

/// Why everybody pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody called `pause()`.
    Asked,
    /// The server refused a call.
    Refused,
}

/// Who shares a limit, and what it does.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// Where it is kept; None if it is this process's alone.
    pub place: Option<String>,
    /// Permits in the window.
    pub used: u64,
    /// How long everybody pauses yet, why, and the process that has seen to it.
    pub pause: Option<(Duration, Why, u32)>,
    /// The processes that have it.
    pub holders: Vec<Holder>,
}

/// A process that has a limit.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Its host, if that may be another one.
    pub host: Option<String>,
    /// Its number.
    pub process: u32,
    /// When it opened the limit, in seconds since 1970.
    pub since: f64,
    /// How many permits the first of those wants who wait in it; 0 if nobody does.
    pub waits_for: u64,
}

/// Why a shared limit cannot be had: the user's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// It is used with other numbers, or they cannot be shared.
    Value(String),
    /// The system refused.
    System(String),
    /// Another process has it locked for a moment: to be tried again, with nothing locked here.
    Busy(String),
}

/// Where a limit is shared, for every process that has it.
pub(super) type SharedBy = Arc<dyn Sharing>;
