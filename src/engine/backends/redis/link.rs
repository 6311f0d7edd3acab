//! What the threads of one process's end share with those who ask.

use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::Address;
use super::ear::Ear;
use super::line::Script;
use super::outgoing::Outgoing;
use super::patience::Patience;
use super::standing::Contact;
use super::state::State;
use super::stats;
use crate::engine::limiter::{News, Shared as Sharers};
use crate::engine::lock::lock;

/// What is behind the lock.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: State,
    pub(super) ear: Ear,
    pub(super) stats: Option<Sharers>,
    pub(super) stopped: bool,
}

/// One process's connection to a limit.
pub(super) struct Link {
    address: Address,
    patience: Patience,
    news: Mutex<Option<News>>,
    /// What this holder is called at the server,
    holder: String,
    /// and by people.
    who: String,
    channel: String,
    script: Script,
    shared: Mutex<Shared>,
    wake: Condvar,
    done: Condvar,
    errands: Mutex<()>,
}

impl Link {
    pub(super) fn new(address: Address, state: State, patience: Patience) -> Self {
        let holder = format!("{}-{:016x}", process::id(), fastrand::u64(..));
        let keys = [
            address.key("limit"),
            address.key("permits"),
            address.key("holders"),
            address.key(&format!("reply:{holder}")),
        ];
        Self {
            channel: address.key("news"),
            script: Script::new(keys),
            address,
            patience,
            news: Mutex::new(None),
            holder,
            who: format!("{} {}", stats::host(), process::id()),
            shared: Mutex::new(Shared {
                state,
                ear: Ear::default(),
                stats: None,
                stopped: false,
            }),
            wake: Condvar::new(),
            done: Condvar::new(),
            errands: Mutex::new(()),
        }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) const fn patience(&self) -> Patience {
        self.patience
    }

    pub(super) const fn script(&self) -> &Script {
        &self.script
    }

    /// How it is called at the server and its channel, and who it is for people.
    pub(super) fn me(&self) -> (&str, &str, &str) {
        (&self.holder, &self.channel, &self.who)
    }

    pub(super) fn channels(&self) -> [String; 2] {
        let own = format!("{}:{}", self.channel, self.holder);
        [self.channel.clone(), own]
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Calls `act` with the state, and has sent what is urgent.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut shared = self.locked();
        let result = act(&mut shared.state);
        if shared.state.has_to_send() {
            self.wake.notify_one();
        }
        result
    }

    /// Ends the threads; nobody waits for them.
    pub(super) fn stop(&self) {
        self.locked().stopped = true;
        self.wake.notify_all();
        self.done.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.locked().stopped
    }

    /// Calls `news` from now on when there are some.
    pub(super) fn tell_news(&self, news: News) {
        *lock(&self.news) = Some(news);
    }

    /// Tells everybody that there are news.
    pub(super) fn tell(&self) {
        self.wake.notify_all();
        self.done.notify_all();
        let news = lock(&self.news).clone();
        if let Some(news) = news {
            news();
        }
    }

    /// Waits until something is to be done, or for so long; None is for ever.
    pub(super) fn wait<'a>(
        &self,
        shared: MutexGuard<'a, Shared>,
        longest: Option<Duration>,
    ) -> MutexGuard<'a, Shared> {
        if let Some(longest) = longest {
            return wait(&self.wake, shared, longest);
        }
        let woken = self.wake.wait(shared);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something asked with the next request, and waits for the reply.
    pub(super) fn ask(&self, what: impl FnOnce(&mut Outgoing)) -> Result<(), String> {
        let number = self.with(|state| {
            what(state.outgoing());
            state.requests().next_number()
        });
        // The request under way, and this one.
        let until = Instant::now() + self.patience.answering * 2;
        self.wait_until(until, |state| match state.contact() {
            Contact::Lost(_, why) | Contact::Refused(why) => Some(Err(why.clone())),
            _ if state.requests().answered() >= number => Some(Ok(())),
            Contact::Opening | Contact::Up => None,
        })
    }

    /// Keeps others from asking something until the answer is there.
    pub(super) fn one_errand(&self) -> MutexGuard<'_, ()> {
        lock(&self.errands)
    }

    pub(super) fn silence(&self) -> String {
        format!("{} does not answer", self.address.shown())
    }

    pub(super) fn wait_until<R>(
        &self,
        until: Instant,
        found: impl Fn(&State) -> Option<Result<R, String>>,
    ) -> Result<R, String> {
        let mut shared = self.locked();
        loop {
            if let Some(result) = found(&shared.state) {
                return result;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || shared.stopped {
                return Err(self.silence());
            }
            shared = wait(&self.done, shared, left);
        }
    }
}

fn wait<'a, T>(signal: &Condvar, guard: MutexGuard<'a, T>, longest: Duration) -> MutexGuard<'a, T> {
    let (guard, _) = signal
        .wait_timeout(guard, longest)
        .unwrap_or_else(PoisonError::into_inner);
    guard
}
