//! How much of what the server has granted is known to be there still.

use super::request::Reply;
use crate::engine::time::Time;

/// The server counts on until it has lost something; then a new generation begins.
#[derive(Debug, Default)]
pub(super) struct Known {
    generation: i64,
    highest: i64,
    /// When the last reply came before which nothing is missing.
    heard: Time,
    /// Another generation that was told of, and when.
    told: (i64, Time),
}

impl Known {
    /// None at first.
    pub(super) const fn generation(&self) -> i64 {
        self.generation
    }

    /// The highest permit that was granted to anybody, as far as it was told.
    pub(super) const fn highest(&self) -> i64 {
        self.highest
    }

    /// Microseconds since the last reply before which nothing is missing.
    pub(super) const fn age(&self, now: Time) -> u64 {
        now.nanos_since(self.heard) / 1000
    }

    /// A reply came, and nothing is missing before that.
    pub(super) const fn hear(&mut self, now: Time) {
        self.heard = now;
    }

    /// Goes on with a reply to a request of that generation. Whether another one has begun.
    pub(super) fn follow(&mut self, reply: &Reply, generation: i64) -> bool {
        if reply.generation == generation {
            self.highest = self.highest.max(reply.last);
            return false;
        }
        self.generation = reply.generation;
        self.highest = reply.last;
        true
    }

    /// All are told that a generation has begun. Whether that is news.
    pub(super) fn tell(&mut self, generation: i64, now: Time) -> bool {
        let is_other = generation != self.generation;
        if is_other {
            self.told = (generation, now);
        }
        is_other
    }

    /// Whether another generation began while the reply was under way, perhaps after it was made.
    pub(super) fn is_doubtful(&self, reply: &Reply, sent: Time) -> bool {
        let (told, when) = self.told;
        when > sent && told != reply.generation
    }
}
