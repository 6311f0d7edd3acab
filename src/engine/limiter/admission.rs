//! What decides at one rate: a gate of this process alone, or one that is shared with others.

use std::time::Duration;

use super::backend::{News, OpenError, Permit, Shared, SharedBy, Why};
use super::forecast::Forecast;
use super::gate::{Gate, Taker};
use super::margin::Ended;
use super::pacing::Arrival;
use super::quota::Told;
use super::rate::Rate;
use super::shared_gate::SharedGate;
use crate::engine::recovery::{Recovery, Refusal};
use crate::engine::retry::Pause;
use crate::engine::time::Time;

/// The decision of one rate.
#[derive(Debug)]
#[expect(clippy::large_enum_variant)] // one for each limiter, and most are the large one
pub(super) enum Admission {
    Own(Gate),
    Shared(Box<SharedGate>),
}

/// Permits that no other process can take any more.
#[derive(Debug)]
pub(super) enum Reserved {
    /// Of this process alone: there is nobody else.
    Own,
    Shared(Permit),
}

/// The same method of either.
macro_rules! either {
    ($admission:expr, $gate:ident => $act:expr) => {
        match $admission {
            Admission::Own($gate) => $act,
            Admission::Shared($gate) => $act,
        }
    };
}

impl Admission {
    pub(super) fn new(rate: Rate, shared_by: Option<(&SharedBy, News)>) -> Self {
        match shared_by {
            None => Self::Own(Gate::new(rate)),
            Some((shared_by, news)) => {
                let backend = shared_by.backend(news);
                Self::Shared(Box::new(SharedGate::new(rate, backend)))
            }
        }
    }

    /// When `weight` permits are due, of which none are needed before `not_before`.
    pub(super) fn due(&mut self, weight: u64, not_before: Time, now: Time) -> Option<Time> {
        match self {
            Self::Own(gate) => gate.due(weight, now),
            Self::Shared(gate) => gate.due(weight, not_before, now),
        }
    }

    /// Whether others take of it too.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Takes the first step of [`charge`](Self::charge): permits that others may have taken. None if
    /// they have.
    pub(super) fn reserve(
        &mut self,
        weight: u64,
        now: Time,
        arrival: Arrival,
        taker: Taker,
    ) -> Option<Reserved> {
        match self {
            Self::Own(_) => Some(Reserved::Own),
            Self::Shared(gate) => gate
                .try_charge(weight, now, arrival, taker)
                .map(Reserved::Shared),
        }
    }

    /// Gives `weight` permits at `now`, which are due.
    pub(super) fn charge(
        &mut self,
        reserved: Reserved,
        (weight, now): (u64, Time),
        arrival: Arrival,
        taker: Taker,
    ) {
        match (self, reserved) {
            (Self::Own(gate), _) => gate.charge(weight, now, arrival, taker),
            (Self::Shared(gate), Reserved::Shared(permit)) => {
                gate.start(permit, (weight, now), taker);
            }
            (Self::Shared(_), Reserved::Own) => {}
        }
    }

    pub(super) fn give_back(&mut self, reserved: Reserved) {
        if let (Self::Shared(gate), Reserved::Shared(permit)) = (self, reserved) {
            gate.give_back(permit);
        }
    }

    /// Takes `weight` permits at `now` if they are due. `last` is the end of the call that was made
    /// before, to be taken note of first.
    #[inline(always)]
    pub(super) fn try_take(
        &mut self,
        weight: u64,
        taker: Taker,
        last: Option<&Ended>,
        now: Time,
    ) -> bool {
        match self {
            Self::Own(gate) => {
                if let Some(last) = last {
                    if gate.try_follow(weight, last, now) {
                        return true;
                    }
                    gate.end(last, now);
                }
                gate.try_take(weight, now, taker)
            }
            Self::Shared(gate) => {
                if let Some(last) = last {
                    gate.end(last, now);
                }
                gate.try_take(weight, now, taker)
            }
        }
    }

    #[inline(always)]
    pub(super) fn end(&mut self, call: &Ended, now: Time) -> Option<(Time, Time)> {
        either!(self, gate => gate.end(call, now))
    }

    pub(super) fn margin(&self) -> Duration {
        either!(self, gate => gate.margin())
    }

    pub(super) fn forecast(&mut self, now: Time) -> Forecast<'_> {
        either!(self, gate => gate.forecast(now))
    }

    pub(super) fn earliest_forecast(&mut self, now: Time) -> Forecast<'_> {
        either!(self, gate => gate.earliest_forecast(now))
    }

    pub(super) fn change(&mut self, rate: Rate, now: Time) -> Result<(), OpenError> {
        match self {
            Self::Own(gate) => {
                gate.change(rate, now);
                Ok(())
            }
            Self::Shared(gate) => gate.change(rate, now),
        }
    }

    pub(super) fn pause_until(&mut self, until: Time, now: Time) {
        match self {
            Self::Own(gate) => gate.pause_until(until, now),
            Self::Shared(gate) => gate.pause_until(until, Why::Asked, now),
        }
    }

    pub(super) fn refused(&mut self, refusal: &Refusal<'_>, now: Time) -> Pause {
        either!(self, gate => gate.refused(refusal, now))
    }

    pub(super) fn pause_for_server(&mut self, until: Time, now: Time) {
        either!(self, gate => gate.pause_for_server(until, now));
    }

    pub(super) fn ended(&mut self, started: Time, answered: bool, now: Time) -> bool {
        either!(self, gate => gate.ended(started, answered, now))
    }

    pub(super) fn recovery(&self) -> &Recovery {
        either!(self, gate => gate.recovery())
    }

    pub(super) fn hear(&mut self, told: &Told, now: Time) -> bool {
        either!(self, gate => gate.hear(told, now))
    }

    pub(super) fn slow_down(&mut self, now: Time) {
        either!(self, gate => { gate.slow_down(now); });
    }

    pub(super) fn effective_limit(&mut self, now: Time) -> u64 {
        either!(self, gate => gate.effective_limit(now))
    }

    /// The rate in force.
    pub(super) fn rate(&mut self, now: Time) -> Rate {
        either!(self, gate => gate.rate(now))
    }

    /// Tells others for how many permits the first waits who waits for this rate; None if nobody does.
    pub(super) fn tell_waiting(&mut self, weight: Option<u64>, waiting: usize, now: Option<Time>) {
        if let Self::Shared(gate) = self {
            gate.tell_waiting(weight, waiting, now);
        }
    }

    /// Who has it, and what is counted.
    pub(super) fn shared(&mut self, now: Time) -> Shared {
        either!(self, gate => gate.shared(now))
    }
}
