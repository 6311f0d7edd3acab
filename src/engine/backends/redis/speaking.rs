//! The thread that talks with the server.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::hearing;
use super::line::{Failure, Line};
use super::link::Link;
use super::request::Reply;
use super::standing::Contact;
use super::stats;
use crate::engine::time::Time;

/// How soon it connects again, and how much later at most.
const SHORTEST_BREAK: Duration = Duration::from_millis(20);
const LONGEST_BREAK: Duration = Duration::from_secs(1);

/// What the thread has to do next.
enum Step {
    /// To send this, and whether somebody wants to know how it all stands.
    Send(Vec<String>, bool),
    /// To wait until pauses are heard again.
    Listen,
    Stop,
}

/// Begins; nobody waits for its end.
pub(super) fn start(link: &Arc<Link>) -> Result<(), String> {
    let link = Arc::clone(link);
    begin("paceline-limit", move || run(&link))
}

fn run(link: &Arc<Link>) {
    let mut wire = None;
    let mut unanswered = None;
    let mut pause = SHORTEST_BREAK;
    while !link.is_stopped() {
        let open = match wire.take() {
            Some(open) => Ok(open),
            None => Line::open(link.address(), link.patience()),
        };
        let result = open.and_then(|mut open| {
            listen(link)?;
            let done = exchange(link, &mut open, &mut unanswered);
            wire = Some(open);
            done
        });
        match result {
            Ok(()) => pause = SHORTEST_BREAK,
            Err(why) => {
                wire = None;
                lose(link, &why);
                take_a_break(link, pause);
                pause = (pause * 2).min(LONGEST_BREAK);
            }
        }
    }
    if let Some(mut wire) = wire {
        leave(link, &mut wire);
    }
}

/// Waits until pauses are heard. While they are not, there is no contact.
fn listen(link: &Arc<Link>) -> Result<(), String> {
    let mut shared = link.locked();
    if !shared.ear.is_open() && *shared.state.contact() == Contact::Up {
        let why = shared.ear.why();
        shared.state.lost(&why, Time::now());
        drop(shared);
        link.tell();
        shared = link.locked();
    }
    if !shared.ear.has_thread() {
        let epoch = shared.ear.begin();
        let hears = Arc::clone(link);
        if let Err(why) = begin("paceline-pauses", move || hearing::listen(&hears, epoch)) {
            shared.ear.close(&why);
        }
    }
    let until = Instant::now() + link.patience().connecting + link.patience().answering;
    while !shared.ear.is_open() {
        let left = until.saturating_duration_since(Instant::now());
        if shared.stopped || left.is_zero() || !shared.ear.has_thread() {
            return Err(shared.ear.why());
        }
        shared = link.wait(shared, Some(left));
    }
    Ok(())
}

/// Sends a request when there is one, once more if it was not answered, and hears the reply.
fn exchange(
    link: &Link,
    wire: &mut Line,
    unanswered: &mut Option<Vec<String>>,
) -> Result<(), String> {
    let (arguments, wants_stats) = match unanswered.take() {
        Some(arguments) => (arguments, false),
        None => match next_step(link) {
            Step::Send(arguments, wants_stats) => (arguments, wants_stats),
            Step::Listen | Step::Stop => return Ok(()),
        },
    };
    let reply = wire.call(link.script(), &arguments).and_then(|answer| {
        let stats = wants_stats.then(|| stats::read(wire, link.script(), link.me().1));
        Ok((answer, stats.transpose()?))
    });
    match reply {
        Ok((answer, stats)) => {
            let reply = Reply::parse(&answer.numbers);
            if let Ok(reply) = &reply {
                let mut shared = link.locked();
                shared.stats = stats.or(shared.stats.take());
                shared.ear.expect_echo(answer.arrived);
                shared.state.hear(reply, (answer.sent, answer.arrived));
                shared.state.found(answer.arrived);
            }
            link.tell();
            reply.map(|_| ())
        }
        Err(Failure::Numbers(theirs)) => {
            link.locked().state.refused(link.address().name(), &theirs);
            link.tell();
            take_a_break(link, SHORTEST_BREAK);
            Ok(())
        }
        Err(Failure::Lost(why)) => {
            *unanswered = Some(arguments);
            Err(why)
        }
    }
}

fn next_step(link: &Link) -> Step {
    let mut shared = link.locked();
    loop {
        if shared.stopped {
            return Step::Stop;
        }
        let now = Time::now();
        if shared.ear.is_deaf(now) {
            shared.ear.close("nothing of it arrives");
        }
        if !shared.ear.is_open() {
            return Step::Listen;
        }
        let me = link.me();
        let heard = shared.ear.heard();
        let wants_stats = std::mem::take(&mut shared.state.outgoing().stats);
        shared.state.outgoing().sync |= wants_stats;
        if let Some(message) = shared.state.next_message(me, heard, now) {
            if message.echo {
                shared.ear.ask_echo();
            }
            return Step::Send(message.arguments(), wants_stats);
        }
        let until = shared.state.next_look().min(shared.ear.next_look());
        shared = if until == Time::NEVER {
            link.wait(shared, None)
        } else {
            link.wait(shared, Some(until.since(Time::now())))
        };
    }
}

fn lose(link: &Link, why: &str) {
    let now = Time::now();
    link.locked().state.lost(why, now);
    link.tell();
}

fn take_a_break(link: &Link, length: Duration) {
    let until = Instant::now() + length.mul_f64(0.75 + fastrand::f64() / 2.0);
    let mut shared = link.locked();
    while !shared.stopped {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        shared = link.wait(shared, Some(left));
    }
}

/// Gives back what nobody will take any more.
fn leave(link: &Link, wire: &mut Line) {
    let me = link.me();
    let last = link.locked().state.last_message(me, Time::now());
    // Who has gone is not told whether it worked.
    let _ = wire.call(link.script(), &last);
    let _ = stats::forget(wire, link.script(), me.0, &link.channels()[1]);
}

fn begin(name: &str, act: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let begun = thread::Builder::new().name(name.to_owned()).spawn(act);
    begun.map_or_else(
        |error| Err(format!("no thread could be started: {error}")),
        |_| Ok(()),
    )
}
