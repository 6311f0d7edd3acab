//! What happens when the server, or the way there, does not do what it should.

use std::thread;
use std::time::{Duration, Instant};

use paceline::engine::backends::redis::Due;
use paceline::engine::time::Time;

use crate::proxy::Proxy;
use crate::server::Server;
use crate::taker::{Taker, most_in, ms, rate};

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what} is not so after 20 s");
        thread::sleep(ms(2));
    }
}

fn texts(taker: &Taker) -> Vec<String> {
    let events = taker.store.take_events();
    events
        .iter()
        .map(|it| format!("{}: {}", it.name, it.reason))
        .collect()
}

#[test]
fn a_lost_reply_charges_nothing_twice() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(&server.socket());
    let taker = Taker::open(&proxy.address("x"), &rate(10, Duration::from_secs(60))).unwrap();
    for _ in 0..5 {
        // Nobody in a hurry is granted more than it takes.
        thread::sleep(ms(10));
        proxy.lose_replies(1);
        taker.take(1);
        assert!(proxy.lost_all());
    }
    for _ in 0..5 {
        thread::sleep(ms(10));
        taker.take(1);
    }
    assert_eq!(server.ask::<u64>("ZCARD paceline:{x}:permits"), 10);
}

#[test]
fn a_script_that_was_flushed_is_loaded_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(100, Duration::from_secs(60))).unwrap();
    for _ in 0..5 {
        thread::sleep(ms(10));
        taker.take(1);
        server.ask::<String>("SCRIPT FLUSH");
    }
    assert_eq!(texts(&taker), Vec::<String>::new());
    assert_eq!(server.ask::<u64>("ZCARD paceline:{x}:permits"), 5);
}

#[test]
fn connections_that_are_killed_are_made_anew() {
    let Some(server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(100, Duration::from_secs(60))).unwrap();
    for kind in ["normal", "pubsub"] {
        taker.take(1);
        server.ask::<u64>(&format!("CLIENT KILL TYPE {kind} SKIPME yes"));
        taker.take(1);
    }
    until("that contact was lost and found is told", || {
        texts(&taker)
            .iter()
            .any(|it| it.starts_with("limiter_found"))
    });
}

#[test]
fn a_flush_is_noticed_and_nothing_granted_for_a_window() {
    let Some(server) = Server::start() else {
        return;
    };
    let address = server.address("x");
    let rate = rate(20, ms(600));
    let began = Time::now();
    let end = began + Duration::from_secs(4);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let taker = Taker::open(&address, &rate).unwrap();
            thread::spawn(move || {
                let mut starts = Vec::new();
                while let Some((start, _)) = taker.take_before(1, end) {
                    starts.push((start, 1));
                    thread::sleep(ms(3));
                }
                (starts, texts(&taker))
            })
        })
        .collect();
    for _ in 0..2 {
        thread::sleep(ms(1130));
        server.ask::<String>("FLUSHALL");
    }
    let all: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    let starts: Vec<_> = all.iter().flat_map(|(starts, _)| starts.clone()).collect();
    let told = all.iter().flat_map(|(_, texts)| texts);
    let told = told
        .filter(|it| it.starts_with("limiter_state_lost"))
        .count();
    assert!(told >= 2, "{told}");
    let count = starts.len();
    assert_eq!(most_in(starts, ms(600)), 20);
    // Of 133 in four seconds, two windows and what was waited for them are missing.
    assert!(count >= 60, "{count}");
}

#[test]
fn a_server_that_restarts_is_found_again_and_has_lost_what_was_granted() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(5, ms(1500))).unwrap();
    let mut starts: Vec<_> = (0..5).map(|_| (taker.take(1).0, 1)).collect();
    server.restart();
    starts.extend((0..5).map(|_| (taker.take(1).0, 1)));
    assert_eq!(most_in(starts, ms(1500)), 5);
    let texts = texts(&taker).join("; ");
    for words in ["limiter_lost: ", "limiter_found", "limiter_state_lost"] {
        assert!(texts.contains(words), "{texts}");
    }
}

#[test]
fn while_the_server_stands_still_nothing_starts_and_then_it_goes_on() {
    let Some(server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(100, Duration::from_secs(1))).unwrap();
    taker.take(1);
    server.signal("STOP");
    let stopped = Instant::now();
    let now = Time::now();
    assert_eq!(taker.take_before(1, now + ms(900)), None);
    let now = Time::now();
    let due = taker.store.due(1, 0, now, now);
    let is_lost = matches!(&due, Due::Lost(why) if why.contains("did not answer in time"));
    assert!(is_lost, "{due:?}");
    assert!(taker.store.ask_now(1).is_err());
    assert!(taker.store.fetch_stats().is_err());
    server.signal("CONT");
    taker.take(1);
    assert!(
        stopped.elapsed() < Duration::from_secs(6),
        "{:?}",
        stopped.elapsed()
    );
}

#[test]
fn a_way_that_is_cut_is_told_and_found_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(&server.socket());
    let taker = Taker::open(&proxy.address("x"), &rate(100, Duration::from_secs(60))).unwrap();
    taker.take(1);
    proxy.cut();
    let now = Time::now();
    assert_eq!(taker.take_before(1, now + ms(300)), None);
    proxy.mend();
    taker.take(1);
    let texts = texts(&taker).join("; ");
    assert!(texts.contains("limiter_found"), "{texts}");
}

#[test]
fn who_hears_no_pauses_has_lost_contact() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(&server.socket());
    let taker = Taker::open(&proxy.address("x"), &rate(1000, Duration::from_secs(1))).unwrap();
    proxy.deafen(true);
    let end = Instant::now() + Duration::from_secs(10);
    while taker.store.trouble().is_none() {
        assert!(Instant::now() < end, "not noticed");
        taker.take_before(1, Time::now() + ms(20));
    }
    proxy.deafen(false);
    taker.take(1);
}

#[test]
fn a_server_that_is_not_there_is_refused_in_words() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let address = server.address("x");
    server.kill();
    let refusal = Taker::open(&address, &rate(1, ms(100))).map(|_| ());
    let refusal = refusal.unwrap_err();
    assert!(
        refusal.starts_with("no contact with redis+unix://"),
        "{refusal}"
    );
}
