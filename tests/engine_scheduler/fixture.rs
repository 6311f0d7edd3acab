//! Plain operations, workers whose signals can be read, and the words that the tests are told in.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use paceline::engine::batch::Batch;
use paceline::engine::clock::Clock;
use paceline::engine::limiter::{Limiter, Rate};
use paceline::engine::model::{
    Ahead, BatchId, BatchOptions, Delivery, EndReason, Ending, Finished, Record, Running, Work,
};
use paceline::engine::recovery::Refusal;
use paceline::engine::retry::{Longer, Policy};
use paceline::engine::scheduler::{
    Claim, GivenUp, Lease, Leftover, Refused, Remains, Scheduler, Worker,
};
use paceline::engine::signal::Signal;
use paceline::engine::time::Time;

/// Operations that are their own numbers.
#[derive(Debug)]
pub(crate) struct Plain;

impl Work for Plain {
    type Context = String;
    type Job = usize;
    type Value = usize;
    type Error = usize;
}

pub(crate) const SUBMITTED: BatchId = Scheduler::<Plain>::SUBMITTED;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// So many seconds on the tests' clock.
pub(crate) fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * SECOND)
}

/// A batch that is read whole, its records kept until its end.
pub(crate) fn whole_batch() -> BatchOptions {
    BatchOptions {
        delivery: Delivery::AtEnd,
        attended: true,
        ahead: Ahead::upto(BatchOptions::UNBOUNDED),
        deadline: Time::NEVER,
        stop_on_failure: false,
        failure_limit: None,
    }
}

/// A stream: its records are handed over, and its owner comes and goes.
pub(crate) fn stream(delivery: Delivery, ahead: usize) -> BatchOptions {
    BatchOptions {
        delivery,
        attended: false,
        ahead: Ahead::upto(ahead),
        ..whole_batch()
    }
}

/// The same options, with a deadline.
pub(crate) fn until(deadline: Time, options: BatchOptions) -> BatchOptions {
    BatchOptions {
        deadline,
        ..options
    }
}

/// A scheduler whose workers need no permits.
pub(crate) fn unlimited(workers: usize) -> Scheduler<Plain> {
    Scheduler::new(workers, None, Arc::new("calls".into()), Clock::default())
}

/// A scheduler whose workers take their permits from a limiter without a margin.
pub(crate) fn limited(workers: usize, limit: u64, seconds: u64) -> (Scheduler<Plain>, Limiter) {
    let per = Duration::from_secs(seconds);
    let limiter = Limiter::new(Rate::new(limit, per, None, Some(Duration::ZERO)).unwrap());
    let context = Arc::new("calls".into());
    let scheduler = Scheduler::new(workers, Some(limiter.clone()), context, Clock::default());
    (scheduler, limiter)
}

/// A scheduler whose permits come from a limiter of another make.
pub(crate) fn foreign(workers: usize) -> Scheduler<Plain> {
    unlimited(workers).asking(true)
}

/// An operation that a worker has started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) batch: BatchId,
    pub(crate) running: Running,
    pub(crate) context: Option<Arc<String>>,
    pub(crate) job: usize,
}

impl Started {
    /// What the worker was told to start, if that is what it was told.
    pub(crate) fn by(worker: &Worker, claim: Claim<Plain>) -> Option<Self> {
        let Claim::Start(start) = claim else {
            return None;
        };
        let Lease { batch, running, .. } = *worker.lease().unwrap();
        Some(Self {
            batch,
            running,
            context: start.context,
            job: start.job,
        })
    }

    /// What it came with that it shares with others.
    pub(crate) fn shared(&self) -> Option<&str> {
        self.context.as_ref().map(|context| context.as_str())
    }

    pub(crate) fn lease(&self) -> Lease {
        Lease::new(self.batch, self.running, false)
    }
}

pub(crate) trait Add {
    fn add_batch(&self, options: BatchOptions, now: Time) -> (BatchId, Arc<Signal>);
    fn add_complete(
        &self,
        options: BatchOptions,
        count: usize,
        now: Time,
    ) -> (BatchId, Arc<Signal>);
    fn start(&self, worker: &mut Worker, now: Time) -> Started;
    fn asks(&self, worker: &mut Worker, now: Time) -> BatchId;
    fn start_next(&self, worker: &mut Worker, finished: Finished<Plain>, now: Time) -> Started;
    fn claim_next(
        &self,
        worker: &mut Worker,
        finished: Finished<Plain>,
        now: Time,
    ) -> (Leftover<Plain>, Claim<Plain>);
    fn rest(&self, worker: &mut Worker, now: Time) -> Time;
    fn rest_after(&self, worker: &mut Worker, finished: Finished<Plain>, now: Time) -> Time;
    fn ended(&self, batch: BatchId) -> Option<EndReason>;
    fn pause(&self, batch: BatchId, started: Time, now: Time, until: Time);
    fn refuse_call(&self, start: &Started, now: Time, seconds: u64) -> (Refused, GivenUp<Plain>);
}

impl Add for Scheduler<Plain> {
    /// A batch of which nothing is read yet, and the signal of its owner.
    fn add_batch(&self, options: BatchOptions, now: Time) -> (BatchId, Arc<Signal>) {
        let owner = Arc::new(Signal::default());
        let batch = self.add(
            Arc::new("batch".into()),
            Arc::clone(&owner),
            options,
            None,
            now,
        );
        (batch.unwrap(), owner)
    }

    /// A batch that has been read to its end.
    fn add_complete(
        &self,
        options: BatchOptions,
        count: usize,
        now: Time,
    ) -> (BatchId, Arc<Signal>) {
        let (batch, owner) = self.add_batch(options, now);
        self.feed(batch, 0..count, true, now);
        (batch, owner)
    }

    /// What the worker starts, which must be something.
    fn start(&self, worker: &mut Worker, now: Time) -> Started {
        let (_, claim) = self.claim(worker, None, now);
        Started::by(worker, claim).expect("something to start")
    }

    /// For what the worker is to ask for a permit.
    fn asks(&self, worker: &mut Worker, now: Time) -> BatchId {
        match self.claim(worker, None, now).1 {
            Claim::Ask(ask) => ask.batch,
            other => panic!("something to ask for, not {other:?}"),
        }
    }

    /// What the worker starts when it has finished something.
    fn start_next(&self, worker: &mut Worker, finished: Finished<Plain>, now: Time) -> Started {
        let (_, claim) = self.claim_next(worker, finished, now);
        Started::by(worker, claim).expect("something to start")
    }

    /// What is left over of what the worker has finished, and what it claims when that is dropped.
    fn claim_next(
        &self,
        worker: &mut Worker,
        finished: Finished<Plain>,
        now: Time,
    ) -> (Leftover<Plain>, Claim<Plain>) {
        match self.claim(worker, Some(finished), now) {
            (None, claim) => (None, claim),
            (leftover, Claim::Ready) => (leftover, self.claim(worker, None, now).1),
            (_, claim) => panic!("claimed {claim:?} before what is left over was dropped"),
        }
    }

    /// Until when the worker rests, which has nothing to start.
    fn rest(&self, worker: &mut Worker, now: Time) -> Time {
        let claimed = resting(self.claim(worker, None, now).1);
        // As the resident loop does it: it looks once more before it goes to rest.
        let looked = resting(self.look(worker, now));
        assert_eq!(looked, claimed);
        looked
    }

    fn rest_after(&self, worker: &mut Worker, finished: Finished<Plain>, now: Time) -> Time {
        resting(self.claim_next(worker, finished, now).1);
        resting(self.look(worker, now))
    }

    /// A call that started then is refused, and the server asks for a pause.
    fn pause(&self, batch: BatchId, started: Time, now: Time, until: Time) {
        let refusal = Refusal {
            policy: &attempts(5),
            started,
            retry_after: Some(until.since(now)),
        };
        self.refused(batch, &refusal, (), |_, _, _, ()| {}, now);
    }

    /// A call is refused, and the server asks for a pause of so many seconds.
    fn refuse_call(&self, start: &Started, now: Time, seconds: u64) -> (Refused, GivenUp<Plain>) {
        let refusal = Refusal {
            policy: &attempts(5),
            started: start.running.started,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        self.refused(start.batch, &refusal, (), |_, _, _, ()| {}, now)
    }

    fn ended(&self, batch: BatchId) -> Option<EndReason> {
        self.with(batch, |batch| batch.ended()).unwrap()
    }
}

pub(crate) fn resting(claim: Claim<Plain>) -> Time {
    match claim {
        Claim::Rest(until) => until,
        other => panic!("expected a rest, not {other:?}"),
    }
}

fn finished(ended: Time, ending: Ending<Plain>) -> Finished<Plain> {
    Finished {
        ended,
        ending,
        waited: 0,
    }
}

/// The operation returned its own number.
pub(crate) fn done(start: &Started, ended: Time) -> Finished<Plain> {
    finished(ended, Ending::Result(Ok(start.job), false))
}

/// The operation failed for good, with its own number.
pub(crate) fn failed(start: &Started, ended: Time) -> Finished<Plain> {
    finished(ended, Ending::Result(Err(start.job), false))
}

/// The operation failed in a way that ends its batch.
pub(crate) fn fatal(start: &Started, ended: Time) -> Finished<Plain> {
    finished(ended, Ending::Result(Err(start.job), true))
}

/// The operation failed and is to be called again.
pub(crate) fn again(start: &Started, ended: Time, due: Time) -> Finished<Plain> {
    finished(ended, Ending::Again(start.job, due, start.job))
}

/// The submitted call has handed its result to its future.
pub(crate) fn delivered(_: &Started, ended: Time) -> Finished<Plain> {
    finished(ended, Ending::Delivered(false))
}

/// What was left over, which must be something.
pub(crate) fn remains(leftover: Leftover<Plain>) -> Remains<Plain> {
    *leftover.expect("something that is left over")
}

/// Whether the signal was given; takes it.
pub(crate) fn given(signal: &Signal) -> bool {
    signal.wait_until(Time::default())
}

/// Whether the worker was signalled; takes the signal.
pub(crate) fn woken(worker: &Worker) -> bool {
    let told = signalled(worker);
    worker.rest(Time::default(), &Clock::default());
    told
}

/// Whether the worker was signalled and has not noticed yet.
///
/// A worker keeps its signal to itself, so this reads the form in which it prints: the first flag of
/// a worker is that of its signal.
pub(crate) fn signalled(worker: &Worker) -> bool {
    let mut start = Opening(String::new());
    // Ends with an error where enough is known; what follows may be long.
    let _ = write!(start, "{worker:?}");
    let (_, flag) = start
        .0
        .split_once("given: ")
        .expect("a worker prints its signal");
    let told = flag.starts_with("true");
    assert!(told || flag.starts_with("false"), "{flag}");
    told
}

struct Opening(String);

impl Write for Opening {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() > 200 {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// Adds `count` operations that are all there will be, at 1 s.
pub(crate) fn add(
    scheduler: &Scheduler<Plain>,
    options: BatchOptions,
    count: usize,
) -> (BatchId, Arc<Signal>) {
    scheduler.add_complete(options, count, at(1))
}

/// Gives up at so many refusals in a row, or at a pause of more than 1,000 s.
pub(crate) fn attempts(attempts: u32) -> Policy {
    Policy {
        attempts,
        backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(60),
        jitter: false,
        default_pause: None,
        max_pause: Duration::from_secs(1000),
        longer: Longer::End,
        budget: None,
    }
}

/// Takes the record of the first operation, of a batch that was taken out.
pub(crate) fn first_record(batch: &mut Batch<Plain>) -> Record<usize, usize> {
    let left = batch.take_left();
    left.slots.into_iter().next().flatten().unwrap()
}
