//! What one process knows of a limit on a server. Everything here only computes.
//!
//! Long, as it composes all of that.

use std::time::Duration;

use super::closed::Closed;
use super::due::Due;
use super::held::{Held, MOST, Permit};
use super::known::Known;
use super::lateness::Lateness;
use super::ledger::Ledger;
use super::numbers::Numbers;
use super::outgoing::{Outgoing, Wanted};
use super::presence::Presence;
use super::request::{Message, Reply};
use super::sent::{Requests, Sent};
use super::server_clock::ServerClock;
use super::standing::{Contact, Standing};
use super::terms::Terms;
use crate::engine::limiter::{Event, Trouble, Why};
use crate::engine::time::Time;

/// Who is heard on its own channel more rarely is to be heard with the next request.
const ECHO_EVERY: Duration = Duration::from_secs(1);

/// The state of one holder.
#[derive(Debug)]
pub(super) struct State {
    terms: Terms,
    clock: ServerClock,
    held: Held,
    ledger: Ledger,
    standing: Standing,
    outgoing: Outgoing,
    requests: Requests,
    known: Known,
    presence: Presence,
    closed: Closed,
    lateness: Lateness,
    /// When a weight would be granted that was asked about.
    answer: Option<Time>,
}

impl State {
    pub(super) fn new(numbers: Numbers, shown: &str) -> Self {
        Self {
            ledger: Ledger::new(numbers.stays()),
            terms: Terms::new(numbers),
            clock: ServerClock::default(),
            held: Held::default(),
            standing: Standing::new(shown),
            outgoing: Outgoing::hello(),
            requests: Requests::default(),
            known: Known::default(),
            presence: Presence::new(),
            closed: Closed::default(),
            lateness: Lateness::default(),
            answer: None,
        }
    }

    pub(super) const fn contact(&self) -> &Contact {
        self.standing.contact()
    }

    pub(super) const fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    pub(super) const fn paused_until(&self) -> Time {
        self.closed.paused_until()
    }

    /// Whether there is something to be sent now.
    pub(super) fn has_to_send(&self) -> bool {
        !self.requests.is_under_way() && self.outgoing.is_urgent()
    }

    /// Whether `weight` permits are held that may be taken now.
    pub(super) fn is_free(&self, weight: u64, now: Time) -> bool {
        *self.contact() == Contact::Up && self.held.due(weight, now).is_some_and(|due| due <= now)
    }

    pub(super) const fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(super) const fn answer(&self) -> Option<Time> {
        self.answer
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.standing.take_events()
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.standing.trouble()
    }

    pub(super) const fn terms(&mut self) -> &mut Terms {
        &mut self.terms
    }

    pub(super) const fn wait(&mut self, weight: u64) {
        self.presence.wait_for(weight);
    }

    /// How long before permits are needed they are to be asked for.
    pub(super) const fn early(&self) -> Duration {
        Duration::from_nanos(self.lateness.early())
    }

    /// When the next permit is to be had, if that is known and to come.
    pub(super) fn next_known(&self, now: Time) -> Option<Time> {
        let held = self.held.next_due();
        let opens = self.closed.opens();
        let next = held.or(self.answer).map_or(opens, |due| due.max(opens));
        (next > now).then_some(next)
    }

    /// When `weight` permits may be taken; asks the server where that is not known. `behind` others
    /// wait too.
    pub(super) fn due(&mut self, weight: u64, behind: u32, not_before: Time, now: Time) -> Due {
        match self.contact() {
            Contact::Up => {}
            Contact::Opening => return Due::Asked,
            Contact::Lost(_, why) => return Due::Lost(why.clone()),
            Contact::Refused(why) => {
                let why = why.clone();
                // Others may have let it go meanwhile.
                self.outgoing.sync = true;
                return Due::Refused(why);
            }
        }
        self.give_back_late(now);
        if now < self.closed.learns_until() {
            return Due::At(self.closed.learns_until());
        }
        if not_before > now {
            let early = self.held.due_before(not_before);
            self.outgoing.give_back(early);
        }
        let due = self.held.due(weight, now);
        self.ask_for_more(weight, behind, not_before, now);
        match due {
            Some(due) if due <= now => Due::Now,
            Some(due) => Due::At(due),
            None => Due::Asked,
        }
    }

    fn ask_for_more(&mut self, weight: u64, behind: u32, not_before: Time, now: Time) {
        if self.requests.asks_for(weight) {
            return;
        }
        let (stock, last) = self.held.stock(weight);
        let early = self.lateness.early();
        if last.is_some_and(|last| last > now.plus_nanos(early)) {
            return;
        }
        let waiting = (behind + 1).min(MOST);
        let wanted = self.held.worth_asking(now).max(waiting);
        let taken_meanwhile = self.held.taken_in(self.lateness.round_trip());
        if stock <= taken_meanwhile.clamp(wanted / 8, wanted / 2) {
            self.outgoing.want = Some(Wanted {
                count: wanted - stock,
                firm: waiting.saturating_sub(stock),
                weight,
                not_before,
            });
        }
    }

    fn give_back_late(&mut self, now: Time) {
        let late = self.held.late(now);
        self.outgoing.give_back(late);
    }

    /// Takes `weight` permits that are due, to stay in the window for so many nanoseconds.
    pub(super) fn take(&mut self, weight: u64, now: Time, stays: u64) -> Option<Permit> {
        let usable = *self.contact() == Contact::Up && now >= self.closed.opens();
        self.give_back_late(now);
        let permit = usable.then(|| self.held.take(weight, now)).flatten()?;
        self.presence.wait_for(0);
        let leaves = now.plus_nanos(stays);
        self.outgoing.leaves(permit, leaves);
        self.ledger.put(weight, leaves, now);
        Some(permit)
    }

    /// Nothing starts before `until`, for all who share it.
    pub(super) fn pause_until(&mut self, until: Time, why: Why) {
        if self.closed.pause(until) {
            self.presence.pause_for(why);
            self.outgoing.pause = self.outgoing.pause.max(Some(until));
            self.hold_back();
        }
    }

    /// Gives back what is due before anything may start.
    fn hold_back(&mut self) {
        let early = self.held.due_before(self.closed.opens());
        self.outgoing.give_back(early);
    }

    /// Somebody else has.
    pub(super) fn hear_pause(&mut self, until: i64, now: Time) {
        self.closed.hear_pause(until, &self.clock, now);
        self.hold_back();
    }

    /// Goes on with other numbers, which the others have too.
    pub(super) fn hear_numbers(&mut self, text: &str) {
        match self.terms.hear_numbers(text) {
            Ok(windows) => self.follow_windows(windows),
            Err(why) => self.standing.refused(why),
        }
    }

    /// Goes on with other numbers, which everybody is to have.
    pub(super) fn change_for_all(&mut self, numbers: Numbers) {
        let windows = self.terms.change(numbers);
        self.outgoing.changes |= windows.is_some();
        self.follow_windows(windows);
    }

    /// What was taken stays so much longer as the window is longer.
    fn follow_windows(&mut self, windows: Option<(Duration, Duration)>) {
        if let Some((before, after)) = windows {
            self.outgoing.stay_longer(before, after);
            self.ask_anew();
        }
    }

    fn ask_anew(&mut self) {
        let held = self.held.all();
        self.outgoing.give_back(held);
        self.outgoing.sync = true;
    }

    /// The server has begun to count anew.
    pub(super) fn hear_generation(&mut self, generation: i64, now: Time) {
        if !self.known.tell(generation, now) {
            return;
        }
        let is_behind = self.outgoing.sync || self.ledger.current(now).len() > 0;
        self.ask_anew();
        self.outgoing.sync = is_behind;
    }

    /// The next request, where one is due.
    pub(super) fn next_message<'a>(
        &mut self,
        me: (&'a str, &'a str, &str),
        heard: Time,
        now: Time,
    ) -> Option<Message<'a>> {
        self.give_back_late(now);
        self.has_to_send().then(|| self.message(me, heard, now))
    }

    /// The last one, by which all is given back.
    pub(super) fn last_message(&mut self, me: (&str, &str, &str), now: Time) -> Vec<String> {
        let held = self.held.all();
        self.outgoing.give_back(held);
        self.outgoing.want = None;
        self.outgoing.now = None;
        self.message(me, now, now).arguments()
    }

    fn message<'a>(
        &mut self,
        (holder, channel, who): (&'a str, &'a str, &str),
        heard: Time,
        now: Time,
    ) -> Message<'a> {
        let number = self.requests.next_number();
        let asked = self.outgoing.ask.take();
        let sent = Sent {
            number,
            want: self.outgoing.take_want(&self.clock, now),
            generation: self.known.generation(),
            asks: asked.is_some(),
            lag: self.lateness.lag(),
            uncertainty: self.clock.uncertainty(now),
        };
        let late = sent.late() + Held::patience();
        self.outgoing.sync = false;
        let report = std::mem::take(&mut self.outgoing.report);
        let returned = self.outgoing.take_returned();
        let clock = self.clock;
        let leaves = self.outgoing.take_leaves();
        let mut leaves: Vec<_> = leaves
            .map(|(permit, leaves)| (permit.name(), clock.there(leaves, now)))
            .collect();
        let mine = self.ledger.current(now);
        let holds = mine.len() > 0;
        if report {
            leaves.extend(mine.enumerate().map(|(part, (leaves, weight))| {
                let name = format!("+{holder}.{number}.{part}:{weight}");
                (name, clock.there(leaves, now))
            }));
        }
        let want = sent.want;
        self.requests.begin(sent);
        let pause = self.outgoing.pause.take();
        Message {
            number,
            holder,
            channel,
            numbers: self.terms.numbers().text(),
            limit: self.terms.limit(),
            burst: self.terms.numbers().burst(),
            interval: self.terms.interval(),
            stays: (self.terms.numbers().stays() + late).div_ceil(1000),
            generation: self.known.generation(),
            highest: self.known.highest(),
            age: self.known.age(now),
            holds,
            has_moved: std::mem::take(&mut self.outgoing.has_moved),
            pause: pause.map_or(0, |until| self.closed.tell(until, &clock, now)),
            want,
            ask: asked.unwrap_or(0),
            echo: now.since(heard) > ECHO_EVERY,
            who: self.presence.text(who),
            changes: std::mem::take(&mut self.outgoing.changes),
            has_cut: std::mem::take(&mut self.outgoing.has_cut),
            returned,
            leaves,
        }
    }

    /// A reply to the request under way, which was sent for the last time at `sent`.
    pub(super) fn hear(&mut self, reply: &Reply, (sent, now): (Time, Time)) {
        let Some(request) = self.requests.end() else {
            return;
        };
        self.lateness.hear(now.nanos_since(sent));
        let jumped = self.clock.hear(sent, now, reply.now);
        self.presence.answer_at(reply.now);
        self.follow_generation(reply, request.generation, now);
        self.closed.hear_pause(reply.paused, &self.clock, now);
        if reply.closed > reply.now {
            self.closed.learn(self.clock.here(reply.closed, now));
        }
        if request.asks {
            self.answer = Some(self.clock.here(reply.answer, now));
        }
        self.hold(reply, &request, now);
        self.hold_back();
        if jumped.is_some() || self.known.is_doubtful(reply, sent) {
            self.ask_anew();
        }
        if let Some(by) = jumped {
            self.outgoing.has_moved = true;
            let by = by.as_secs_f64();
            self.standing.state_lost(&format!(
                "its clock moved by {by:.1} s against the one here"
            ));
        } else {
            self.known.hear(now);
        }
    }

    fn follow_generation(&mut self, reply: &Reply, known: i64, now: Time) {
        if !self.known.follow(reply, known) {
            return;
        }
        let held = self.held.all();
        self.outgoing.give_back(held);
        if known != 0 {
            self.outgoing.report = self.ledger.current(now).len() > 0;
            if reply.closed > reply.now {
                self.standing
                    .state_lost("it no longer knew what it had granted");
            }
        }
    }

    /// Holds what was granted, but for what is known too late to start in time.
    fn hold(&mut self, reply: &Reply, request: &Sent, now: Time) {
        let Some(want) = request.want else {
            return;
        };
        let uncertainty = self.clock.uncertainty(now);
        let mut latest = 0;
        for &(number, at) in &reply.granted {
            let permit = Permit {
                number,
                weight: want.weight,
            };
            let due = self.clock.here(at, now);
            latest = latest.max(now.nanos_since(due));
            if request.is_in_time(due, now, uncertainty) {
                self.held.put(permit, due, now);
            } else {
                self.outgoing.give_back(vec![permit]);
            }
        }
        self.lateness.see(latest);
    }

    /// Contact is back, or there for the first time.
    pub(super) fn found(&mut self, now: Time) {
        self.standing.found(now);
    }

    /// Nothing is heard of the server any more.
    pub(super) fn lost(&mut self, why: &str, now: Time) {
        self.ask_anew();
        self.standing.lost(why, now);
    }

    /// Others use other numbers under that name. Who has it already goes on with them.
    pub(super) fn refused(&mut self, name: &str, theirs: &str) {
        self.requests.end();
        if self.presence.is_known() {
            self.hear_numbers(theirs);
            return;
        }
        self.standing
            .refused(self.terms.numbers().unlike(name, theirs));
    }

    /// When it is to be looked at again though nobody asks.
    pub(super) fn next_look(&self) -> Time {
        self.held.next_late()
    }
}
