//! What of Python's may be used under a lock, and what may not.

use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::engine::lock::LockSafe;

/// Leave to refer to objects once more, and to do nothing else with Python.
#[derive(Clone, Copy)]
pub(crate) struct Refs<'py>(Python<'py>);

impl<'py> Refs<'py> {
    #[inline(always)]
    pub(crate) fn new(py: Python<'py>) -> Self {
        Self(py)
    }

    #[inline(always)]
    pub(crate) fn clone<T>(self, object: &Py<T>) -> Py<T> {
        object.clone_ref(self.0)
    }
}

impl LockSafe for Refs<'_> {}

/// The collector looks at objects; no code of theirs runs meanwhile.
impl LockSafe for &PyVisit<'_> {}

/// Does not compile if what Python is called by is `Send`, so that a closure under a lock could hold
/// it: the compiler would not know then which of two traits is meant.
const _: () = {
    trait NotSend<Either> {
        const IS: () = ();
    }
    struct Sendable;
    impl<T: ?Sized> NotSend<()> for T {}
    impl<T: ?Sized + Send> NotSend<Sendable> for T {}
    let _ = [
        <Python<'static> as NotSend<_>>::IS,
        <Bound<'static, PyAny> as NotSend<_>>::IS,
        <&'static Bound<'static, PyAny> as NotSend<_>>::IS,
        <PyVisit<'static> as NotSend<_>>::IS,
        <Refs<'static> as NotSend<_>>::IS,
    ];
};
