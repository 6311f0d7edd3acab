//! Operations that still run when their batch is taken out: counted, kept for a report, or dropped.

use std::sync::Arc;

use paceline::engine::model::EndReason;
use paceline::engine::scheduler::{Claim, Remains};
use paceline::engine::signal::Signal;

use crate::fixture::{Add, add, again, at, done, failed, given, remains, unlimited, whole_batch};

#[test]
fn what_a_report_waits_for_is_kept_for_it() {
    let scheduler = unlimited(2);
    let (batch, _) = add(&scheduler, whole_batch(), 4);
    let (mut one, mut other) = (scheduler.worker(), scheduler.worker());
    let first = scheduler.start(&mut one, at(1));
    let second = scheduler.start(&mut other, at(1));
    assert_eq!(scheduler.unfinished(), (2, 2));
    scheduler.end(batch, EndReason::Owner, at(2));
    let (taken, stragglers) = scheduler.take_out(batch, at(2)).unwrap();
    assert_eq!(taken.running().len(), 2);
    let stragglers = stragglers.unwrap();
    let waiting = Arc::new(Signal::default());
    assert_eq!(scheduler.unfinished(), (2, 0));
    assert!(stragglers.take(&waiting).0.is_empty());

    scheduler.rest_after(&mut one, done(&first, at(3)), at(3));
    assert!(!given(&waiting));
    let (ended, running) = stragglers.take(&waiting);
    assert_eq!((ended.len(), running), (1, 1));
    assert_eq!((ended[0].index, ended[0].record.result), (0, Ok(0)));
    assert_eq!(ended[0].record.started, at(1));

    scheduler.rest_after(&mut other, failed(&second, at(4)), at(4));
    assert!(given(&waiting));
    let (ended, running) = stragglers.take(&waiting);
    assert_eq!((ended[0].record.result, running), (Err(1), 0));
    assert_eq!(scheduler.unfinished(), (0, 0));
}

#[test]
fn what_nobody_waits_for_is_given_back() {
    let scheduler = unlimited(2);
    let (batch, _) = add(&scheduler, whole_batch(), 2);
    let (mut one, mut other) = (scheduler.worker(), scheduler.worker());
    let first = scheduler.start(&mut one, at(1));
    let second = scheduler.start(&mut other, at(1));
    let (_, stragglers) = scheduler.take_out(batch, at(2)).unwrap();
    let stragglers = stragglers.unwrap();
    scheduler.rest_after(&mut one, done(&first, at(3)), at(3));
    assert_eq!(stragglers.forget().len(), 1);
    let (leftover, _) = scheduler.claim_next(&mut other, done(&second, at(4)), at(4));
    assert!(matches!(remains(leftover), Remains::Result(Ok(1))));
}

#[test]
fn what_would_be_tried_again_has_failed() {
    let scheduler = unlimited(1);
    let (batch, _) = add(&scheduler, whole_batch(), 1);
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    let (_, stragglers) = scheduler.take_out(batch, at(2)).unwrap();
    let ending = again(&start, at(3), at(9));
    let (leftover, claim) = scheduler.claim_next(&mut worker, ending, at(3));
    assert!(matches!(remains(leftover), Remains::Job(0)));
    assert!(matches!(claim, Claim::Rest(_)));
    let (ended, _) = stragglers.unwrap().take(&Arc::default());
    assert!(ended[0].unretried);
    assert_eq!(ended[0].record.result, Err(0));
}

#[test]
fn joining_waits_for_them_whether_or_not_somebody_asks() {
    for wanted in [true, false] {
        let scheduler = unlimited(1);
        let joiner = Arc::new(Signal::default());
        let (batch, _) = add(&scheduler, whole_batch(), 2);
        let mut worker = scheduler.worker();
        let start = scheduler.start(&mut worker, at(1));
        scheduler.end(batch, EndReason::Owner, at(2));
        let stragglers = if wanted {
            scheduler.take_out(batch, at(2)).unwrap().1
        } else {
            scheduler.remove(batch, at(2)).unwrap();
            None
        };
        assert_eq!(stragglers.is_some(), wanted);
        assert!(scheduler.joined(&joiner, at(2)).is_some());
        assert_eq!(scheduler.unfinished(), (1, 0));
        scheduler.claim_next(&mut worker, done(&start, at(3)), at(3));
        assert!(given(&joiner));
        assert!(scheduler.joined(&joiner, at(3)).is_none());
    }
}

#[test]
fn nothing_is_left_of_a_batch_that_ran_to_its_end() {
    let scheduler = unlimited(1);
    let (batch, _) = add(&scheduler, whole_batch(), 1);
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    scheduler.rest_after(&mut worker, done(&start, at(2)), at(2));
    let (_, stragglers) = scheduler.take_out(batch, at(3)).unwrap();
    assert!(stragglers.is_none());
}

#[test]
fn a_batch_is_within_those_that_began_it() {
    let scheduler = unlimited(2);
    let (outer, _) = add(&scheduler, whole_batch(), 1);
    let mut worker = scheduler.worker();
    let start = scheduler.start(&mut worker, at(1));
    let inner = scheduler.add(
        Arc::new("inner".into()),
        Arc::default(),
        whole_batch(),
        Some((outer, start.running.worker)),
        at(1),
    );
    let inner = inner.unwrap();
    assert!(scheduler.is_within(outer, outer));
    assert!(scheduler.is_within(inner, outer));
    assert!(!scheduler.is_within(outer, inner));
    // Also when the outer one has been taken out for its report.
    scheduler.take_out(outer, at(2)).unwrap();
    assert!(scheduler.is_within(inner, outer));
}
