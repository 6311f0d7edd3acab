//! The workers: rayon threads that Python knows as its own, each in one resident loop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

use super::interpreter::{attach_worker, detach_worker, work_for};
use super::logging;
use super::refusals::give_up;
use super::run_loop::run_ready;
use super::runtime::Runtime;
use super::work::Context;
use crate::engine::lock::Guarded;
use crate::engine::process::Owned;
use crate::engine::schedule::{Claim, Seat};
use crate::engine::time::Time;

/// The threads of an executor. The rayon pool exists from the first start; its threads are started
/// one by one, as there is work for them.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    rayon: Option<ThreadPool>,
    waiting: Vec<ThreadBuilder>,
}

/// Where a new thread begins.
#[derive(Debug)]
pub(crate) enum Entry {
    /// As one of the threads of the rayon pool, with a job there for it that is taken once.
    Rayon(ThreadBuilder, Arc<AtomicBool>),
    /// On its own, in the place of a worker that waits inside its operation.
    Spare,
}

impl Pool {
    /// Takes the entry of a thread that is not yet started.
    pub(crate) fn take_entry(&mut self, runtime: &Arc<Runtime>) -> io::Result<Entry> {
        if self.rayon.is_none() {
            let builders = Arc::new(Guarded::new(Vec::new()));
            let collect = Arc::clone(&builders);
            let pool = ThreadPoolBuilder::new()
                .num_threads(runtime.config.max_workers)
                .panic_handler(|_| {})
                .spawn_handler(move |builder| {
                    collect.with(|builders| builders.push(builder));
                    Ok(())
                })
                .build()
                .map_err(io::Error::other)?;
            self.waiting = builders.with(std::mem::take);
            self.waiting.reverse();
            self.rayon = Some(pool);
        }
        Ok(match (self.waiting.pop(), &self.rayon) {
            (Some(builder), Some(pool)) => {
                // Its thread holds the runtime while it works; a job that is never run must not.
                let runtime = Arc::downgrade(runtime);
                let taken = Arc::new(AtomicBool::new(false));
                let entry = Entry::Rayon(builder, Arc::clone(&taken));
                pool.spawn(move || {
                    if !taken.swap(true, Ordering::SeqCst)
                        && let Some(runtime) = runtime.upgrade()
                    {
                        work(&runtime, runtime.scheduler.seat());
                    }
                });
                entry
            }
            _ => Entry::Spare,
        })
    }

    /// No thread began there. Returns whether nobody did its job either: a thread of the pool that
    /// has nothing more to do may have.
    pub(crate) fn put_back(&mut self, entry: Entry) -> bool {
        match entry {
            Entry::Rayon(builder, taken) => {
                self.waiting.push(builder);
                !taken.swap(true, Ordering::SeqCst)
            }
            Entry::Spare => true,
        }
    }
}

impl Entry {
    /// Works until there is nothing more to do. Called detached, on the new thread.
    pub(crate) fn run(self, runtime: &Arc<Runtime>) {
        match self {
            Self::Rayon(builder, _) => builder.run(),
            Self::Spare => work(runtime, runtime.scheduler.spare_seat()),
        }
    }
}

/// One worker thread that is to be started; its Python thread calls it.
#[pyclass(frozen, module = "paceline._core")]
pub(crate) struct Worker(Owned<Starting>);

/// What it is for the process that it was made in.
struct Starting {
    runtime: Arc<Runtime>,
    entry: Guarded<Option<Entry>>,
}

impl Worker {
    pub(crate) fn new(runtime: Arc<Runtime>, entry: Entry) -> Self {
        Self(Owned::new(Starting {
            runtime,
            entry: Guarded::new(Some(entry)),
        }))
    }
}

impl Starting {
    /// The thread was not started, unless it has begun. Returns whether it never will.
    fn abandon(&self) -> bool {
        let entry = self.entry.with(Option::take);
        let Some(entry) = entry else {
            return false;
        };
        let undone = self.runtime.pool.with(|pool| pool.put_back(entry));
        if undone {
            self.runtime.scheduler.release_thread();
            // Those that went before may have left it to this one.
            self.runtime.release_pool();
        }
        true
    }
}

#[pymethods]
impl Worker {
    /// Works until there is nothing more to do. Called once, on the worker's own thread, whose stack
    /// has so many bytes.
    fn __call__(&self, py: Python<'_>, stack: usize) -> PyResult<()> {
        let starting = self.0.get()?;
        let entry = starting.entry.with(Option::take);
        if let Some(entry) = entry {
            detach_worker(py, stack, || entry.run(&starting.runtime));
        }
        Ok(())
    }

    /// The thread was not started, unless it has begun. Returns whether it never will.
    fn abandon(&self) -> PyResult<bool> {
        Ok(self.0.get()?.abandon())
    }
}

impl Drop for Starting {
    /// A signal's exception may come before its thread is so much as made.
    fn drop(&mut self) {
        self.abandon();
    }
}

/// A worker's resident loop. Called detached, once on each thread of the pool.
fn work(runtime: &Arc<Runtime>, mut seat: Seat) {
    work_for(runtime.id, || {
        loop {
            match runtime.scheduler.look(&mut seat, Time::now()) {
                Claim::Exit => break,
                Claim::Rest(until) => {
                    if let Some(granted) = seat.take_long_wait() {
                        attach_worker(|py| logging::waiting_for_limit(py, granted));
                    }
                    seat.rest(until);
                }
                Claim::Ready | Claim::Start(_) => {
                    seat = attach_worker(|py| run_ready(py, runtime, seat).0);
                }
                Claim::GiveUp => {
                    seat = attach_worker(|py| {
                        give_up(py, runtime);
                        seat
                    });
                }
                Claim::Collect => {
                    seat = attach_worker(|py| {
                        collect(runtime);
                        run_ready(py, runtime, seat).0
                    });
                }
            }
        }
    });
    runtime.release_pool();
}

/// Adds what owners have read who wait for more.
fn collect(runtime: &Arc<Runtime>) {
    while let Some((source, context)) = runtime.scheduler.take_reading() {
        if let Context::Batch { reading, .. } = &*context {
            reading.cut_short();
            reading.add_inbox(&runtime.scheduler, source);
        }
    }
}
