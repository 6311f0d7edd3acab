//! Batches whose owners have gone.

use paceline::engine::batch::Batch;
use paceline::engine::model::{BatchOptions, Delivery};
use paceline::engine::scheduler::Step;

use crate::fixture::{Add, Started, at, done, failed, stream, unlimited, until};

#[test]
fn an_orphan_ends_when_what_was_read_of_it_has_run() {
    let scheduler = unlimited(1);
    let (batch, _) = scheduler.add_batch(stream(Delivery::InOrder, 2), at(1));
    scheduler.feed(batch, 0..2, false, at(1));
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.orphan(batch, at(2));
    let start = scheduler.start_next(&mut worker, done(&start, at(2)), at(2));
    scheduler.rest_after(&mut worker, done(&start, at(3)), at(3));
    scheduler.close();
    assert!(
        scheduler.is_over(),
        "it waits for more of an input that nobody reads"
    );
    assert!(scheduler.with(batch, |_| ()).is_none());
}

#[test]
fn an_orphan_ends_though_its_deadline_has_passed() {
    let scheduler = unlimited(1);
    let options = until(at(10), stream(Delivery::InOrder, 9));
    let (batch, _) = scheduler.add_complete(options, 3, at(1));
    let mut worker = scheduler.worker();
    let mut start = scheduler.start(&mut worker, at(1));
    scheduler.orphan(batch, at(2));
    scheduler.close();
    loop {
        let (_, claim) = scheduler.claim_next(&mut worker, done(&start, at(11)), at(11));
        match Started::by(&worker, claim) {
            Some(next) => start = next,
            None => break,
        }
    }
    assert!(scheduler.is_over(), "it waits for an owner to end it");
}

#[test]
fn what_ended_a_batch_can_be_told_after_its_outcomes_were_handed_over() {
    for keep in [Delivery::AsCompleted, Delivery::InOrder] {
        let scheduler = unlimited(1);
        let options = BatchOptions {
            stop_on_failure: true,
            ..stream(keep, 9)
        };
        let (batch, _) = scheduler.add_complete(options, 3, at(1));
        let mut worker = scheduler.worker();
        let start = scheduler.start(&mut worker, at(1));
        let start = scheduler.start_next(&mut worker, done(&start, at(2)), at(2));
        assert_eq!(scheduler.step(batch, false, at(2)), Step::HandOver);
        // Before the owner takes the first outcome, the second comes.
        scheduler.rest_after(&mut worker, failed(&start, at(3)), at(3));
        let take = || scheduler.with(batch, Batch::hand_over).flatten();
        assert_eq!(take().map(|taken| taken.index), Some(0));
        assert!(take().is_none(), "the failure is raised, and in the report");
        assert_eq!(scheduler.step(batch, false, at(3)), Step::Settled);
        let error = scheduler.with(batch, |batch| batch.ending_error().copied());
        assert_eq!(error, Some(Some(1)), "{keep:?}");
    }
}
