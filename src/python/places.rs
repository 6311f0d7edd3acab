//! Places in the queue of a limiter that an event loop waits for, in one line with the threads.
//!
//! Who gives a signal may be any thread, with the interpreter or without, also while that is being
//! taken down. So none of Python runs then: the place is put into the inbox of its loop, and a byte
//! into a socket that the loop reads. One byte stands for all that are in the inbox.

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::arguments::wait;
use super::limiter::RateLimiter;
use super::logging;
use crate::engine::limiter::{LOOK_AGAIN, Ticket, Turn};
use crate::engine::lock::Guarded;
use crate::engine::process;
use crate::engine::scheduler::LONG_WAIT;
use crate::engine::signal::Signal;
use crate::engine::time::Time;

/// Numbers of the places whose turn may have come, for one event loop.
#[pyclass(frozen, immutable_type, module = "paceline._core", weakref)]
pub(crate) struct Inbox(Arc<Letters>);

struct Letters {
    /// What came since it was last emptied.
    places: Guarded<Vec<u64>>,
    bell: bell::Bell,
}

impl Letters {
    fn put(&self, place: u64) {
        let first = self.places.with(|places| {
            places.push(place);
            places.len() == 1
        });
        if first {
            self.bell.ring();
        }
    }
}

impl Inbox {
    /// A signal that puts `number` into the inbox.
    pub(super) fn signal(&self, number: u64) -> Signal {
        let letters = Arc::clone(&self.0);
        Signal::calling(move || letters.put(number))
    }
}

#[pymethods]
impl Inbox {
    #[new]
    fn new() -> PyResult<Self> {
        let bell = bell::Bell::new().map_err(|error| {
            PyOSError::new_err(format!("cannot make what wakes an event loop: {error}"))
        })?;
        Ok(Self(Arc::new(Letters {
            places: Guarded::default(),
            bell,
        })))
    }

    /// What the loop is to read, if it can.
    fn fileno(&self) -> i64 {
        self.0.bell.reading_end()
    }

    /// The places that came since this was last called.
    fn empty(&self) -> Vec<u64> {
        self.0.bell.quiet();
        self.0.places.with(std::mem::take)
    }
}

/// A place in the queue of a limiter.
#[pyclass(frozen, immutable_type, module = "paceline._core")]
pub(crate) struct Place {
    ticket: Guarded<Ticket>,
    signal: Arc<Signal>,
    limiter: Py<RateLimiter>,
    weight: u64,
    deadline: Time,
    /// When it looks again by itself, as far as that is seen to.
    looks_at: Guarded<Time>,
    generation: u64,
}

impl Place {
    /// At the end of the queue. `inbox` gets `number` whenever the turn may have come.
    fn new(
        limiter: &Bound<'_, RateLimiter>,
        weight: u64,
        deadline: Time,
        (inbox, number): (&Inbox, u64),
    ) -> Self {
        let engine = limiter.get().limiter();
        let signal = Arc::new(inbox.signal(number));
        Self {
            ticket: Guarded::new(engine.enqueue(weight, Arc::clone(&signal))),
            signal,
            limiter: limiter.clone().unbind(),
            weight,
            deadline,
            looks_at: Guarded::default(),
            generation: process::generation(),
        }
    }
}

#[pymethods]
impl Place {
    /// Takes permits if they are known to be free here: no server is asked, which would hold up the loop.
    #[staticmethod]
    fn try_take(limiter: &Bound<'_, RateLimiter>, weight: u64) -> bool {
        let this = limiter.get();
        this.limiter().try_acquire(weight, this.clock())
    }

    /// A place at the end of the line; whether the permits were had, if that is known at once.
    #[staticmethod]
    fn stand<'py>(
        limiter: &Bound<'py, RateLimiter>,
        weight: u64,
        timeout: Option<&Bound<'py, PyAny>>,
        inbox: &Bound<'py, Inbox>,
        number: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (limiter.py(), limiter.get());
        let known = |had: bool| Ok(PyBool::new(py, had).to_owned().into_any());
        let timeout = timeout
            .map(|timeout| wait("timeout", timeout))
            .transpose()?;
        let (engine, clock) = (this.limiter(), this.clock());
        let deadline = match timeout {
            None => Time::NEVER,
            Some(_) if engine.try_acquire(weight, clock) => return known(true),
            Some(timeout) if engine.takes_longer(weight, timeout, clock) => return known(false),
            Some(timeout) => clock.now() + timeout,
        };
        // Told by the first who waits, for all who wait behind.
        if !engine.anybody_waits() {
            let expected = engine.wait_time(weight, clock);
            if expected > LONG_WAIT {
                logging::waiting_for_limit_here(py, expected)?;
            }
        }
        let place = Self::new(limiter, weight, deadline, (inbox.get(), number));
        Ok(Bound::new(py, place)?.into_any())
    }

    /// Takes the permits if the turn has come: True. False when the time is over, or is known to be
    /// over before; else a letter comes when to look again.
    fn look(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        if self.generation != process::generation() {
            return Err(PyRuntimeError::new_err(
                "this wait for a permit belongs to the process that this one was forked from",
            ));
        }
        let this = self.limiter.get();
        let (clock, deadline) = (this.clock(), self.deadline);
        let (turn, hopeless, watched) = self.ticket.with(|ticket| {
            let turn = ticket.try_start(clock);
            let late = matches!(turn, Turn::At(due) if due > deadline);
            let hopeless = late && ticket.comes_after(deadline, clock);
            (turn, hopeless, ticket.has_to_watch(turn))
        });
        if turn != Turn::Ready {
            this.check_wait(py, self.weight)?;
        }
        let now = clock.now();
        let mut until = match turn {
            Turn::Ready => return Ok(Some(true)),
            _ if now >= deadline || hopeless => return Ok(Some(false)),
            Turn::At(due) => due.min(deadline),
            Turn::Behind => deadline,
        };
        if watched {
            until = until.min(now + LOOK_AGAIN);
        }
        // One that looks before that is called all the same, and sees to the rest then.
        let seen_to = self.looks_at.with(|looks_at| {
            let seen_to = now < *looks_at && *looks_at <= until;
            if !seen_to {
                *looks_at = until;
            }
            seen_to
        });
        if !seen_to && until != Time::NEVER {
            clock.give_at(&self.signal, until);
        }
        Ok(None)
    }

    /// Leaves the queue; nothing is taken.
    fn leave(&self) {
        if self.generation == process::generation() {
            self.ticket.with(Ticket::leave);
        }
    }
}

#[cfg(unix)]
mod bell {
    //! A pair of sockets: who writes to one of them wakes who reads the other.

    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    pub(super) struct Bell {
        read: UnixStream,
        write: UnixStream,
    }

    impl Bell {
        pub(super) fn new() -> io::Result<Self> {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok(Self { read, write })
        }

        /// Where it is full, it has been rung.
        pub(super) fn ring(&self) {
            let _ = (&self.write).write(&[0]);
        }

        pub(super) fn quiet(&self) {
            let mut rung = [0; 64];
            while (&self.read)
                .read(&mut rung)
                .is_ok_and(|read| read == rung.len())
            {}
        }

        pub(super) fn reading_end(&self) -> i64 {
            self.read.as_raw_fd().into()
        }
    }
}

#[cfg(not(unix))]
mod bell {
    //! Loops look into their inboxes by themselves.

    use std::io;

    pub(super) struct Bell;

    impl Bell {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) fn ring(&self) {}

        pub(super) fn quiet(&self) {}

        pub(super) fn reading_end(&self) -> i64 {
            -1
        }
    }
}
