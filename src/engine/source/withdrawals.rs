//! Operations that are taken out of their source before they have started.

use super::Source;
use super::retries::Retries;
use crate::engine::terms::Work;

impl<W: Work> Source<W> {
    /// Takes an operation out of those that wait to be started; None if it has started or gone.
    pub(in crate::engine) fn withdraw(&mut self, index: usize) -> Option<W::Job> {
        if let Some(place) = self
            .granted
            .iter()
            .position(|granted| granted.index == index)
        {
            let granted = self.granted.remove(place)?;
            self.spare_permits += usize::from(!granted.refused);
            return Some(granted.job);
        }
        self.withdraw_held(index)
            .or_else(|| self.withdraw_queued(index))
    }

    pub(super) fn withdraw_queued(&mut self, index: usize) -> Option<W::Job> {
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
        let granted = std::mem::take(&mut self.granted);
        self.spare_permits += granted.iter().filter(|granted| !granted.refused).count();
        let granted = granted
            .into_iter()
            .map(|granted| (granted.index, granted.job));
        let held = std::mem::take(&mut self.held);
        let started_first = granted.chain(held);
        started_first.chain(queued).chain(retries).collect()
    }
}
