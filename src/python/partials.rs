//! What a `functools.partial` is made of, read where Python keeps it.
//!
//! While operations are short, asking a partial for its attributes takes a good part of the time of
//! each; and whether there are weak references to it, or attributes that it was given, Python cannot
//! be asked. So this file, and no other, has unsafe code.
#![allow(unsafe_code)]

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{Borrowed, ffi};

use super::interpreter::gil_enabled;

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
    let partial = Partial::new(operation, layout)?;
    if partial.get(layout.attributes).is_some() || partial.get(layout.weak_references).is_some() {
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
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let layout = if gil_enabled(py)? {
        Layout::find(py).ok().flatten()
    } else {
        None
    };
    LAYOUT.get_or_init(py, || layout);
    Ok(())
}

/// Where a partial has its parts: bytes from its beginning.
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

/// Where each instance of a class has a pointer that is null, or owns an object.
#[derive(Clone, Copy)]
struct Offset(isize);

impl Layout {
    fn find(py: Python<'_>) -> PyResult<Option<Self>> {
        // Not from `functools`, where another may have been put in its place.
        let functools = py.import("_functools")?;
        let class = functools.getattr("partial")?.cast_into::<PyType>()?;
        let member = |name| Offset::of_member(&class, name);
        // SAFETY: The type object lives as long as `class`, and Python sets these two once.
        let (attributes, weak_references) = unsafe {
            let class = &*class.as_type_ptr();
            (class.tp_dictoffset, class.tp_weaklistoffset)
        };
        let (Some(function), Some(arguments), Some(keywords), 1.., 1..) = (
            member("func")?,
            member("args")?,
            member("keywords")?,
            attributes,
            weak_references,
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            class: class.unbind(),
            function,
            arguments,
            keywords,
            attributes: Offset(attributes),
            weak_references: Offset(weak_references),
            placeholder: functools.getattr_opt("Placeholder")?.map(Bound::unbind),
        }))
    }
}

impl Offset {
    fn of_member(class: &Bound<'_, PyType>, name: &str) -> PyResult<Option<Self>> {
        let descriptor = class.getattr("__dict__")?.get_item(name)?;
        // SAFETY: Each descriptor of exactly this type is such a struct, with a member that lives as
        // long as the class.
        let member = unsafe {
            if descriptor.get_type_ptr() != &raw mut ffi::PyMemberDescr_Type {
                return Ok(None);
            }
            &*(*descriptor.as_ptr().cast::<ffi::PyMemberDescrObject>()).d_member
        };
        // The older kind is deprecated, and still what `partial` has.
        #[expect(deprecated)]
        let kinds = [ffi::structmember::T_OBJECT, ffi::Py_T_OBJECT_EX];
        Ok(kinds
            .contains(&member.type_code)
            .then_some(Self(member.offset)))
    }
}

/// A partial of exactly the class that the layout is of.
struct Partial<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Partial<'a, 'py> {
    fn new(object: &'a Bound<'py, PyAny>, layout: &Layout) -> Option<Self> {
        let exact = object.get_type_ptr().cast() == layout.class.as_ptr();
        exact.then_some(Self(object))
    }

    /// Borrowed, so no code of anybody's may run while it is held: that could change the partial.
    fn get(&self, offset: Offset) -> Option<Borrowed<'a, 'py, PyAny>> {
        let Self(object) = self;
        // SAFETY: The offset is of this class, so there is such a pointer. The partial keeps what it
        // points to, as no other thread runs while this one has the interpreter.
        unsafe {
            let place = object.as_ptr().byte_offset(offset.0);
            Borrowed::from_ptr_or_opt(object.py(), *place.cast::<*mut ffi::PyObject>())
        }
    }
}
