//! The threads of an executor: rayon's, each hosted by one of Python's, and others beside them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

use crate::engine::lock::Guarded;

/// Counts the threads of an executor that are rayon's. Each is a pool of its own, made when there is
/// work for it: most executors come to fewer than they may have, and workers take their work from the
/// scheduler.
#[derive(Debug, Default)]
pub(crate) struct Pool(AtomicUsize);

/// Where a new thread begins.
#[derive(Debug)]
pub(crate) enum ThreadEntry {
    /// As rayon's.
    Rayon(ThreadBuilder, Hosted),
    /// On its own: in the place of a worker that waits inside its operation, or where workers ask a
    /// limiter that is not ours for their permits.
    Own,
}

/// A rayon pool of one thread, until that has done its job, or never will.
type Hosted = Arc<Guarded<Option<ThreadPool>>>;

impl Pool {
    /// Makes the entry of a further thread; `most` are rayon's. One of these will do `job`, and end.
    pub(super) fn make_entry(
        &self,
        most: usize,
        job: impl FnOnce() + Send + 'static,
    ) -> io::Result<ThreadEntry> {
        let one_more = |count| (count < most).then_some(count + 1);
        let counted = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if counted.is_err() {
            return Ok(ThreadEntry::Own);
        }
        let entry = host(job);
        if entry.is_err() {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        entry
    }

    /// No thread was started there, unless one was. Returns whether none will be.
    pub(super) fn abandon(&self, entry: ThreadEntry) -> bool {
        let ThreadEntry::Rayon(_, hosted) = entry else {
            return true;
        };
        let pool = hosted.with(Option::take);
        if pool.is_some() {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        pool.is_some()
    }
}

fn host(job: impl FnOnce() + Send + 'static) -> io::Result<ThreadEntry> {
    let made = Arc::new(Guarded::new(None));
    let keep = Arc::clone(&made);
    let pool = ThreadPoolBuilder::new()
        .num_threads(1)
        .panic_handler(|_| {})
        .spawn_handler(move |builder| {
            keep.with(|made| *made = Some(builder));
            Ok(())
        })
        .build()
        .map_err(io::Error::other)?;
    let builder = made.with(Option::take);
    let builder = builder.ok_or_else(|| io::Error::other("rayon has made no thread"))?;
    let hosted = Hosted::default();
    let here = Arc::clone(&hosted);
    pool.spawn(move || {
        // Dropped when the job is done: that ends the thread.
        if let Some(_pool) = here.with(Option::take) {
            job();
        }
    });
    hosted.with(|hosted| *hosted = Some(pool));
    Ok(ThreadEntry::Rayon(builder, hosted))
}
