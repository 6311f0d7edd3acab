//! What a `functools.partial` is made of, read where Python keeps it.
//!
//! While operations are short, asking a partial for its attributes takes a good part of the time of
//! each; and whether there are weak references to it, or attributes that it was given, Python cannot
//! be asked. So this file, and no other, has unsafe code.

#![allow(unsafe_code)]

use std::mem::size_of;
use std::ptr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{Borrowed, ffi};

/// What a partial calls, and with which arguments.
pub(crate) struct Parts<'py> {
    pub(crate) function: Bound<'py, PyAny>,
    pub(crate) arguments: Bound<'py, PyTuple>,
}

/// The parts of a partial that does nothing but call one with the other, and that nobody would miss:
/// it has no keywords, it was given no attributes, and there are no weak references to it. No code
/// of anybody's runs.
#[inline]
pub(crate) fn parts<'py>(operation: &Bound<'py, PyAny>) -> Option<Parts<'py>> {
    let layout = LAYOUT.get(operation.py())?.as_ref()?;
    let partial = layout.cast(operation)?;
    if partial.has(layout.attributes) || partial.has(layout.weak_references) {
        return None;
    }
    let keywords = partial.get(layout.keywords)?;
    let arguments = partial.get(layout.arguments)?;
    let keywords = keywords.cast_exact::<PyDict>().ok()?;
    let arguments = arguments.cast_exact::<PyTuple>().ok()?;
    let lacks = |placeholder: &Py<PyAny>| arguments.iter().any(|it| it.is(placeholder));
    let complete = !layout.placeholder.as_ref().is_some_and(lacks);
    (complete && keywords.is_empty()).then_some(Parts {
        function: partial.get(layout.function)?.to_owned(),
        arguments: arguments.to_owned(),
    })
}

/// None where threads do not share the interpreter, or where partials are not made as expected.
static LAYOUT: PyOnceLock<Option<Layout>> = PyOnceLock::new();

/// Makes what is made only once.
pub(super) fn prepare(py: Python<'_>) {
    LAYOUT.get_or_init(py, || Layout::find(py).ok().flatten());
}

/// Where each partial has a pointer to an object, or null: bytes from its beginning.
type Offset = usize;

/// Where a partial has its parts.
struct Layout {
    class: Py<PyType>,
    function: Offset,
    arguments: Offset,
    keywords: Offset,
    attributes: Offset,
    weak_references: Offset,
    /// What stands for an argument that is still to come, since Python 3.14.
    placeholder: Option<Py<PyAny>>,
}

impl Layout {
    /// Looks for the parts in a partial that is made for it.
    fn find(py: Python<'_>) -> PyResult<Option<Self>> {
        let version: String = py.import("sys")?.getattr("version")?.extract()?;
        if version.contains("free-threading") {
            return Ok(None);
        }
        // Not from `functools`, where another may have been put in its place.
        let functools = py.import("_functools")?;
        let class = functools.getattr("partial")?.cast_into::<PyType>()?;
        let size: usize = class.getattr("__basicsize__")?.extract()?;
        let offsets = (size_of::<ffi::PyObject>()..size).step_by(size_of::<Offset>());
        let made = class.call1((functools.getattr("reduce")?, 0))?;
        let sample = Partial(&made);
        let place_of = |name| {
            let part = made.getattr(name)?;
            let mut places = offsets.clone();
            PyResult::Ok(places.find(|offset| ptr::eq(sample.pointer(*offset), part.as_ptr())))
        };
        let (Some(function), Some(arguments), Some(keywords)) =
            (place_of("func")?, place_of("args")?, place_of("keywords")?)
        else {
            return Ok(None);
        };
        // They are negative, or 0, where the class has these elsewhere, or not at all.
        let place_told = |name| {
            let told: isize = class.getattr(name)?.extract()?;
            PyResult::Ok(offsets.clone().find(|offset| told == offset.cast_signed()))
        };
        let (Some(attributes), Some(weak_references)) = (
            place_told("__dictoffset__")?,
            place_told("__weakrefoffset__")?,
        ) else {
            return Ok(None);
        };
        let none_yet = !sample.has(attributes) && !sample.has(weak_references);
        made.setattr("attribute", 0)?;
        let _reference = py.import("_weakref")?.getattr("ref")?.call1((&made,))?;
        let both = sample.has(attributes) && sample.has(weak_references);
        Ok((none_yet && both).then_some(Self {
            class: class.unbind(),
            function,
            arguments,
            keywords,
            attributes,
            weak_references,
            placeholder: functools.getattr_opt("Placeholder")?.map(Bound::unbind),
        }))
    }

    fn cast<'a, 'py>(&self, object: &'a Bound<'py, PyAny>) -> Option<Partial<'a, 'py>> {
        let exact = ptr::eq(object.get_type_ptr().cast(), self.class.as_ptr());
        exact.then_some(Partial(object))
    }
}

/// A partial, of no subclass.
struct Partial<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'py> Partial<'_, 'py> {
    fn has(&self, offset: Offset) -> bool {
        !self.pointer(offset).is_null()
    }

    /// What it holds at an offset where it owns what it points to. Borrowed, so no code of anybody's
    /// may run meanwhile: that could change the partial.
    fn get(&self, offset: Offset) -> Option<Borrowed<'_, 'py, PyAny>> {
        // SAFETY: The partial keeps what it points to, as no other thread runs while this one has
        // the interpreter.
        unsafe { Borrowed::from_ptr_or_opt(self.0.py(), self.pointer(offset)) }
    }

    fn pointer(&self, offset: Offset) -> *mut ffi::PyObject {
        // SAFETY: All offsets are within an instance of the class, whose memory was set to zero when
        // it was made, and at multiples of the size of a pointer.
        unsafe {
            *self
                .0
                .as_ptr()
                .byte_add(offset)
                .cast::<*mut ffi::PyObject>()
        }
    }
}
