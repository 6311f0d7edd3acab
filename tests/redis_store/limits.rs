//! What a limit on a server promises to those who share it.

use std::thread;
use std::time::Duration;

use paceline::engine::backends::redis::{Due, Patience, RedisLimit};
use paceline::engine::limiter::{Rate, Why};
use paceline::engine::time::Time;

use crate::proxy::Proxy;
use crate::server::Server;
use crate::taker::{Taker, most_in, ms, rate};

#[test]
fn weights_share_the_window() {
    let Some(server) = Server::start() else {
        return;
    };
    let rate = rate(10, ms(200));
    let end = Time::now() + Duration::from_secs(2);
    let threads: Vec<_> = [1, 3, 7]
        .map(|weight| {
            let taker = Taker::open(&server.address("x"), &rate).unwrap();
            thread::spawn(move || {
                let mut starts = Vec::new();
                while let Some((start, _)) = taker.take_before(weight, end) {
                    starts.push((start, weight));
                }
                starts
            })
        })
        .into_iter()
        .collect();
    let starts: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    for of_one in &starts {
        assert!(of_one.len() >= 5, "nobody starves: {}", of_one.len());
    }
    assert!(most_in(starts.concat(), ms(200)) <= 10);
}

#[test]
fn a_burst_is_followed_by_an_even_pace() {
    let Some(server) = Server::start() else {
        return;
    };
    let rate = Rate::new(20, Duration::from_secs(1), Some(3), Some(Duration::ZERO)).unwrap();
    let takers = [(); 2].map(|()| Taker::open(&server.address("x"), &rate).unwrap());
    let starts: Vec<_> = (0..9).map(|at| takers[at % 2].take(1).0).collect();
    assert!(starts[2].since(starts[0]) < ms(45));
    for pair in starts[2..].windows(2) {
        let apart = pair[1].since(pair[0]);
        assert!(apart >= ms(35) && apart < ms(120), "{apart:?}");
    }
    let lasted = starts[8].since(starts[0]);
    assert!(lasted >= ms(295), "{lasted:?}");
}

#[test]
fn a_permit_that_is_not_taken_in_time_is_given_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(3, Duration::from_secs(60))).unwrap();
    while taker.store.due(1, 0, Time::now(), Time::now()) != Due::Now {}
    thread::sleep(ms(50));
    assert_eq!(taker.store.take(1, Time::now(), 1), None);
    let count = || server.ask::<u64>("ZCARD paceline:{x}:permits");
    assert_eq!(count(), 0);
    for _ in 0..3 {
        taker.take(1);
    }
    assert_eq!(count(), 3);
}

#[test]
fn a_permit_leaves_earlier_when_its_call_has_ended() {
    let Some(server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(1, Duration::from_secs(30))).unwrap();
    let (first, permit) = taker.take(1);
    taker.store.settle(permit, first + ms(200));
    let (second, _) = taker.take(1);
    let apart = second.since(first);
    assert!(
        apart >= ms(200) && apart < Duration::from_secs(10),
        "{apart:?}"
    );
}

#[test]
fn other_numbers_are_refused_while_permits_count() {
    let Some(server) = Server::start() else {
        return;
    };
    let address = server.address("x");
    let first = Taker::open(&address, &rate(2, ms(500))).unwrap();
    first.take(1);
    let refusal = Taker::open(&address, &rate(3, ms(500))).map(|_| ());
    let words =
        "the shared limit \"x\" is in use with limit=2, per=0.5, which is not limit=3, per=0.5";
    assert_eq!(refusal, Err(words.to_owned()));
    thread::sleep(ms(700));
    let second = Taker::open(&address, &rate(3, ms(500))).unwrap();
    second.take(1);
    // Those hold for the first, too.
    first.take(1);
    assert_eq!(first.store.take_news().0.map(|it| it.limit()), Some(3));
    assert_eq!(first.store.ask_now(2), Ok(false));
}

#[test]
fn a_change_holds_for_all_and_keeps_what_counts() {
    let Some(server) = Server::start() else {
        return;
    };
    let [first, second] =
        [(); 2].map(|()| Taker::open(&server.address("x"), &rate(2, ms(500))).unwrap());
    let (start, _) = first.take(2);
    first.store.change(&rate(3, ms(1500))).unwrap();
    second.take(1);
    let (next, _) = second.take(2);
    assert!(next.since(start) >= ms(1500), "{:?}", next.since(start));
    let changed = second.store.take_news().0.unwrap();
    assert_eq!((changed.limit(), changed.per()), (3, ms(1500)));
}

#[test]
fn nothing_is_kept_for_longer_than_it_counts() {
    let Some(server) = Server::start() else {
        return;
    };
    let taker = Taker::open(&server.address("x"), &rate(10, ms(200))).unwrap();
    taker.take(1);
    for key in ["limit", "permits"] {
        let left: i64 = server.ask(&format!("PTTL paceline:{{x}}:{key}"));
        assert!((200..=1300).contains(&left), "{key}: {left}");
    }
    let keys: Vec<String> = server.ask("KEYS *");
    assert_eq!(keys.len(), 4, "{keys:?}");
    for key in keys {
        assert!(server.ask::<i64>(&format!("PTTL {key}")) > 0, "{key}");
    }
}

/// Waits until a pause is heard.
fn heard(taker: &Taker, until: Time) {
    let end = Time::now() + Duration::from_secs(10);
    while taker.store.paused_until() < until {
        assert!(Time::now() < end, "the pause is not heard");
        thread::yield_now();
    }
}

#[test]
fn a_pause_holds_for_all_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let rate = rate(1_000_000, Duration::from_secs(1));
    let pauses = Taker::open(&server.address("x"), &rate).unwrap();
    let other = Taker::open(&server.address("x"), &rate).unwrap();
    let mut took = Vec::new();
    for _ in 0..200 {
        other.take(1);
        let until = Time::now() + ms(10);
        let said = Time::now();
        pauses.store.pause_until(until, Why::Asked);
        heard(&other, until);
        took.push(Time::now().since(said));
        assert!(other.take(1).0 >= until);
    }
    took.sort();
    eprintln!(
        "a pause is heard after {:?}, p99 {:?}",
        took[100], took[198]
    );
    assert!(took[198] < ms(50), "{:?}", took[198]);
}

#[test]
fn a_pause_is_only_ever_lengthened() {
    let Some(server) = Server::start() else {
        return;
    };
    let rate = rate(100, Duration::from_secs(1));
    let [first, second] = [(); 2].map(|()| Taker::open(&server.address("x"), &rate).unwrap());
    let until = Time::now() + ms(400);
    first.store.pause_until(until, Why::Asked);
    heard(&second, until);
    assert!(second.take(1).0 >= until);
    let until = Time::now() + ms(400);
    first.store.pause_until(until, Why::Asked);
    heard(&second, until);
    second.store.pause_until(Time::now() + ms(10), Why::Asked);
    assert!(second.take(1).0 >= until);
    let third = Taker::open(&server.address("x"), &rate).unwrap();
    assert!(
        third.store.paused_until() >= until,
        "who comes later knows of it"
    );
}

#[test]
fn a_permit_for_which_nobody_would_have_to_wait_is_known_in_one_trip() {
    let Some(server) = Server::start() else {
        return;
    };
    let rate = rate(2, Duration::from_secs(30));
    let taker = Taker::open(&server.address("x"), &rate).unwrap();
    for _ in 0..2 {
        assert_eq!(taker.store.ask_now(1), Ok(true));
        assert!(taker.store.take(1, Time::now(), 30_000_000_000).is_some());
    }
    assert_eq!(taker.store.ask_now(1), Ok(false));
    let due = taker.store.would_be_granted(1).unwrap();
    let wait = due.since(Time::now());
    assert!(
        wait > Duration::from_secs(28) && wait < Duration::from_secs(31),
        "{wait:?}"
    );
}

#[test]
fn it_is_told_who_holds_a_limit() {
    let Some(server) = Server::start() else {
        return;
    };
    let rate = rate(50, Duration::from_secs(30));
    let first = Taker::open(&server.address("x"), &rate).unwrap();
    let second = Taker::open(&server.address("x"), &rate).unwrap();
    first.take(7);
    first
        .store
        .pause_until(Time::now() + Duration::from_secs(20), Why::Refused);
    second.store.fetch_stats().unwrap();
    let stats = second.store.shared();
    let me = std::process::id();
    assert_eq!(stats.used, 7);
    assert_eq!(stats.holders.len(), 2, "{stats:?}");
    assert!(stats.holders.iter().all(|it| it.process == me));
    let (left, why, by) = stats.pause.unwrap();
    assert!(left > Duration::from_secs(19), "{left:?}");
    assert_eq!((why, by), (Why::Refused, me));
    drop(first);
    let end = Time::now() + Duration::from_secs(10);
    while second.store.shared().holders.len() > 1 {
        assert!(Time::now() < end, "it is still listed");
        second.store.fetch_stats().unwrap();
    }
}

#[test]
fn a_slow_way_costs_little_of_the_rate() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(&server.socket());
    proxy.delay(10);
    let rate = rate(20, ms(2000));
    let far = Taker::open(&proxy.address("x"), &rate).unwrap();
    let near = Taker::open(&server.address("x"), &rate).unwrap();
    let end = Time::now() + Duration::from_secs(7);
    let run = |taker: Taker| {
        thread::spawn(move || {
            let mut starts = Vec::new();
            while let Some((start, _)) = taker.take_before(1, end) {
                starts.push((start, 1));
                thread::sleep(ms(5));
            }
            starts
        })
    };
    let both = [run(far), run(near)].map(|it| it.join().unwrap());
    let starts = both.concat();
    let count = starts.len();
    eprintln!("far {}, near {}", both[0].len(), both[1].len());
    assert_eq!(most_in(starts, ms(2000)), 20);
    assert!(count >= 78, "{count} of 80");
}

#[test]
fn many_are_served_in_few_trips() {
    let Some(server) = Server::start() else {
        return;
    };
    let rate = rate(1_000_000, Duration::from_secs(1));
    let taker = Taker::open(&server.address("x"), &rate).unwrap();
    let before = server.calls_of("evalsha");
    for left in (0..2000_u32).rev() {
        loop {
            let now = Time::now();
            if taker.store.due(1, left.min(15), now, now) == Due::Now
                && taker.store.take(1, now, 1_000_000_000).is_some()
            {
                break;
            }
            thread::yield_now();
        }
    }
    let trips = server.calls_of("evalsha") - before;
    eprintln!("{trips} trips for 2000 permits");
    assert!(trips <= 2000 / 8, "{trips}");
    // And alone, one for each.
    let before = server.calls_of("evalsha");
    for _ in 0..20 {
        thread::sleep(ms(120));
        taker.take(1);
    }
    let trips = server.calls_of("evalsha") - before;
    assert!(trips <= 24, "{trips}");
}

#[test]
fn an_address_that_is_none_is_refused() {
    let rate = rate(1, ms(100));
    let open = |address| {
        let limiter = RedisLimit::open(address, rate, Patience::default());
        format!("{:?}", limiter.unwrap_err())
    };
    assert!(open("redis://cache").contains("put its name behind a #"));
    let refusal = open("redis://:secret@127.0.0.1:1#x");
    assert!(
        refusal.contains("no contact with redis://127.0.0.1:1#x: "),
        "{refusal}"
    );
}

#[test]
fn a_user_with_a_password_needs_no_more_than_its_keys() {
    let Some(server) = Server::start() else {
        return;
    };
    let allowed = "~paceline:* resetchannels &paceline:* +@scripting +@hash +@sortedset +@string +@pubsub \
                   +@keyspace +@connection +time";
    let created: String = server.ask(&format!("ACL SETUSER me on >p#ss {allowed} -@dangerous"));
    assert_eq!(created, "OK");
    let address = |password: &str| {
        let socket = server.socket();
        let socket = socket.display();
        format!("redis+unix://{socket}?user=me&pass={password}#x")
    };
    let rate = rate(2, ms(300));
    let refusal = Taker::open(&address("wrong"), &rate).map(|_| ());
    let refusal = refusal.unwrap_err();
    assert!(refusal.contains("pass=***"), "{refusal}");
    assert!(!refusal.contains("wrong"), "{refusal}");
    let taker = Taker::open(&address("p%23ss"), &rate).unwrap();
    for _ in 0..5 {
        taker.take(1);
    }
    taker.store.pause_until(Time::now() + ms(20), Why::Asked);
    taker.take(1);
    assert_eq!(taker.store.fetch_stats(), Ok(()));
    assert_eq!(taker.store.shared().holders.len(), 1);
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(&server.socket());
    let address = proxy.address("x").replace("redis:", "rediss:");
    let refusal = Taker::open(&address, &rate(2, ms(300))).map(|_| ());
    let refusal = refusal.unwrap_err();
    eprintln!("{refusal}");
    assert!(refusal.contains("no contact with rediss://"), "{refusal}");
    assert!(!refusal.contains("provider"), "{refusal}");
}
