//! The threads of an executor: those of a rayon pool, started one by one, and others beside them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

use crate::engine::lock::Guarded;

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
    /// On its own: in the place of a worker that waits inside its operation, or where workers ask a
    /// limiter that is not ours for their permits.
    Own,
}

impl Pool {
    /// Takes the entry of a thread that is not yet started, of so many. One of the rayon pool will do
    /// `job`.
    pub(super) fn take_entry(
        &mut self,
        threads: usize,
        job: impl FnOnce() + Send + 'static,
    ) -> io::Result<Entry> {
        if self.rayon.is_none() {
            let builders = Arc::new(Guarded::new(Vec::new()));
            let collect = Arc::clone(&builders);
            let pool = ThreadPoolBuilder::new()
                .num_threads(threads)
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
        let (Some(builder), Some(pool)) = (self.waiting.pop(), &self.rayon) else {
            return Ok(Entry::Own);
        };
        let taken = Arc::new(AtomicBool::new(false));
        let entry = Entry::Rayon(builder, Arc::clone(&taken));
        pool.spawn(move || {
            if !taken.swap(true, Ordering::SeqCst) {
                job();
            }
        });
        Ok(entry)
    }

    /// No thread began there. Returns whether no other did its job either: a thread of the pool that
    /// has nothing more to do may have.
    pub(super) fn put_back(&mut self, entry: Entry) -> bool {
        match entry {
            Entry::Rayon(builder, taken) => {
                self.waiting.push(builder);
                !taken.swap(true, Ordering::SeqCst)
            }
            Entry::Own => true,
        }
    }
}
