//! What runs on a thread: for which executors it works, the operation that it is in, and how deep.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;

use crate::engine::model::BatchId;

thread_local! {
    /// The executors whose operations run on this thread, innermost last.
    static WORKS_FOR: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// The operation that runs on this thread, the innermost.
    static WORKS_ON: Cell<Working> = const { Cell::new(Working { batch: None, waited: 0 }) };
    /// Where the stack of this worker begins, and how many bytes of it operations may take up.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// What a thread is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Working {
    /// The executor and the batch whose operation runs, and the worker in which it does.
    batch: Option<(u64, BatchId, u64)>,
    /// Nanoseconds that the operation has waited for permits.
    waited: u64,
}

/// While `work` runs, this thread is a worker of the executor `id`.
pub(crate) fn work_for<T>(id: u64, work: impl FnOnce() -> T) -> T {
    WORKS_FOR.with_borrow_mut(|ids| ids.push(id));
    let result = work();
    WORKS_FOR.with_borrow_mut(Vec::pop);
    result
}

/// Whether this thread is a worker of the executor `id`.
pub(crate) fn works_for(id: u64) -> bool {
    WORKS_FOR.with_borrow(|ids| ids.contains(&id))
}

/// From now on this thread runs operations of that batch, in that worker of the executor with that
/// number. Gives what it ran before.
pub(crate) fn work_on(batch: Option<(u64, BatchId, u64)>) -> Working {
    WORKS_ON.replace(Working { batch, waited: 0 })
}

/// From now on this thread goes on with what it ran before.
pub(crate) fn go_back_to(outer: Working) {
    WORKS_ON.set(outer);
}

/// The operation that runs on this thread, if one does, has waited for a permit.
pub(crate) fn note_permit_wait(nanos: u64) {
    let mut working = WORKS_ON.get();
    working.waited += nanos;
    WORKS_ON.set(working);
}

/// Nanoseconds that the operation which ends now on this thread has waited for permits.
#[inline(always)]
pub(crate) fn take_permit_wait() -> u64 {
    let mut working = WORKS_ON.get();
    let waited = std::mem::take(&mut working.waited);
    if waited > 0 {
        WORKS_ON.set(working);
    }
    waited
}

/// The batch whose operation of the executor `id` runs on this thread, if one does, and the worker.
pub(crate) fn works_on(id: u64) -> Option<(BatchId, u64)> {
    let (executor, batch, worker) = WORKS_ON.get().batch?;
    (executor == id && works_for(id)).then_some((batch, worker))
}

pub(super) fn works_for_any() -> bool {
    WORKS_FOR.with_borrow(|ids| !ids.is_empty())
}

/// Refuses to run operations beneath one that waits for them, on the stack of a worker, where those
/// above have taken up three quarters of it: a call may need the rest.
///
/// Python itself counts calls, up to a limit that can be raised, until it counts bytes in 3.14.
pub(crate) fn check_stack() -> PyResult<()> {
    match STACK.get() {
        Some((begin, most)) if begin.abs_diff(stack_address()) > most => {
            Err(PyRecursionError::new_err(
                "operations that wait for others of their executor are nested too deep for the stack \
                 of a thread",
            ))
        }
        _ => Ok(()),
    }
}

#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// The stack of this worker begins here, and has so many bytes.
pub(super) fn note_stack(bytes: usize) {
    STACK.set(Some((stack_address(), bytes / 4 * 3)));
}
