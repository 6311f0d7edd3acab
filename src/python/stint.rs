//! One stint of a worker: from one operation to the next without letting go of Python.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use super::calls::{call_submitted, conclude_call, stay_in_process};
use super::contexts::{Caller, Untouched};
use super::interpreter::detach;
use super::runtime::Runtime;
use super::worker::{Context, Operations};
use crate::engine::schedule::{Claim, Ending, Finished, Seat};
use crate::engine::time::Time;

/// How long a worker goes on without letting other threads at the interpreter.
///
/// Less than `sys.getswitchinterval()` is by default: whoever has waited for that long begins to
/// wait anew, behind all others, and may be held up for many turns.
const SWITCH_INTERVAL: Duration = Duration::from_millis(2);

/// How long it then stays away: a thread that was waiting has to wake up before it can take over.
const AWAY: Duration = Duration::from_micros(50);

/// Runs what can start at once, one operation after another, without letting go of Python. Gives
/// the seat back, and what it is to do now.
pub(crate) fn run_ready(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    mut seat: Seat,
) -> (Seat, Claim<Operations>) {
    // Whatever comes first brings its context with it.
    seat.forget();
    let (_, first) = runtime.scheduler.claim(&mut seat, None, Time::now());
    let mut stint = Stint {
        runtime: Arc::clone(runtime),
        seat,
        context: Arc::new(Context::Calls),
        until: Time::now() + SWITCH_INTERVAL,
    };
    let mut next = stint.begin(first);
    loop {
        next = match next {
            Err(nothing) => return (stint.seat, nothing),
            Ok(job) => match &*Arc::clone(&stint.context) {
                Context::Batch { caller, .. } if caller.empty => {
                    (stint, next) = run_in_one_context(py, caller, stint, job);
                    continue;
                }
                Context::Batch { caller, .. } => {
                    let result = caller.call(job.bind(py));
                    stint.go_on(py, job, result)
                }
                Context::Calls => {
                    let result = match stint.seat.ongoing() {
                        Some(ongoing) => call_submitted(py, job.bind(py), &ongoing.running),
                        None => Ok(py.None()),
                    };
                    stint.go_on(py, job, result)
                }
            },
        };
    }
}

/// What a worker goes on with from one operation to the next, without letting go of Python.
struct Stint {
    runtime: Arc<Runtime>,
    seat: Seat,
    /// Of the operation that was claimed last.
    context: Arc<Context>,
    /// When it lets others at the interpreter.
    until: Time,
}

/// The operation to call, or what else the worker is to do.
type Next = Result<Py<PyAny>, Claim<Operations>>;

impl Stint {
    /// The operation to call, if there is one.
    #[inline(always)]
    fn begin(&mut self, claim: Claim<Operations>) -> Next {
        let Claim::Start(start) = claim else {
            return Err(claim);
        };
        if let Some(new) = start.context {
            self.context = new;
        }
        Ok(start.job)
    }

    /// Books what has become of the operation that was claimed last, and claims the next one.
    #[inline(always)]
    fn go_on(&mut self, py: Python<'_>, job: Py<PyAny>, result: PyResult<Py<PyAny>>) -> Next {
        stay_in_process(py, &self.runtime);
        match result {
            // The usual case: when this one ends the next one starts.
            Ok(value) if self.context.is_batch() => {
                drop(job);
                let now = Time::now();
                let ending = Ending::Result(Ok(value), false);
                let finished = Finished { ended: now, ending };
                if now < self.until {
                    let scheduler = &self.runtime.scheduler;
                    let (leftover, claim) = scheduler.claim(&mut self.seat, Some(finished), now);
                    let next = self.begin(claim);
                    drop(leftover);
                    next
                } else {
                    self.claim_after_others(py, finished)
                }
            }
            result => self.claim_after(py, job, result),
        }
    }

    /// Lets other threads at the interpreter first. Operations that are not written in Python never
    /// do.
    #[inline(never)]
    fn claim_after_others(&mut self, py: Python<'_>, finished: Finished<Operations>) -> Next {
        let scheduler = &self.runtime.scheduler;
        drop(scheduler.finish(&mut self.seat, finished, Time::now()));
        detach(py, || thread::sleep(AWAY));
        let (_, claim) = scheduler.claim(&mut self.seat, None, Time::now());
        self.until = Time::now() + SWITCH_INTERVAL;
        self.begin(claim)
    }

    #[inline(never)]
    fn claim_after(&mut self, py: Python<'_>, job: Py<PyAny>, result: PyResult<Py<PyAny>>) -> Next {
        let (runtime, context) = (&self.runtime, &self.context);
        let finished = self
            .seat
            .ongoing()
            .map(|ongoing| conclude_call(py, runtime, context, ongoing, job, result));
        let scheduler = &runtime.scheduler;
        let (leftover, claim) = scheduler.claim(&mut self.seat, finished, Time::now());
        drop(leftover);
        self.begin(claim)
    }
}

/// Runs a batch's operations from `job` on in one copy of the caller's context, which is empty, for
/// as long as they leave it so: to enter a context takes as long as a short operation.
fn run_in_one_context(
    py: Python<'_>,
    caller: &Caller,
    mut stint: Stint,
    job: Py<PyAny>,
) -> (Stint, Next) {
    let within = match Bound::new(py, InOneContext::default()) {
        Ok(within) => within,
        Err(error) => {
            let next = stint.go_on(py, job, Err(error));
            return (stint, next);
        }
    };
    *within.get().state() = Some((stint, Ok(job)));
    let returned = caller.call_with_copy(within.as_any());
    match (returned, within.get().state().take()) {
        (Err(error), Some((mut stint, Ok(job)))) => {
            let next = stint.go_on(py, job, Err(error));
            (stint, next)
        }
        (_, Some(state)) => state,
        // A panic of ours has gone on before.
        (_, None) => unreachable!("the call leaves the stint in its place"),
    }
}

/// Makes what is made only once: the type.
pub(super) fn prepare(py: Python<'_>) {
    py.get_type::<InOneContext>();
}

/// What `Context.run` calls to go on with a stint. Nobody else gets hold of it.
#[pyclass(frozen, module = "paceline._core")]
#[derive(Default)]
struct InOneContext(Mutex<Option<(Stint, Next)>>);

impl InOneContext {
    fn state(&self) -> MutexGuard<'_, Option<(Stint, Next)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl InOneContext {
    fn __call__(&self, copy: Bound<'_, PyAny>) {
        let py = copy.py();
        let Some((mut stint, next)) = self.state().take() else {
            return;
        };
        let untouched = Untouched::new(copy);
        let context = Arc::clone(&stint.context);
        let mut next = next;
        while let Ok(job) = next {
            let result = job.call0(py);
            next = stint.go_on(py, job, result);
            if !untouched.holds() || !Arc::ptr_eq(&stint.context, &context) {
                break;
            }
        }
        *self.state() = Some((stint, next));
    }
}
