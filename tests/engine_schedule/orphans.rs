//! Sources whose owners have gone.

use paceline::engine::ledger::Keep;
use paceline::engine::schedule::Step;
use paceline::engine::source::Source;
use paceline::engine::terms::Terms;

use crate::fixture::{Add, Started, at, done, failed, stream, unlimited, until};

#[test]
fn an_orphan_ends_when_what_was_read_of_it_has_run() {
    let scheduler = unlimited(1);
    let (source, _) = scheduler.add_batch(stream(Keep::Ordered, 2), at(1));
    scheduler.feed(source, 0..2, false, at(1));
    let mut seat = scheduler.seat();
    let start = scheduler.start(&mut seat, at(1));
    scheduler.orphan(source, at(2));
    let start = scheduler.start_next(&mut seat, done(&start, at(2)), at(2));
    scheduler.rest_after(&mut seat, done(&start, at(3)), at(3));
    scheduler.close();
    assert!(
        scheduler.is_over(),
        "it waits for more of an input that nobody reads"
    );
    assert!(scheduler.with(source, |_| ()).is_none());
}

#[test]
fn an_orphan_ends_though_its_deadline_has_passed() {
    let scheduler = unlimited(1);
    let terms = until(at(10), stream(Keep::Ordered, 9));
    let (source, _) = scheduler.add_complete(terms, 3, at(1));
    let mut seat = scheduler.seat();
    let mut start = scheduler.start(&mut seat, at(1));
    scheduler.orphan(source, at(2));
    scheduler.close();
    loop {
        let (_, claim) = scheduler.claim_next(&mut seat, done(&start, at(11)), at(11));
        match Started::by(&seat, claim) {
            Some(next) => start = next,
            None => break,
        }
    }
    assert!(scheduler.is_over(), "it waits for an owner to end it");
}

#[test]
fn what_ended_a_source_can_be_told_after_its_outcomes_were_handed_over() {
    for keep in [Keep::Completed, Keep::Ordered] {
        let scheduler = unlimited(1);
        let terms = Terms {
            stop_on_failure: true,
            ..stream(keep, 9)
        };
        let (source, _) = scheduler.add_complete(terms, 3, at(1));
        let mut seat = scheduler.seat();
        let start = scheduler.start(&mut seat, at(1));
        let start = scheduler.start_next(&mut seat, done(&start, at(2)), at(2));
        assert_eq!(scheduler.step(source, false, at(2)), Step::HandOver);
        // Before the owner takes the first outcome, the second comes.
        scheduler.rest_after(&mut seat, failed(&start, at(3)), at(3));
        let take = || scheduler.with(source, Source::hand_over).flatten();
        assert_eq!(take().map(|taken| taken.index), Some(0));
        assert!(take().is_none(), "the failure is raised, and in the report");
        assert_eq!(scheduler.step(source, false, at(3)), Step::Settled);
        let error = scheduler.with(source, |source| source.ending_error().copied());
        assert_eq!(error, Some(Some(1)), "{keep:?}");
    }
}
