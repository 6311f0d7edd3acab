"""What stands in the place of a failed operation's value."""

from __future__ import annotations

from typing import Any, Self

__all__ = ["ErrorRecord", "error_record"]


class ErrorRecord(dict[str, str]):
    """The entry of a failed operation: equal to ``{"error": str(exception)}``.

    It is a dictionary of plain text, and goes wherever one does: as JSON, or to another process,
    where an exception that cannot be pickled is a ``RuntimeError`` of its type and text.

    Attributes:
        exception: The exception itself. None in a record that was made of the items of another, as
            ``dataclasses.asdict`` does.
        index: The operation's place in the batch, from 0. None where ``exception`` is.
    """

    exception: BaseException
    index: int

    def __init__(self, *items: Any, **more: str) -> None:
        super().__init__(*items, **more)
        # Until they are known: what others make of the items of a record stays so.
        self.exception = None  # type: ignore[assignment]
        self.index = None  # type: ignore[assignment]

    def __copy__(self) -> Self:
        copied = type(self)(self)
        vars(copied).update(vars(self))
        return copied

    def __deepcopy__(self, _memo: object) -> Self:
        return self.__copy__()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self.exception is not None:
            name = type(self.exception).__name__
            state["exception"] = _Sent(self.exception, f"{name}: {self.get('error')}")
        return state


class _Sent:
    """An exception on its way to where it may be unknown, or where it cannot be made anew."""

    def __init__(self, exception: BaseException, description: str) -> None:
        self._exception = exception
        self._description = description

    def __reduce__(self) -> tuple[object, ...]:
        import pickle  # noqa: PLC0415 - not before it is needed, which is where somebody pickles

        try:
            pickled = pickle.dumps(self._exception)
        except Exception:  # noqa: BLE001 - an exception may hold anything
            pickled = b""
        return _received, (pickled, self._description)


def _received(pickled: bytes, description: str) -> BaseException:
    import pickle  # noqa: PLC0415 - as above

    try:
        exception = pickle.loads(pickled)  # noqa: S301 - part of what is being unpickled
    except Exception:  # noqa: BLE001 - as above
        exception = None
    return exception if isinstance(exception, BaseException) else RuntimeError(description)


def error_record(error: str, exception: BaseException, index: int) -> ErrorRecord:
    """Make the entry of an operation that failed with ``exception``, whose text is ``error``."""
    record = ErrorRecord(error=error)
    record.exception = exception
    record.index = index
    return record


ErrorRecord.__module__ = "paceline"
