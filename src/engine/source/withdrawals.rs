//! Operations that are taken out of their source before they have started.

use super::Source;
use super::retries::Retries;
use crate::engine::terms::Work;

impl<W: Work> Source<W> {
    /// Takes an operation out of those that wait to be started; None if it has started or gone.
    pub(in crate::engine) fn withdraw(&mut self, index: usize) -> Option<W::Job> {
        let job = self.queue.get_mut(index.checked_sub(self.head)?)?.take()?;
        self.live -= 1;
        while matches!(self.queue.front(), Some(None)) {
            self.queue.pop_front();
            self.head += 1;
        }
        Some(job)
    }

    /// Takes everything that has not started.
    pub(in crate::engine) fn withdraw_all(&mut self) -> Vec<(usize, W::Job)> {
        let first = self.head;
        self.live = 0;
        self.head += self.queue.len();
        let queued = (first..)
            .zip(std::mem::take(&mut self.queue))
            .filter_map(|(index, job)| Some((index, job?)));
        let mut retries = std::mem::replace(&mut self.retries, Retries::new());
        let retries = std::iter::from_fn(move || retries.pop());
        let retries = retries.map(|retry| (retry.index, retry.job));
        queued.chain(retries).collect()
    }
}
