//! Sums over a batch that explain its time, and how long one of its operations typically takes.

/// One worker is left alone with operations that take fewer nanoseconds: it costs others as much to
/// be woken and to get at the interpreter.
pub(super) const ONE_WORKER_BELOW: u64 = 10_000;

/// After so many, operations are taken for short again that once were not, and their input for
/// quick.
pub(super) const PROBATION: usize = 4096;

/// Sums over a batch; times in nanoseconds.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    /// Operations that returned.
    pub done: usize,
    /// Operations that failed for good.
    pub failed: usize,
    /// Operations that were cancelled while they ran.
    pub cancelled: usize,
    /// Permits taken.
    pub permits: usize,
    /// Calls made.
    pub attempts: usize,
    /// Calls that repeated an earlier one.
    pub retries: usize,
    /// Pauses the server asked for.
    pub pauses: usize,
    /// How much of its time fell into such pauses. Known when the batch is taken out.
    pub paused: u64,
    /// Time outside of pauses that operations waited for a permit while a worker was free, and time
    /// that they waited for one inside.
    pub permit_wait: u64,
    /// How much of that operations did inside, for permits that they asked for themselves.
    pub waited_inside: u64,
    /// Time that operations ran and did not wait for permits, over all workers.
    pub working: u64,
}

impl Totals {
    /// Counts a call that has waited so many nanoseconds for its permit.
    #[inline(always)]
    pub(super) fn count_start(&mut self, retry: bool, permit_wait: u64) {
        self.permits += 1;
        self.attempts += 1;
        self.retries += usize::from(retry);
        self.permit_wait += permit_wait;
    }

    /// Counts an operation that has come to its end.
    #[inline(always)]
    pub(super) fn count_end(&mut self, failed: bool) {
        if failed {
            self.failed += 1;
        } else {
            self.done += 1;
        }
    }

    /// Counts the time of one call, and how much of it was spent waiting for permits.
    #[inline(always)]
    pub(super) fn count_time(&mut self, nanos: u64, waited: u64) {
        self.working += nanos.saturating_sub(waited);
        self.permit_wait += waited;
        self.waited_inside += waited;
    }
}

/// How long an operation of a batch typically runs.
#[derive(Debug)]
pub(super) struct TypicalDuration {
    /// Moving average, in nanoseconds; `u64::MAX` before the first has ended.
    average: u64,
    /// Operations are not taken for short before so many calls.
    short_from: usize,
}

impl Default for TypicalDuration {
    fn default() -> Self {
        Self {
            average: u64::MAX,
            short_from: 0,
        }
    }
}

impl TypicalDuration {
    /// Takes note of how long a call took.
    #[inline(always)]
    pub(super) fn see(&mut self, nanos: u64) {
        self.average = if self.average == u64::MAX {
            nanos
        } else {
            (self.average - self.average / 8).saturating_add(nanos / 8)
        };
    }

    /// In nanoseconds; `u64::MAX` before the first has ended.
    #[inline(always)]
    pub(super) const fn nanos(&self) -> u64 {
        self.average
    }

    /// Whether operations are short, as far as one can tell after so many calls.
    #[inline(always)]
    pub(super) const fn is_short(&self, attempts: usize) -> bool {
        self.average < ONE_WORKER_BELOW && attempts >= self.short_from
    }

    /// One took long though they were taken for short.
    pub(super) const fn was_not_short(&mut self, attempts: usize) {
        self.short_from = attempts + PROBATION;
    }
}
