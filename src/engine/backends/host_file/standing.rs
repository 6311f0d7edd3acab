//! Whether the file is there, and what is to be logged of that.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::engine::limiter::{Event, Trouble};
use crate::engine::process::PerProcess;

/// Of one limiter in one process.
pub(super) type SharedStanding = Arc<PerProcess<Mutex<Standing>>>;

/// Since when the file cannot be had, why, and what nobody was told yet.
#[derive(Debug, Default)]
pub(super) struct Standing {
    lost: Option<(u64, String)>,
    events: Vec<Event>,
}

impl Standing {
    /// Why nothing is granted, if so.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let lost = self.lost.as_ref();
        lost.map(|(_, why)| Trouble::Lost(why.clone()))
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The file has gone, and cannot be made anew.
    pub(super) fn lost(&mut self, place: &Path, why: &str, now: u64) {
        if self.lost.is_none() {
            self.note("limiter_lost", place, why, None);
            self.lost = Some((now, why.to_owned()));
        }
    }

    /// It is there.
    pub(super) fn found(&mut self, place: &Path, now: u64) {
        if let Some((since, _)) = self.lost.take() {
            let lasted = Duration::from_nanos(now.saturating_sub(since)).as_secs_f64();
            self.note(
                "limiter_found",
                place,
                "the file is there again",
                Some(lasted),
            );
        }
    }

    fn note(&mut self, name: &'static str, place: &Path, reason: &str, seconds: Option<f64>) {
        self.events.push(Event {
            name,
            place: place.display().to_string(),
            reason: reason.to_owned(),
            seconds,
        });
    }
}
