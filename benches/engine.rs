//! What a permit costs.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use paceline::engine::clock::Clock;
use paceline::engine::limiter::{Ended, Limiter, Rate, Turn};
use paceline::engine::time::Time;

/// Short enough that permits leave the window as fast as they come.
const WINDOW: Duration = Duration::from_millis(1);
const LIMIT: u64 = 1_000_000;

fn rate(burst: Option<u64>) -> Option<Rate> {
    Rate::new(LIMIT, WINDOW, burst, Some(Duration::ZERO)).ok()
}

fn limiters() -> Vec<(&'static str, Limiter)> {
    let single = |rate: Option<Rate>| rate.map(Limiter::new);
    let adaptive = rate(None).and_then(|rate| rate.adaptive().ok());
    let two = single(rate(None)).zip(single(rate(None)));
    [
        ("window", single(rate(None))),
        ("paced", single(rate(Some(LIMIT)))),
        ("adaptive", single(adaptive)),
        ("two combined", two.map(|(a, b)| Limiter::all_of([&a, &b]))),
    ]
    .into_iter()
    .filter_map(|(name, limiter)| Some((name, limiter?)))
    .collect()
}

fn uncontended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permit, uncontended");
    for (name, limiter) in limiters() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| limiter.try_acquire(1, &Clock::Monotonic));
        });
    }
    group.finish();
}

/// A worker that is left alone ends a call and starts the next, at a margin that is learnt.
fn from_call_to_call(criterion: &mut Criterion) {
    let Ok(rate) = Rate::new(LIMIT, WINDOW, None, None) else {
        return;
    };
    let limiter = Limiter::new(rate);
    let mut started = Time::now();
    limiter.try_start(1, None, started);
    criterion.bench_function("permit, from call to call", |bencher| {
        bencher.iter(|| {
            let now = Time::now();
            let ended = Ended {
                started,
                weight: 1,
                ended: now,
                first: false,
                typical: true,
            };
            started = now;
            limiter.try_start(1, Some(&ended), now)
        });
    });
}

fn through_the_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permit, through the queue");
    for (name, limiter) in limiters() {
        let signal = Arc::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut ticket = limiter.enqueue(1, Arc::clone(&signal));
                while ticket.try_start(&Clock::Monotonic) != Turn::Ready {}
            });
        });
    }
    group.finish();
}

/// How long `threads` threads take together for `permits` each.
fn contend(limiter: &Limiter, threads: usize, permits: u64) -> Duration {
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..permits {
                        limiter.try_acquire(1, &Clock::Monotonic);
                    }
                })
            })
            .collect();
        barrier.wait();
        let began = Instant::now();
        for worker in workers {
            // A worker that panicked has been reported by the test harness.
            drop(worker.join());
        }
        began.elapsed()
    })
}

fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permit, contended");
    for threads in [1, 8] {
        let Some(limiter) = rate(None).map(Limiter::new) else {
            return;
        };
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            bencher.iter_custom(|permits| {
                let each = permits.div_ceil(threads as u64);
                contend(&limiter, threads, each)
            });
        });
    }
    group.finish();
}

fn forecasts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wait_time of a full window");
    for permits in [1_000_u64, 1_000_000] {
        let Ok(rate) = Rate::new(permits, Duration::from_secs(3600), None, None) else {
            return;
        };
        let limiter = Limiter::new(rate);
        for _ in 0..permits {
            limiter.try_acquire(1, &Clock::Monotonic);
        }
        for weight in [1, permits] {
            group.bench_function(
                BenchmarkId::new(format!("{permits} permits"), weight),
                |bencher| {
                    bencher.iter(|| limiter.wait_time(weight, &Clock::Monotonic));
                },
            );
        }
    }
    group.finish();
}

criterion_group! {
    name = limiter;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = uncontended, from_call_to_call, through_the_queue, contended, forecasts
}
criterion_main!(limiter);
