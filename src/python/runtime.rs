//! What an executor was made with, and what one process has of it: a scheduler and threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;

use super::look_out::LookOut;
use super::policy::Retrying;
use super::pool::Pool;
use super::work::{BatchContext, Operations};
use crate::engine::clock::Clock;
use crate::engine::limiter::Limiter;
use crate::engine::process;
use crate::engine::scheduler::Scheduler;

/// What an executor was made with; it never changes.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools)] // each is an answer of its own
pub(crate) struct Config {
    pub(crate) max_workers: usize,
    pub(crate) limiter: Option<Limiter>,
    /// The limiter raises while it has lost contact with its server.
    pub(crate) raises_when_lost: bool,
    /// The permits come from an object that is not ours.
    pub(crate) foreign: bool,
    pub(crate) retrying: Option<Retrying>,
    /// What all that it runs goes by.
    pub(crate) clock: Clock,
    /// Threads take turns at Python.
    pub(crate) one_at_a_time: bool,
    /// What operations return is awaited.
    pub(crate) awaits: bool,
    /// Whether it was shut down, in this process or before it was forked.
    pub(crate) shut: AtomicBool,
}

impl Config {
    /// Whether a returned value is to be judged by the retry policy.
    #[inline(always)]
    pub(crate) fn is_to_judge(&self, value: &Bound<'_, PyAny>) -> bool {
        let retrying = self.retrying.as_ref();
        retrying.is_some_and(|retrying| retrying.is_to_judge(value))
    }
}

/// The swappable state of an executor.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) id: u64,
    pub(crate) process: u64,
    pub(crate) scheduler: Scheduler<Operations>,
    pub(crate) config: Arc<Config>,
    /// Asks the limiter that is not ours, if there is one.
    pub(crate) asker: OnceLock<Py<PyAny>>,
    pub(crate) pool: Pool,
    pub(crate) look_out: LookOut,
}

impl Runtime {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let scheduler = Scheduler::new(
            config.max_workers,
            config.limiter.clone(),
            Arc::new(BatchContext::Submitted),
            config.clock.clone(),
        )
        .asking(config.foreign)
        .one_at_a_time(config.one_at_a_time)
        .giving_up(config.retrying.as_ref().map(Retrying::give_up));
        if config.shut.load(Ordering::Relaxed) {
            scheduler.close();
        }
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            process: process::generation(),
            scheduler,
            look_out: LookOut::new(config.one_at_a_time),
            config,
            asker: OnceLock::new(),
            pool: Pool::default(),
        }
    }

    /// Takes no more work.
    pub(crate) fn close(&self) {
        self.config.shut.store(true, Ordering::Relaxed);
        self.scheduler.close();
    }

    /// Whether this state belongs to the process that asks.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process == process::generation()
    }
}
