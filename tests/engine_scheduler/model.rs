//! Random histories of a whole executor: workers and owners that act in any order, each
//! asleep until its signal is given or its time has come.

mod world;
use paceline::engine::model::{Delivery, EndReason, FailureLimit};
use proptest::prelude::*;

use self::world::{Setting, Step, Verdict, World};

fn setting() -> impl Strategy<Value = Setting> {
    let limit = prop_oneof![
        2 => Just(None),
        3 => (1..6_u64, 1..60_u64).prop_map(Some),
    ];
    (1..5_usize, any::<bool>(), limit, any::<bool>()).prop_map(
        |(workers, foreign, limit, one_at_a_time)| Setting {
            workers,
            foreign,
            limit: if foreign { None } else { limit },
            one_at_a_time,
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        6 => Just(Verdict::Done),
        2 => Just(Verdict::Failed),
        4 => (0..40_u64).prop_map(Verdict::Again),
        1 => Just(Verdict::Fatal),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..1000_usize;
    let delivery = prop_oneof![
        Just(Delivery::AtEnd),
        Just(Delivery::InOrder),
        Just(Delivery::AsCompleted)
    ];
    let limit = prop_oneof![
        6 => Just(None),
        1 => (1..4_usize).prop_map(|count| Some(FailureLimit::Count(count))),
        1 => (1..4_usize).prop_map(|of| Some(FailureLimit::Share { share: 0.6, of })),
    ];
    let batch = (
        delivery,
        prop_oneof![3 => 0..12_usize, 1 => 12..60_usize],
        1..8_usize,
        prop::option::weighted(0.2, 1..90_u64),
        limit,
    );
    let batch = (batch, prop::bool::weighted(0.15));
    let end = prop_oneof![Just(EndReason::Owner), Just(EndReason::Failed)];
    prop_oneof![
        3 => batch.prop_map(|((delivery, count, ahead, timeout, failure_limit), stop_on_failure)| {
            Step::Add { delivery, count, ahead, timeout, failure_limit, stop_on_failure }
        }),
        4 => Just(Step::Submit),
        24 => which.clone().prop_map(Step::Act),
        14 => (which.clone(), verdict()).prop_map(|(which, verdict)| Step::Finish(which, verdict)),
        6 => (1..12_usize).prop_map(Step::Run),
        8 => prop::bool::weighted(0.8).prop_map(Step::Answer),
        8 => (0..30_u64).prop_map(Step::Pass),
        4 => Just(Step::Settle),
        2 => which.clone().prop_map(Step::Withdraw),
        4 => (which.clone(), prop::bool::weighted(0.7))
            .prop_map(|(which, helps)| Step::Nest(which, helps)),
        1 => (which.clone(), end).prop_map(|(which, end)| Step::EndReason(which, end)),
        1 => which.prop_map(Step::Orphan),
        1 => (1..30_u64).prop_map(Step::Pause),
        1 => Just(Step::Outsider),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_nor_stuck_nor_too_fast(
        setting in setting(),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut world = World::new(setting);
        for step in steps {
            world.step(step);
        }
        world.drain();
    }
}
