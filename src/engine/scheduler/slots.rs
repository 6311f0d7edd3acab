//! How many operations may run at once, and how many threads there are to run them.

use super::claim::Worker;

/// Slots for operations, and threads.
#[derive(Debug)]
pub(super) struct Slots {
    /// How many run at once, beside those that wait for others.
    workers: usize,
    /// The same, and those that wait for others.
    capacity: usize,
    busy: usize,
    threads: usize,
}

impl Slots {
    pub(super) const fn new(workers: usize) -> Self {
        Self {
            workers,
            capacity: workers,
            busy: 0,
            threads: 0,
        }
    }

    /// The executor's workers, without spare threads.
    pub(super) const fn workers(&self) -> usize {
        self.workers
    }

    #[inline(always)]
    pub(super) const fn is_one_free(&self) -> bool {
        self.busy < self.capacity
    }

    #[inline(always)]
    pub(super) const fn is_one_busy(&self) -> bool {
        self.busy > 0
    }

    /// A worker of the pool has started an operation. One that waits inside another, and starts what
    /// it waits for, keeps the slot it has.
    #[inline(always)]
    pub(super) const fn take(&mut self, worker: &Worker) {
        if worker.only.is_none() {
            self.busy += 1;
        }
    }

    /// The operation has ended.
    #[inline(always)]
    pub(super) const fn free(&mut self, worker: &Worker) {
        if worker.only.is_none() {
            self.busy -= 1;
        }
    }

    pub(super) const fn threads(&self) -> usize {
        self.threads
    }

    /// A thread was started, or is about to be.
    pub(super) const fn add_thread(&mut self) {
        self.threads += 1;
    }

    /// One has left, or was not started after all.
    pub(super) const fn remove_thread(&mut self) {
        self.threads = self.threads.saturating_sub(1);
    }

    /// Whether all threads that there are wait inside operations.
    pub(super) const fn all_wait(&self) -> bool {
        self.threads <= self.capacity - self.workers
    }

    /// Whether one more could run something.
    pub(super) const fn lack_thread(&self) -> bool {
        self.threads < self.capacity
    }

    /// How many run nothing.
    pub(super) const fn idle_threads(&self) -> usize {
        self.threads.saturating_sub(self.busy)
    }

    /// A worker waits inside an operation, so one more may run.
    pub(super) const fn widen(&mut self) {
        self.capacity += 1;
    }

    /// It goes on.
    pub(super) const fn narrow(&mut self) {
        self.capacity -= 1;
    }

    /// Whether there are more threads than can run something.
    pub(super) const fn has_surplus(&self) -> bool {
        self.threads > self.capacity
    }
}
