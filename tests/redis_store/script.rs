//! The script alone, on a clock of the test's, beside a plain list of permits.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use crate::server::Server;

const SCRIPT: &str = include_str!("../../src/engine/backends/redis/grant.lua");
const START: i64 = 1_000_000_000;

/// The server, with one that calls the script.
struct Caller {
    connection: redis::Connection,
    script: redis::Script,
    name: String,
    request: u64,
    now: i64,
    limit: u64,
    burst: u64,
    interval: i64,
}

/// What one call says beside.
#[derive(Default)]
struct Call {
    generation: i64,
    highest: i64,
    age: i64,
    holds: bool,
    moved: bool,
    pause: i64,
    count: u32,
    weight: u64,
    not_before: i64,
    stays: i64,
    returned: Vec<String>,
    leaves: Vec<(String, i64)>,
}

impl Caller {
    fn new(server: &Server, name: String, limit: u64, burst: u64, interval: i64) -> Self {
        // The clock is an argument, behind all others, for this test alone.
        let clock = "local clock = { math.floor(tonumber(KEYS[5]) / 1000000), \
                     tonumber(KEYS[5]) % 1000000 }";
        let script = SCRIPT.replace("local clock = redis.call('TIME')", clock);
        assert_ne!(script, SCRIPT);
        Self {
            connection: server.connection(),
            script: redis::Script::new(&script),
            name,
            request: 0,
            now: START,
            limit,
            burst,
            interval,
        }
    }

    fn call(&mut self, call: &Call) -> Vec<i64> {
        self.request += 1;
        let mut script = self.script.prepare_invoke();
        for key in ["limit", "permits", "holders", "reply"] {
            script.key(format!("{{{}}}:{key}", self.name));
        }
        script.key(self.now);
        let flag = u8::from;
        script
            .arg(self.request)
            .arg("me")
            .arg("news")
            .arg(format!("{} 1 {}", self.limit, self.burst))
            .arg(self.limit)
            .arg(self.burst)
            .arg(self.interval)
            .arg(call.stays)
            .arg(call.generation)
            .arg(call.highest)
            .arg(call.age)
            .arg(flag(call.holds))
            .arg(flag(call.moved))
            .arg(call.pause)
            .arg(call.count)
            .arg(call.weight.max(1))
            .arg(call.not_before)
            .arg(call.count)
            .arg(0)
            .arg(0)
            .arg("host 1 0 0 asked")
            .arg(0)
            .arg(0)
            .arg(call.returned.len())
            .arg(&call.returned);
        for (permit, leaves) in &call.leaves {
            script.arg(permit).arg(leaves);
        }
        script.invoke(&mut self.connection).unwrap()
    }
}

/// A permit of the model.
#[derive(Debug, Clone)]
struct Permit {
    name: String,
    at: i64,
    leaves: i64,
    weight: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Wait(i64),
    Want(u32, u64, i64),
    GiveBack(usize),
    Settle(usize, i64),
    Pause(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..400_i64).prop_map(Step::Wait),
        (1..5_u32, 1..4_u64, -100..300_i64).prop_map(|(n, w, at)| Step::Want(n, w, at)),
        (1..5_u32, Just(1), Just(0)).prop_map(|(n, w, at)| Step::Want(n, w, at)),
        (0..20_usize).prop_map(Step::GiveBack),
        (0..20_usize, -300..=0_i64).prop_map(|(which, by)| Step::Settle(which, by)),
        (0..200_i64).prop_map(Step::Pause),
    ]
}

/// The earliest time from `from` on at which there is room.
fn earliest(permits: &[Permit], from: i64, weight: u64, limit: u64) -> i64 {
    let used = |at| -> u64 {
        let counted = permits.iter().filter(|it| it.leaves > at);
        counted.map(|it| it.weight).sum()
    };
    let mut times: Vec<_> = permits.iter().map(|it| it.leaves).collect();
    times.push(from);
    times.retain(|&at| at >= from);
    times.sort_unstable();
    let fits = times.iter().find(|&&at| used(at) + weight <= limit);
    *fits.unwrap()
}

fn history(server: &Server, number: u32, numbers: (u64, u64, bool), steps: &[Step]) {
    let (limit, burst, single) = numbers;
    let interval = if burst > 0 { 90 } else { 0 };
    let mut caller = Caller::new(server, format!("h{number}"), limit, burst, interval);
    let largest = if burst > 0 { burst } else { limit };
    let mut permits: Vec<Permit> = Vec::new();
    let (mut pause, mut earned) = (0_i64, 0_i64);
    let mut last = String::new();
    for step in steps {
        let mut call = Call {
            stays: 500,
            ..Call::default()
        };
        permits.retain(|it| it.leaves > caller.now);
        match *step {
            Step::Wait(time) => caller.now += time,
            Step::Want(count, weight, after) => {
                call.count = count;
                call.weight = if single { 1 } else { weight.min(largest) };
                call.not_before = caller.now + after;
            }
            Step::GiveBack(which) if which < permits.len() => {
                let gone = permits.remove(which);
                if gone.name == last {
                    earned -= i64::try_from(gone.weight).unwrap() * interval;
                }
                call.returned.push(gone.name);
            }
            Step::Settle(which, by) if which < permits.len() => {
                let leaves = (permits[which].leaves + by).max(permits[which].at);
                permits[which].leaves = leaves;
                call.leaves.push((permits[which].name.clone(), leaves));
            }
            Step::Pause(time) => {
                call.pause = caller.now + time;
                pause = pause.max(call.pause);
            }
            _ => {}
        }
        permits.retain(|it| it.leaves > caller.now);
        let reply = caller.call(&call);
        assert_eq!((reply[0], reply[3]), (caller.now, pause));
        let (granted, _) = reply[6..].as_chunks::<2>();
        assert_eq!(granted.len(), call.count as usize);
        for &[permit, at] in granted {
            let from = caller.now.max(pause).max(call.not_before);
            let before = i64::try_from(burst.saturating_sub(call.weight)).unwrap();
            let paced = if burst > 0 {
                earned - before * interval
            } else {
                0
            };
            let expected = earliest(&permits, from.max(paced), call.weight, limit);
            assert_eq!(at, expected, "of {permits:?}");
            earned = earned.max(at) + i64::try_from(call.weight).unwrap() * interval;
            last = format!("{permit}:{}", call.weight);
            permits.push(Permit {
                name: last.clone(),
                at,
                leaves: at + call.stays,
                weight: call.weight,
            });
        }
        // Whatever came when: at no time do more count than the limit.
        for permit in &permits {
            let counts = permits
                .iter()
                .filter(|it| it.at <= permit.at && permit.at < it.leaves);
            assert!(counts.map(|it| it.weight).sum::<u64>() <= limit);
        }
    }
}

#[test]
fn every_time_is_the_models() {
    let Some(server) = Server::start() else {
        return;
    };
    let number = AtomicU32::new(0);
    let config = ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let numbers = (1..8_u64, 0..4_u64, any::<bool>());
    let steps = prop::collection::vec(step(), 1..60);
    let result = proptest::test_runner::TestRunner::new(config).run(
        &(numbers, steps),
        |((limit, burst, single), steps)| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            history(&server, number, (limit, burst.min(limit), single), &steps);
            Ok(())
        },
    );
    result.unwrap();
}

/// Someone who has been granted three of five permits.
fn granted(server: &Server) -> (Caller, Call, Vec<i64>) {
    let mut caller = Caller::new(server, "x".to_owned(), 5, 0, 0);
    let stays = 10_000_000;
    let reply = caller.call(&Call {
        stays,
        count: 3,
        ..Call::default()
    });
    caller.now += 1_000_000;
    let next = Call {
        stays,
        generation: reply[1],
        highest: reply[2],
        age: 1_000_000,
        holds: true,
        count: 1,
        ..Call::default()
    };
    (caller, next, reply)
}

#[test]
fn what_is_missing_closes_the_limit_for_a_window_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let ways: [fn(&Server, &mut Caller, &mut Call); 5] = [
        |server, _, _| server.ask("FLUSHALL"),
        // A replica that is behind.
        |_, _, call| call.highest += 1,
        // Somebody who came first after a flush.
        |_, _, call| call.generation -= 1,
        |_, _, call| call.moved = true,
        |_, caller, _| caller.now -= 600_000_000,
    ];
    for (way, lose) in ways.iter().enumerate() {
        server.ask::<String>("FLUSHALL");
        let (mut caller, mut call, _) = granted(&server);
        lose(&server, &mut caller, &mut call);
        let lost = caller.call(&call);
        assert_eq!(lost[4], caller.now + 10_000_000, "way {way}");
        assert_eq!(lost.len(), 6, "nothing is granted: way {way}");
        assert!(lost[1] > call.generation && lost[2] > call.highest);
        // Another one that has lost the same says so later, and what it holds.
        caller.now += 5_000_000;
        call.age = 7_000_000;
        call.leaves = vec![("+other.1:4".to_owned(), caller.now + 9_000_000)];
        let other = caller.call(&call);
        assert_eq!((other[1], other[4]), (lost[1], lost[4]), "way {way}");
        // And then it goes on, with what the two hold.
        caller.now = lost[4];
        call.generation = lost[1];
        call.highest = lost[2];
        call.moved = false;
        call.leaves.clear();
        call.count = 2;
        let after = caller.call(&call);
        assert_eq!(after.len(), 10, "way {way}");
    }
}

#[test]
fn who_holds_nothing_any_more_has_lost_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let (mut caller, mut call, _) = granted(&server);
    server.ask::<String>("FLUSHALL");
    caller.now += 20_000_000;
    call.holds = false;
    let reply = caller.call(&call);
    assert!(reply[4] <= caller.now);
    assert_eq!(reply.len(), 8);
}

#[test]
fn a_clock_that_steps_back_a_little_stands_still() {
    let Some(server) = Server::start() else {
        return;
    };
    let (mut caller, call, first) = granted(&server);
    let before = caller.call(&call);
    caller.now -= 400_000;
    let reply = caller.call(&call);
    assert_eq!(reply[0], before[0]);
    assert_eq!(reply[1], first[1]);
}

#[test]
fn a_request_that_is_sent_again_has_the_same_answer() {
    let Some(server) = Server::start() else {
        return;
    };
    let (mut caller, mut call, _) = granted(&server);
    call.count = 2;
    let first = caller.call(&call);
    caller.request -= 1;
    caller.now += 5000;
    let again = caller.call(&call);
    assert_eq!(again[0], first[0] + 5000);
    assert_eq!(again[6..], first[6..]);
    assert_eq!(server.ask::<u64>("ZCARD {x}:permits"), 5);
}
