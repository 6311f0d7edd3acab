//! A limit on a server, as limiters count by it.

use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::numbers::Numbers;
use super::{Due as StoreDue, Patience, Permit as StorePermit, RedisStore};
use crate::engine::limiter::{
    Adaptive, Backend, Counted, Due, Event, Fetch, Limiter, News, OpenError, Pacing, Permit, Rate,
    Request, Shared, Sharing, Stamp, Trouble, Why,
};
use crate::engine::process::PerProcess;
use crate::engine::time::Time;

/// When one looks again who waits for the server's word, if nobody tells before.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A limit on a server, opened by this process or by the one that it was forked from.
#[derive(Debug)]
pub struct RedisLimit {
    address: Address,
    numbers: Numbers,
    rate: Rate,
    patience: Patience,
    store: PerProcess<Arc<RedisStore>>,
}

impl RedisLimit {
    /// The limiter that all share who open that address. Waits for the server.
    ///
    /// # Errors
    ///
    /// If the address is none, the server does not answer, or others use other numbers.
    pub fn open(address: &str, rate: Rate, patience: Patience) -> Result<Limiter, OpenError> {
        let address = Address::parse(address).map_err(OpenError::Value)?;
        let numbers = Numbers::new(&rate).map_err(OpenError::Value)?;
        let store = RedisStore::of(address.clone(), numbers.clone(), patience);
        let opened = store.wait_for_contact();
        match (opened, store.trouble()) {
            (_, Some(Trouble::Refused(why))) => return Err(OpenError::Value(why)),
            (Err(why), _) => return Err(OpenError::System(why)),
            (Ok(()), _) => {}
        }
        let limit = Self {
            address,
            numbers,
            rate,
            patience,
            store: PerProcess::new(Arc::new(store)),
        };
        Ok(Limiter::shared(rate, limit))
    }

    /// The store of this process. A child that was forked does not wait for its own.
    fn store(&self) -> Arc<RedisStore> {
        self.store.get(|| self.begin()).as_ref().clone()
    }

    fn begin(&self) -> Arc<RedisStore> {
        let (address, numbers) = (self.address.clone(), self.numbers.clone());
        Arc::new(RedisStore::of(address, numbers, self.patience))
    }
}

impl Sharing for RedisLimit {
    fn backend(&self, news: News) -> Box<dyn Backend> {
        let store = self.store();
        store.tell_news(news);
        Box::new(RedisBackend {
            store,
            limit: self.rate.limit(),
            adaptive: None,
            is_cut: false,
            waiting: 0,
        })
    }

    fn place(&self) -> String {
        self.address.place()
    }

    fn has_to_be_watched(&self) -> bool {
        false
    }

    fn fetch(&self, what: Fetch) {
        let store = self.store();
        // Without contact there is nothing to be had, and that is what it is asked for next.
        let _ = match what {
            Fetch::Permits(weight) => store.ask_now(weight).map(|_| ()),
            Fetch::Due(weight) => store.would_be_granted(weight).map(|_| ()),
            Fetch::Holders => store.fetch_stats(),
        };
    }

    fn trouble(&self) -> Option<Trouble> {
        self.store().trouble()
    }

    fn take_events(&self) -> Vec<Event> {
        self.store().take_events()
    }
}

/// What one process has of a limit on a server.
#[derive(Debug)]
struct RedisBackend {
    store: Arc<RedisStore>,
    limit: u64,
    /// The limit in effect, once it was cut.
    adaptive: Option<Adaptive>,
    /// Another process has cut it.
    is_cut: bool,
    waiting: u32,
}

impl RedisBackend {
    /// Follows the pace and the limit in effect.
    fn follow(&mut self, request: &Request) {
        if let Some(pacing) = request.pacing {
            self.store.pace(pacing.interval());
        }
        self.follow_cut(request.adaptive, request.now);
        if self.adaptive.is_some() {
            self.grow(request.now);
            let effective = self.effective().max(request.weight);
            self.store.bound(effective.min(self.limit));
        }
    }

    fn follow_cut(&mut self, adaptive: Option<Adaptive>, now: Time) {
        if std::mem::take(&mut self.is_cut)
            && let Some(adaptive) = adaptive
        {
            self.adaptive.get_or_insert(adaptive).cut(now);
        }
    }

    fn grow(&mut self, now: Time) {
        if let Some(adaptive) = &mut self.adaptive {
            while adaptive.step(now).is_some() {}
        }
    }

    fn effective(&self) -> u64 {
        self.adaptive.map_or(self.limit, |it| it.effective())
    }
}

impl Backend for RedisBackend {
    fn refresh(&mut self, _: Time) -> Option<Rate> {
        let (rate, is_cut) = self.store.take_news();
        self.is_cut |= is_cut;
        if let Some(rate) = &rate {
            self.limit = rate.limit();
            if let Some(adaptive) = &mut self.adaptive {
                adaptive.change(rate.limit(), rate.longest());
            }
        }
        rate
    }

    fn due(&mut self, request: &Request) -> Due {
        self.follow(request);
        let behind = self.waiting.saturating_sub(1);
        let (weight, now) = (request.weight, request.now);
        let early = request.not_before - self.store.early();
        if early > now {
            // Asked for sooner, it would keep what others could have meanwhile.
            return Due::At(request.not_before);
        }
        match self.store.due(weight, behind, request.not_before, now) {
            StoreDue::Now => Due::Now,
            StoreDue::At(due) => Due::At(due),
            StoreDue::Asked | StoreDue::Lost(_) | StoreDue::Refused(_) => Due::At(now + LOOK_AGAIN),
        }
    }

    fn take(&mut self, request: &Request) -> Option<Permit> {
        let permit = self
            .store
            .take(request.weight, request.now, request.stays)?;
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.started();
        }
        Some(Permit::Numbered(permit.number, permit.weight))
    }

    fn give_back(&mut self, permit: Permit) {
        if let Some(permit) = numbered(&permit) {
            self.store.give_back(permit);
        }
    }

    fn settle(&mut self, permit: Permit, leaves: Time, _: Time) {
        if let Some(permit) = numbered(&permit) {
            self.store.settle(permit, leaves);
        }
    }

    fn wait(&mut self, weight: Option<u64>, waiting: usize, _: Time) {
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        self.waiting = weight.map_or(0, |_| waiting);
        self.store.wait(weight.unwrap_or(0));
    }

    fn paused_until(&mut self, _: Time) -> Time {
        self.store.paused_until()
    }

    fn pause_until(&mut self, until: Time, why: Why, adaptive: Option<Adaptive>, now: Time) {
        let resumes = self.store.paused_until().max(now);
        self.store.pause_until(until, why);
        if let Some(adaptive) = adaptive {
            self.hold(adaptive, until.since(resumes), now);
        }
    }

    fn cut(&mut self, adaptive: Adaptive, now: Time) -> bool {
        let cut = self.adaptive.get_or_insert(adaptive).cut(now);
        if cut {
            self.store.cut();
        }
        cut
    }

    fn hold(&mut self, _: Adaptive, longer: Duration, _: Time) {
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.hold(longer);
        }
    }

    /// The server counts. Here it is known at most when the next permit is to be had.
    fn counted(
        &mut self,
        pacing: Option<Pacing>,
        adaptive: Option<Adaptive>,
        now: Time,
    ) -> Counted {
        self.follow_cut(adaptive, now);
        self.grow(now);
        let limit = self.limit;
        let next = self.store.next_known(now).map(|leaves| Stamp {
            leaves,
            weight: limit,
        });
        Counted {
            used: next.map_or(0, |next| next.weight),
            first: next.into_iter().collect(),
            pacing,
            adaptive: self.adaptive.or(adaptive),
        }
    }

    fn change(&mut self, rate: Rate, _: Time) -> Result<(), OpenError> {
        self.store.change(&rate).map_err(OpenError::Value)?;
        self.limit = rate.limit();
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.change(rate.limit(), rate.longest());
        }
        Ok(())
    }

    fn holders(&mut self, _: Time) -> Shared {
        self.store.shared()
    }
}

fn numbered(permit: &Permit) -> Option<StorePermit> {
    match *permit {
        Permit::Numbered(number, weight) => Some(StorePermit { number, weight }),
        Permit::Slots(..) => None,
    }
}
