//! The steps of a history, and how they are drawn.

use proptest::prelude::*;

use super::model::{Setting, UNIT};

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Idle(u64),
    TryAcquire {
        limiter: usize,
        weight: u64,
        clock_behind: u64,
    },
    Enqueue {
        limiter: usize,
        weight: u64,
    },
    TryStart {
        ticket: usize,
        clock_behind: u64,
    },
    Leave {
        ticket: usize,
    },
    Aside {
        ticket: usize,
    },
    Pause {
        limiter: usize,
        length: u64,
    },
    WaitTime {
        limiter: usize,
        weight: u64,
    },
}

pub(crate) fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..12_u64).prop_map(|units| units * UNIT),
        4 => 0..12 * UNIT,
        1 => (0..400_u64).prop_map(|units| units * UNIT),
    ]
}

pub(crate) fn setting() -> impl Strategy<Value = Setting> {
    (1..8_u64, 1..100_u64, 0..8_u64, prop::option::of(0..8_u64)).prop_map(
        |(limit, per, margin, burst)| Setting {
            limit,
            per: per * UNIT,
            margin: margin * UNIT,
            burst: burst.map(|burst| 1 + burst % limit),
        },
    )
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let behind = prop_oneof![3 => Just(0), 1 => 0..8 * UNIT];
    let any = 0..1000_usize;
    prop_oneof![
        6 => length().prop_map(Step::Idle),
        6 => (any.clone(), any_weight(), behind.clone()).prop_map(
            |(limiter, weight, clock_behind)| Step::TryAcquire { limiter, weight, clock_behind }
        ),
        3 => (any.clone(), any_weight())
            .prop_map(|(limiter, weight)| Step::Enqueue { limiter, weight }),
        6 => (any.clone(), behind)
            .prop_map(|(ticket, clock_behind)| Step::TryStart { ticket, clock_behind }),
        1 => any.clone().prop_map(|ticket| Step::Leave { ticket }),
        1 => any.clone().prop_map(|ticket| Step::Aside { ticket }),
        1 => (any.clone(), length())
            .prop_map(|(limiter, length)| Step::Pause { limiter, length }),
        2 => (any, any_weight())
            .prop_map(|(limiter, weight)| Step::WaitTime { limiter, weight }),
    ]
}

fn any_weight() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 1 => 0..8_u64]
}
