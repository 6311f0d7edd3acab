//! Limits on a server of their own: Redis or Valkey.

#![cfg(all(feature = "redis", unix))]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::print_stderr, reason = "why a test was skipped, and figures")]

mod faults;
mod limits;
mod proxy;
mod script;
mod server;
mod taker;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use paceline::engine::time::Time;

use self::server::Server;
use self::taker::{Taker, most_in, ms, rate};

#[test]
fn one_takes_what_the_window_has_and_waits_for_the_rest() {
    let Some(server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(5, ms(300))).unwrap();
    let starts: Vec<_> = (0..23).map(|_| (taker.take(1).0, 1)).collect();
    let lasted = starts[22].0.since(starts[0].0);
    assert!(lasted >= ms(1200), "{lasted:?}");
    assert!(lasted < ms(1500), "{lasted:?}");
    assert_eq!(most_in(starts, ms(300)), 5);
}

#[test]
fn several_stores_share_one_window() {
    let Some(server) = Server::start() else {
        return;
    };
    let address = Arc::new(server.address("x"));
    let rate = rate(40, ms(400));
    let began = Time::now();
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let taker = Taker::open(&address, &rate).unwrap();
            thread::spawn(move || {
                let end = began + Duration::from_secs(3);
                let mut starts = Vec::new();
                while let Some((start, _)) = taker.take_before(1, end) {
                    starts.push((start, 1));
                }
                starts
            })
        })
        .collect();
    let starts: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    let each: Vec<_> = starts.iter().map(Vec::len).collect();
    let starts = starts.concat();
    let count = starts.len();
    let trips = server.calls_of("evalsha");
    eprintln!("{each:?} {count} of 320, trips {trips}");
    assert_eq!(most_in(starts, ms(400)), 40);
    assert!(count >= 280, "{count}");
    // Nobody starves: a fair share would be 53.
    assert!(each.iter().all(|&it| it >= 12), "{each:?}");
}
