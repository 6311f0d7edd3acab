//! `RateLimiter`.
//!
//! Long by its documentation, which is what users read of it.

#![allow(clippy::doc_markdown)] // what is public is documented for Python
use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use pyo3::exceptions::{PyAttributeError, PyConnectionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arguments::{Given, advice, flag, rate, refuse, seconds, wait, whole};
use super::lifecycle;
use super::logging;
use super::nesting;
use super::shared::{self, Where};
use crate::engine::clock::Clock;
use crate::engine::limiter::{
    LOOK_AGAIN, Limiter, OpenError, Rate, RateError, Shared, Trouble, Turn,
};
use crate::engine::lock::Guarded;
use crate::engine::process::{self, PerProcess};
use crate::engine::scheduler::LONG_WAIT;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// How long an update waits for another process that opens or changes the limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// At most ``limit`` permits in any window of ``per`` seconds, first come first served.
///
/// The window is exact, wherever it begins: after a burst, after idling, and with any number of
/// threads and executors on one limiter. Waiters stand in one queue and nobody overtakes its
/// head, however heavy the request there is; but for a combination made with ``&`` that waits
/// for another of its limiters. A limiter may be shared among threads, executors and event
/// loops, and with ``shared`` among processes: such a one can be pickled and copied, and goes
/// on sharing. One of this process alone cannot, like a lock. It uses the monotonic clock.
///
/// Memory grows with the permits in the window, not with ``limit``: 16 bytes for each (up to 32
/// while it grows), so a window of a million permits takes 16 to 32 MB when it is full.
///
/// A process that is forked begins with an empty window and an empty queue: the permits of its
/// parent are not counted there, unless the limiter is shared.
///
/// Args:
///     limit: Permits in any window, from 1 to 2**63.
///     per: Length of the window, in seconds or as a ``timedelta``. It has no default: nobody is to
///         be sixty times too fast for having forgotten it.
///     burst: How many permits may follow each other at once, from 1 to ``limit``; the rest is
///         spaced evenly at ``(per + margin) / limit`` seconds (GCRA), with the margin in effect.
///         The window still holds: where it makes a start wait for longer, another burst may
///         follow. ``burst=1`` is a metronome.
///         By default permits are given as soon as the window has room, so ``limit`` calls or
///         fewer start at once. A start that the system delays by up to half an interval (or a
///         millisecond, if that is more) does not delay those after it. A pace is kept for bursts
///         of up to 4,294,967,295 permits.
///     margin: How much longer than ``per`` a permit is kept, in seconds or as a ``timedelta``:
///         servers count arrivals, and the network moves them closer together. By default it is
///         learnt for each call of an executor from how long it takes: its duration less the
///         shortest lately seen, at most ``max(0.05, per / 50)`` seconds, and that much while it
///         runs. The permit of an ``acquire()`` of yours is kept 1 % of ``per`` longer, at most
///         0.25 s. 0 turns the margin off.
///     adaptive: Whether a refusal (429) halves the limit in effect, once per episode. An
///         executor without a :class:`Retry` recognises none. The limit grows back by a twentieth
///         of ``limit`` (at least 1) per window, pauses not counted; never beyond ``limit`` and
///         never below 1. Additive increase and multiplicative decrease, after D.-M. Chiu and
///         R. Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in
///         computer networks", Computer Networks and ISDN Systems 17 (1989).
///     shared: What all who open it share one limit by: a name, for the processes of this user on
///         this host, or a path (a ``Path``, or a string with a separator) to a file that need not
///         exist. It may be 10,000,000 permits at most. Or the address of a limit on a Redis or
///         Valkey server, for all hosts that reach it: ``redis://host:6379/0#name``. All give the
///         same ``limit``, ``per`` and ``burst``; when permits have left the window, those of a
///         newcomer hold for everybody.
///     when_lost: What becomes of those who wait while there is no contact with the server:
///         ``"wait"`` until it is back, or ``"raise"`` a ``ConnectionError``. Never does anything
///         start without a permit.
///
/// Raises:
///     ValueError: If a number is out of its range, or is not finite; if ``shared`` is in use with
///         other numbers, or is no place where a limit can be.
///     OSError: If the file of a shared limit cannot be opened or made; a ``ConnectionError`` if
///         the server does not answer.
///     TypeError: If an argument is of another type.
///
/// Example:
///     >>> RateLimiter(200, per=60)
///     RateLimiter(200, per=60.0)
#[pyclass(frozen, immutable_type, module = "paceline", weakref)]
pub(crate) struct RateLimiter {
    limiter: Limiter,
    clock: Clock,
    makeup: Makeup,
}

enum Makeup {
    Single(Spec),
    /// Single ones, all older than the combination: there is no cycle for the collector to find.
    Combined(Vec<Py<RateLimiter>>),
}

/// A rate in the numbers that the user gave.
struct Spec {
    /// With its `per` in seconds. Without a lock, which a forked child might find held for ever.
    rate: ArcSwap<(Rate, f64)>,
    /// Locked by who changes it.
    changes: PerProcess<Guarded<()>>,
    margin: Option<f64>,
    /// Where other processes share it.
    shared: Option<Where>,
    /// Whether it raises while it has lost contact with its server.
    raises: bool,
}

impl Spec {
    /// The rate in force, with its `per` in seconds: another process may have changed it.
    fn rate(&self, limiter: &RateLimiter) -> (Rate, f64) {
        let known = **self.rate.load();
        if self.shared.is_none() {
            return known;
        }
        let rate = limiter.limiter.rate(&limiter.clock);
        if rate.per() == known.0.per() {
            (rate, known.1)
        } else {
            (rate, rate.per().as_secs_f64())
        }
    }
}

impl RateLimiter {
    /// The limiter itself.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    fn spec(&self, name: &str) -> PyResult<&Spec> {
        match &self.makeup {
            Makeup::Single(spec) => Ok(spec),
            Makeup::Combined(_) => Err(none_of_its_own(name)),
        }
    }

    /// Where it is shared, if it is.
    pub(super) fn shared_where(&self) -> Option<&Where> {
        match &self.makeup {
            Makeup::Single(spec) => spec.shared.as_ref(),
            Makeup::Combined(_) => None,
        }
    }

    /// The margin in seconds, if one was given.
    pub(super) fn margin_given(&self) -> Option<f64> {
        match &self.makeup {
            Makeup::Single(spec) => spec.margin,
            Makeup::Combined(_) => None,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn who_shares(&self, py: Python<'_>) -> Shared {
        if self.limiter.is_shared() {
            py.detach(|| self.limiter.fetch_holders());
        }
        self.limiter.who_shares(&self.clock)
    }

    /// What becomes of those who wait while there is no contact with its server.
    pub(super) fn when_lost(&self) -> &'static str {
        match &self.makeup {
            Makeup::Single(spec) if spec.raises => "raise",
            _ => "wait",
        }
    }

    /// Raises if nothing can be granted: while there is no contact, if that was asked for, or because
    /// others use other numbers. Logs what has happened to those who count.
    fn check_contact(&self, py: Python<'_>) -> PyResult<()> {
        if !self.limiter.is_shared() {
            return Ok(());
        }
        for event in self.limiter.take_events() {
            logging::limiter_event(py, &event)?;
        }
        match self.limiter.trouble() {
            Some(Trouble::Refused(why)) => Err(PyValueError::new_err(why)),
            Some(Trouble::Lost(why)) if self.raises(py) => Err(PyConnectionError::new_err(why)),
            _ => Ok(()),
        }
    }

    /// Whether it raises while there is no contact with its server.
    pub(crate) fn raises(&self, py: Python<'_>) -> bool {
        match &self.makeup {
            Makeup::Single(spec) => spec.raises,
            Makeup::Combined(parts) => parts.iter().any(|part| part.bind(py).get().raises(py)),
        }
    }

    pub(super) fn parts_of(this: &Bound<'_, Self>) -> Vec<Py<Self>> {
        match &this.get().makeup {
            Makeup::Single(_) => vec![this.clone().unbind()],
            Makeup::Combined(parts) => parts.iter().map(|part| part.clone_ref(this.py())).collect(),
        }
    }

    /// Whether both are one limit, shared at one place.
    fn is_one_with(&self, other: &Self) -> bool {
        self.limiter.shares_with(&other.limiter)
    }

    /// One limit is charged once, so it is to be clear how.
    fn check_same_options(&self, other: &Self) -> PyResult<()> {
        let options = |limiter: &Self| {
            let spec = limiter.spec("when_lost")?;
            let is_adaptive = spec.rate.load().0.is_adaptive();
            PyResult::Ok((spec.margin, is_adaptive, spec.raises))
        };
        if options(self)? == options(other)? {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "{} and {} are one limit, of which a permit is taken once: give both the same margin, \
             adaptive and when_lost",
            self.__repr__(),
            other.__repr__(),
        )))
    }

    fn checked(&self, weight: Given<'_>) -> PyResult<u64> {
        let weight = weight
            .0
            .map_or(Ok(1), |weight| whole("weight", &weight, u64::MAX))?;
        self.grantable(weight).map(|()| weight)
    }

    fn grantable(&self, weight: u64) -> PyResult<()> {
        if weight > 1 && self.limiter.is_shared() {
            self.limiter.learn_rates(&self.clock);
        }
        let largest = self.limiter.largest_weight();
        if weight > largest {
            return Err(PyValueError::new_err(format!(
                "weight must be at most {largest}, as no more is ever granted at once, not {weight}"
            )));
        }
        Ok(())
    }

    /// Waits for what only a server knows, if it is shared by one.
    fn fetch(&self, py: Python<'_>, fetch: impl FnOnce(&Limiter) + Send) -> PyResult<()> {
        if self.limiter.is_shared() && !self.limiter.has_to_be_watched() {
            py.detach(|| fetch(&self.limiter));
            return self.check_contact(py);
        }
        Ok(())
    }

    /// Raises if waiting for so many permits would never end: the limit may have been lowered meanwhile,
    /// or nothing is granted.
    pub(super) fn check_wait(&self, py: Python<'_>, weight: u64) -> PyResult<()> {
        self.grantable(weight)?;
        self.check_contact(py)
    }

    /// Waits in the queue until `deadline`.
    fn wait_in_line(&self, py: Python<'_>, weight: u64, deadline: Time) -> PyResult<bool> {
        loop {
            let generation = process::generation();
            let signal = Arc::new(Signal::default());
            let mut ticket = self.limiter.enqueue(weight, Arc::clone(&signal));
            // A signal handler may fork: the child begins anew, in its own queue.
            while generation == process::generation() {
                let turn = ticket.try_start(&self.clock);
                let now = self.clock.now();
                if turn != Turn::Ready {
                    self.check_contact(py)?;
                    // The limit may have been lowered meanwhile.
                    self.grantable(weight)?;
                }
                let until = match turn {
                    Turn::Ready => return Ok(true),
                    _ if now >= deadline => return Ok(false),
                    // It may come earlier, where calls end that run.
                    Turn::At(due) if due > deadline => {
                        if ticket.comes_after(deadline, &self.clock) {
                            return Ok(false);
                        }
                        deadline
                    }
                    Turn::At(due) => due,
                    Turn::Behind => deadline,
                };
                let until = if ticket.has_to_watch(turn) {
                    until.min(now + LOOK_AGAIN)
                } else {
                    until
                };
                lifecycle::wait_in_line(py, &self.clock, &signal, until, || ticket.leave());
                // A signal handler may wait for a permit itself, or for whoever stands behind. What
                // can start does so first: nobody is to take that away.
                if lifecycle::is_main_thread(py) && ticket.turn(&self.clock) != Turn::Ready {
                    ticket.step_aside();
                    py.check_signals()?;
                }
            }
        }
    }
}

#[pymethods]
impl RateLimiter {
    #[new]
    #[pyo3(
        signature = (
            limit=Given(None), per=Given(None), *more,
            burst=None, margin=None, adaptive=Given(None), shared=None, when_lost=None, **unknown
        ),
        text_signature = "(limit, per, *, burst=None, margin=None, adaptive=False, shared=None, \
            when_lost='wait')"
    )]
    #[allow(clippy::too_many_arguments)] // as many as there are options
    fn new(
        py: Python<'_>,
        limit: Given<'_>,
        per: Given<'_>,
        more: &Bound<'_, PyTuple>,
        burst: Option<&Bound<'_, PyAny>>,
        margin: Option<&Bound<'_, PyAny>>,
        adaptive: Given<'_>,
        shared: Option<&Bound<'_, PyAny>>,
        when_lost: Option<&Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        refuse("RateLimiter", more, unknown)?;
        let (limit, per) = rate(limit, per)?;
        let adaptive = adaptive
            .0
            .map_or(Ok(false), |adaptive| flag("adaptive", &adaptive))?;
        let burst = burst
            .map(|burst| whole("burst", burst, u64::MAX))
            .transpose()?;
        let margin = margin
            .map(|margin| seconds("margin", margin, Rate::LONGEST))
            .transpose()?;
        let rate = Rate::new(
            limit,
            per.duration,
            burst,
            margin.map(|margin| margin.duration),
        )
        .and_then(|rate| if adaptive { rate.adaptive() } else { Ok(rate) })
        .map_err(refused)?;
        let shared = shared.map(Where::from).transpose()?;
        let raises = when_lost.map_or(Ok(false), shared::raises_when_lost)?;
        let clock = Clock::default();
        let limiter = match &shared {
            None => Limiter::new(rate),
            Some(shared) => shared.open(py, rate, &clock)?,
        };
        Ok(Self {
            limiter,
            clock,
            makeup: Makeup::Single(Spec {
                rate: ArcSwap::from_pointee((rate, per.number)),
                changes: PerProcess::new(Guarded::default()),
                margin: margin.map(|margin| margin.number),
                shared,
                raises,
            }),
        })
    }

    /// Waits for a permit and takes it.
    ///
    /// The permit counts from the instant this returns. Other threads run while it waits, and in
    /// the main thread signal handlers do. A handler may use the same limiter: while one runs,
    /// other waiters may go first. What a handler raises, as Ctrl-C does, ends the wait. A wait
    /// that ends early takes nothing.
    ///
    /// Args:
    ///     weight: How many permits to take, all at once.
    ///     timeout: How long to wait at most, in seconds or as a ``timedelta``; without limit by
    ///         default.
    ///
    /// Returns:
    ///     True, or False if the permit was not to be had in time: at once, if the wait is known
    ///     to be longer than ``timeout``, counting those who wait already.
    ///
    /// Raises:
    ///     ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``, so that
    ///         waiting would never end, also after an :meth:`update` meanwhile; if ``timeout`` is
    ///         negative or not finite.
    ///     TypeError: If an argument is of another type.
    #[pyo3(
        signature = (weight=Given(None), *, timeout=None),
        text_signature = "($self, weight=1, *, timeout=None)"
    )]
    fn acquire(
        &self,
        py: Python<'_>,
        weight: Given<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let weight = self.checked(weight)?;
        let timeout = timeout
            .map(|timeout| wait("timeout", timeout))
            .transpose()?;
        if self.limiter.try_acquire(weight, &self.clock) {
            return Ok(true);
        }
        let began = self.clock.now();
        if timeout.is_some() {
            self.fetch(py, |limiter| limiter.fetch_due(weight))?;
        }
        let deadline = match timeout {
            None => Time::NEVER,
            Some(timeout) if self.limiter.takes_longer(weight, timeout, &self.clock) => {
                return Ok(false);
            }
            Some(timeout) => began + timeout,
        };
        let expected = self.limiter.wait_time(weight, &self.clock);
        if expected > LONG_WAIT {
            logging::waiting_for_limit_here(py, expected)?;
        }
        let granted = self.wait_in_line(py, weight, deadline);
        nesting::note_permit_wait(self.clock.now().nanos_since(began));
        granted
    }

    /// The same for an event loop of asyncio: waits in one line with threads and other loops.
    ///
    /// Awaited, it waits as :meth:`acquire` does, and the loop goes on meanwhile. A task that is
    /// cancelled while it waits leaves the line, and takes nothing. ``async with limiter`` waits for
    /// one permit. Several loops, each in its thread, may wait at one limiter.
    ///
    /// Args:
    ///     weight: How many permits to take, all at once.
    ///     timeout: How long to wait at most, in seconds or as a ``timedelta``; without limit by
    ///         default.
    ///
    /// Returns:
    ///     True, or False if the permit was not to be had in time, as :meth:`acquire` does.
    ///
    /// Raises:
    ///     ValueError: As :meth:`acquire` does.
    ///     TypeError: If an argument is of another type.
    ///     RuntimeError: If no event loop of asyncio is running.
    #[pyo3(
        signature = (weight=Given(None), *, timeout=None),
        text_signature = "($self, weight=1, *, timeout=None)"
    )]
    fn acquire_async<'py>(
        slf: &Bound<'py, Self>,
        weight: Given<'py>,
        timeout: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let weight = slf.get().checked(weight)?;
        let acquire = waiting(slf.py())?.getattr("acquire")?;
        acquire.call1((slf, weight, timeout))
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        self.acquire(py, Given(None), None).map(drop)
    }

    #[allow(clippy::unused_self)] // Python passes it
    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        waiting(slf.py())?.call_method1("enter", (slf,))
    }

    #[allow(clippy::unused_self)] // Python passes it
    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        waiting(py)?.call_method0("leave")
    }

    /// Takes a permit if there is one now, without waiting.
    ///
    /// Args:
    ///     weight: How many permits to take, all at once.
    ///
    /// Returns:
    ///     Whether it was taken; False while anyone waits in the queue, except for another part
    ///     of a combination.
    ///
    /// Raises:
    ///     ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``.
    ///     TypeError: If ``weight`` is of another type.
    #[pyo3(signature = (weight=Given(None)), text_signature = "($self, weight=1)")]
    fn try_acquire(&self, py: Python<'_>, weight: Given<'_>) -> PyResult<bool> {
        let weight = self.checked(weight)?;
        self.fetch(py, |limiter| limiter.fetch_permits(weight))?;
        Ok(self.limiter.try_acquire(weight, &self.clock))
    }

    /// The least time until a permit would be granted, without taking it.
    ///
    /// Args:
    ///     weight: How many permits would be taken, all at once.
    ///
    /// Returns:
    ///     Seconds, counting everyone who waits in the queue and would go first; 0.0 if there is
    ///     a permit now. It may turn out to be less where somebody waits for a combination, or
    ///     where calls end that run now, as without a ``margin`` a call that runs counts as one
    ///     that takes long.
    ///
    /// Raises:
    ///     ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``.
    ///     TypeError: If ``weight`` is of another type.
    #[pyo3(signature = (weight=Given(None)), text_signature = "($self, weight=1)")]
    fn wait_time(&self, py: Python<'_>, weight: Given<'_>) -> PyResult<f64> {
        let weight = self.checked(weight)?;
        self.fetch(py, |limiter| limiter.fetch_due(weight))?;
        Ok(self.limiter.wait_time(weight, &self.clock).as_secs_f64())
    }

    /// Gives no permit to anybody for a time.
    ///
    /// A later call can lengthen the pause and never shortens it. Pausing a combination pauses
    /// each of its parts, and so everybody who uses one of them.
    ///
    /// Args:
    ///     seconds: How long from now, in seconds or as a ``timedelta``.
    ///
    /// Raises:
    ///     ValueError: If ``seconds`` is negative or not finite.
    ///     TypeError: If it is of another type.
    fn pause(&self, py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let pause = wait("seconds", seconds)?;
        self.limiter
            .pause_until(self.clock.now() + pause, &self.clock);
        if pause.is_zero() {
            return Ok(());
        }
        logging::limiter_paused(py, pause)
    }

    /// Goes on with another limit, for those too who wait already.
    ///
    /// What was permitted still counts, and for so much longer as the window is longer now. Of
    /// before that nothing is known, so after a change to a longer window the first one may hold
    /// more. A limit in effect that was lowered stays the same part of the limit; ``burst`` stays
    /// as it is and is paced at the new limit, a margin that was given stays, and one that is
    /// learnt goes on learning.
    ///
    /// Args:
    ///     limit: Permits in any window, as in the constructor.
    ///     per: Length of the window, as in the constructor.
    ///
    /// Raises:
    ///     ValueError: If a number is out of its range; if ``limit`` is less than ``burst``.
    ///         Nothing is changed then.
    ///     TypeError: If an argument is of another type.
    ///     AttributeError: If it is a combination: update its ``parts``.
    #[pyo3(
        signature = (limit=Given(None), per=Given(None)),
        text_signature = "($self, limit, per)"
    )]
    fn update(&self, py: Python<'_>, limit: Given<'_>, per: Given<'_>) -> PyResult<()> {
        let spec = self.spec("limit")?;
        let (limit, per) = rate(limit, per)?;
        // Detached, as others may be changing it who share it; and again, as long as others are.
        py.detach(|| {
            let began = Time::now();
            loop {
                let change = || {
                    let (rate, _) = spec.rate(self);
                    let changed = rate.changed(limit, per.duration).map_err(refused)?;
                    let done = self.limiter.change(changed, &self.clock);
                    if done.is_ok() {
                        spec.rate.store(Arc::new((changed, per.number)));
                    }
                    Ok::<_, PyErr>(done)
                };
                let done = spec
                    .changes
                    .with(Guarded::default, |changes| changes.with(|()| change()))?;
                match done {
                    Err(OpenError::Busy(_)) if Time::now().since(began) < PATIENCE => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    done => return done.map_err(shared::refused),
                }
            }
        })
    }

    /// What is counted now, and who shares it.
    ///
    /// Returns:
    ///     A :class:`LimiterStats`.
    ///
    /// Raises:
    ///     AttributeError: If it is a combination: its ``parts`` have them.
    fn stats<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().spec("stats()")?;
        shared::stats(slf)
    }

    /// One that is shared can be pickled and copied: what is made goes on sharing.
    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        shared::reduced(slf)
    }

    /// Permits in any window.
    ///
    /// Raises:
    ///     AttributeError: If it is a combination: its ``parts`` have limits, it has none. The
    ///         same holds for the properties below.
    #[getter]
    fn limit(&self) -> PyResult<u64> {
        Ok(self.spec("limit")?.rate(self).0.limit())
    }

    /// Length of the window in seconds.
    #[getter]
    fn per(&self) -> PyResult<f64> {
        Ok(self.spec("per")?.rate(self).1)
    }

    /// Permits that may follow each other at once; None if they are not paced.
    #[getter]
    fn burst(&self) -> PyResult<Option<u64>> {
        Ok(self.spec("burst")?.rate(self).0.burst())
    }

    /// How much longer than ``per`` permits are kept, in seconds.
    ///
    /// The margin that was given, or else the largest of the permits whose margin was learnt in
    /// the last ``per`` seconds, or up to twice as long; 1 % of ``per``, at most 0.25 s, before
    /// there was one.
    #[getter]
    fn margin(&self) -> PyResult<f64> {
        let spec = self.spec("margin")?;
        let learnt = || self.limiter.margin().as_secs_f64();
        Ok(spec.margin.unwrap_or_else(learnt))
    }

    /// Whether refusals lower the limit in effect.
    #[getter]
    fn adaptive(&self) -> PyResult<bool> {
        Ok(self.spec("adaptive")?.rate(self).0.is_adaptive())
    }

    /// Permits in any window as of now: ``limit``, or less after a refusal if ``adaptive``.
    #[getter]
    fn effective_limit(&self) -> PyResult<u64> {
        self.spec("effective_limit")?;
        Ok(self.limiter.effective_limit(&self.clock))
    }

    /// The limiters it was combined from, or itself alone.
    #[getter]
    fn parts(slf: &Bound<'_, Self>) -> PyResult<Py<PyTuple>> {
        PyTuple::new(slf.py(), Self::parts_of(slf)).map(Bound::unbind)
    }

    fn __and__(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        let mut parts = Self::parts_of(slf);
        for part in Self::parts_of(other) {
            let new = part.bind(slf.py());
            let mut others = parts.iter().map(|part| part.bind(slf.py()));
            match others.find(|it| it.is(new) || it.get().is_one_with(new.get())) {
                Some(same) => same.get().check_same_options(new.get())?,
                None => parts.push(part),
            }
        }
        if let [only] = &parts[..] {
            return Ok(only.clone_ref(slf.py()));
        }
        let limiter = Limiter::all_of(parts.iter().map(|part| &part.get().limiter));
        Py::new(
            slf.py(),
            Self {
                limiter,
                clock: slf.get().clock.clone(),
                makeup: Makeup::Combined(parts),
            },
        )
    }

    #[allow(clippy::unused_self)] // Python passes it
    fn __or__(&self, py: Python<'_>, _other: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        Err(not_combined(py, "|")?)
    }

    #[allow(clippy::unused_self)] // Python passes it
    fn __add__(&self, py: Python<'_>, _other: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        Err(not_combined(py, "+")?)
    }

    /// Called where there is no attribute of that name, or it has raised.
    fn __getattr__(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        if matches!(self.makeup, Makeup::Combined(_)) && NUMBERS.contains(&name) {
            return Err(none_of_its_own(name));
        }
        let told = advice(py, "missing", ("RateLimiter", name))?;
        Err(PyAttributeError::new_err(told.unbind()))
    }

    fn __repr__(&self) -> String {
        match &self.makeup {
            Makeup::Single(spec) => spec.written(self),
            Makeup::Combined(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| part.get().__repr__()).collect();
                parts.join(" & ")
            }
        }
    }
}

/// What a combination does not have.
const NUMBERS: [&str; 6] = [
    "limit",
    "per",
    "burst",
    "margin",
    "adaptive",
    "effective_limit",
];

/// What waits in an event loop.
fn waiting(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("paceline._waiting")
}

fn none_of_its_own(name: &str) -> PyErr {
    PyAttributeError::new_err(format!(
        "a combined RateLimiter has no {name} of its own: see its parts"
    ))
}

fn not_combined(py: Python<'_>, operator: &str) -> PyResult<PyErr> {
    let told = advice(py, "combined_by", (operator,))?;
    Ok(PyTypeError::new_err(told.unbind()))
}

fn refused(error: RateError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

impl Spec {
    /// As it is written to make it again.
    fn written(&self, limiter: &RateLimiter) -> String {
        let (rate, per) = self.rate(limiter);
        // `{:?}` writes a float so that it reads back as the same float.
        let mut text = format!("RateLimiter({}, per={per:?}", rate.limit());
        if let Some(burst) = rate.burst() {
            let _ = write!(text, ", burst={burst}");
        }
        if let Some(margin) = self.margin {
            let _ = write!(text, ", margin={margin:?}");
        }
        if rate.is_adaptive() {
            text.push_str(", adaptive=True");
        }
        if let Some(shared) = &self.shared {
            let _ = write!(text, ", shared={shared}");
        }
        if self.raises {
            text.push_str(", when_lost='raise'");
        }
        text.push(')');
        text
    }
}
