"""Recognises a server that refused a request because it came too early, and how long it asks for.

One walk over an exception, bounded and never raising: the exception, what caused it, what it holds
(the exceptions, responses, headers and bodies in its attributes and arguments), the members of a
group, and what a library handled when it raised it. `docs/refusals.md` has the rules.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import TracebackType

from paceline import _duck
from paceline.retry import evidence, origins, words
from paceline.retry.evidence import Evidence
from paceline.retry.headers import longer
from paceline.retry.unsent import never_sent

# More than any library nests, and than a group has in practice; causes may form a ring.
_DEEPEST = 30
_MOST = 1_000
# Properties run code of others. One of them cannot be interrupted, but is not followed by a second.
_LONGEST = 2.0

# A server that broke down did not refuse, whatever its client makes of that.
_BROKEN = 500
# It may be a code's status all the same: that of S3's SlowDown, and of EC2's RequestLimitExceeded.
_UNAVAILABLE = 503
# These say what is wrong with the request itself.
_OTHERWISE = frozenset({401, 404, 405, 409, 410, 412, 415, 422})
# What a client stumbles with over an answer that it cannot read.
_MISREADINGS = (ValueError, LookupError, TypeError, AttributeError, SyntaxError, StopIteration)


@dataclass(frozen=True, slots=True)
class Finding:
    """What an exception, or a response, says of a refusal.

    Attributes:
        refused: A server refused the request because it came too early.
        wait: Seconds it asks to be left alone, above 0, possibly infinite; None if it did not say.
        repeatable: Nothing speaks against repeating the request.
        final: The request was refused, and no waiting lifts that: a quota is spent.
        status: The HTTP status, where there is one.
        wire: The status of a response that came over the network.
    """

    refused: bool = False
    wait: float | None = None
    repeatable: bool = False
    final: bool = False
    status: int | None = None
    wire: int | None = None


_NOTHING = Finding()


def of_exception(exception: BaseException) -> Finding:
    """Return what an exception says. Never raises."""
    try:
        origin = _duck.attribute(exception, "__traceback__")
        walk = _Walk(origin if _duck.is_a(origin, TracebackType) else None)
        return walk.judge(exception, 0)
    except Exception:  # noqa: BLE001 - what others' classes do in unforeseen places
        return _NOTHING


def of_response(response: object) -> Finding:
    """Return what a response says that a client returned. Never raises."""
    try:
        found = evidence.of_response(response)
        return _NOTHING if found is None else _conclude(found, _NOTHING)
    except Exception:  # noqa: BLE001 - as above
        return _NOTHING


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions in a group that are no groups; none if there are too many to look at.

    One that is in several of its groups is returned once.
    """
    seen: set[int] = set()
    found: list[BaseException] = []
    left: list[BaseException] = [group]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if not _duck.is_a(each, BaseExceptionGroup):
            found.append(each)
        elif len(seen) + len(members_of(each)) <= _MOST:
            left.extend(members_of(each))
        else:
            return []
    return found


def wait_of(value: object) -> float | None:
    """Return the seconds that a value asks for of which somebody says that it is a refusal.

    Never raises.
    """
    try:
        found = evidence.of_value(value)
        return longer(found.asked, found.reset)
    except Exception:  # noqa: BLE001 - as above
        return None


def members_of(group: BaseExceptionGroup[BaseException]) -> tuple[BaseException, ...]:
    """Return the members of a group, whatever its class makes of that attribute."""
    return BaseExceptionGroup.exceptions.__get__(group)  # type: ignore[no-any-return]


class _Walk:
    """One walk over an exception and all that hangs on it."""

    def __init__(self, origin: TracebackType | None) -> None:
        self._origin = origin
        # With the exceptions themselves, lest another gets the number of one that a property made.
        self._seen: dict[int, tuple[BaseException, Finding]] = {}
        self._until = time.monotonic() + _LONGEST

    def judge(self, exception: BaseException, depth: int) -> Finding:
        """Return what an exception says with all that caused it."""
        known = self._seen.get(id(exception))
        if known is not None or self._is_over(depth):
            return _NOTHING if known is None else known[1]
        self._seen[id(exception)] = (exception, _NOTHING)
        own = _duck.fields(exception).get("_finding")
        if _duck.is_a(own, Finding):
            finding = own
        elif _duck.is_a(exception, BaseExceptionGroup):
            finding = self._judge_group(exception, depth)
        else:
            finding = self._judge_one(exception, depth)
        self._seen[id(exception)] = (exception, finding)
        return finding

    def _judge_one(self, exception: BaseException, depth: int) -> Finding:
        found, held = evidence.of_exception(exception)
        cause = _duck.attribute(exception, "__cause__")
        if _duck.is_a(cause, BaseException):
            held.insert(0, cause)
        inner = _merged(self.judge(each, depth + 1) for each in held)
        context = origins.context(exception, self._origin)
        if context is not None:
            handled = self.judge(context, depth + 1)
            if longer(found.asked, inner.wait) is not None:
                # It may be of an earlier attempt, whose wait is over.
                handled = replace(handled, wait=None)
            inner = _merged((inner, handled))
        finding = self._with_response(exception, _conclude(found, inner))
        if finding.refused and finding.wait is None:
            finding = replace(finding, wait=evidence.faint_wait(exception, found.texts))
        return finding

    def _with_response(self, exception: BaseException, finding: Finding) -> Finding:
        """Add what the response says that a library held when it raised, and dropped."""
        if finding.final or (finding.refused and finding.wait is not None):
            return finding
        if not finding.refused and not _may_drop(exception, finding.status):
            return finding
        held = [of_response(each) for each in origins.responses(exception, self._origin)]
        held = [each for each in held if each.status is not None]
        told = _merged(held)
        same = all(each.refused or each.final for each in held) and (
            finding.status is None or finding.status == told.status
        )
        if not same or not (told.refused or told.final):
            return finding
        if told.final or not finding.refused:
            return told
        return replace(finding, wait=told.wait, repeatable=finding.repeatable and told.repeatable)

    def _judge_group(self, group: BaseExceptionGroup[BaseException], depth: int) -> Finding:
        members = members_of(group)
        findings = [self.judge(each, depth + 1) for each in members[:_MOST]]
        merged = _merged(findings)
        repeatable = len(members) <= _MOST and all(
            (finding.refused and finding.repeatable) or never_sent(member)
            for finding, member in zip(findings, members, strict=False)
        )
        return replace(merged, repeatable=repeatable, final=merged.final and not merged.refused)

    def _is_over(self, depth: int) -> bool:
        return depth > _DEEPEST or len(self._seen) >= _MOST or time.monotonic() > self._until


def _may_drop(exception: BaseException, status: int | None) -> bool:
    """Return whether an exception that is no refusal by itself may be raised over one."""
    if status is not None or words.named_unanswered(exception):
        # The response may be of an earlier attempt, when the last one got no answer.
        return status in evidence.REFUSED_WITH_A_WAIT
    links = (_duck.attribute(exception, name) for name in ("__cause__", "__context__"))
    return all(link is None or issubclass(type(link), _MISREADINGS) for link in links)


def _merged(findings: Iterable[Finding]) -> Finding:
    merged = _NOTHING
    for finding in findings:
        if finding == _NOTHING:
            continue
        merged = Finding(
            refused=merged.refused or finding.refused,
            wait=longer(merged.wait, finding.wait),
            repeatable=(finding.repeatable or not finding.refused)
            and (merged.repeatable or not merged.refused),
            final=merged.final or finding.final,
            status=finding.status if merged.status is None else merged.status,
            wire=finding.wire if merged.wire is None else merged.wire,
        )
    return merged


def _conclude(found: Evidence, inner: Finding) -> Finding:
    """Judge what was found on an exception, given what its causes say.

    What a response says goes before what a client makes of it, and a code before both.
    """
    status = next(
        (each for each in (found.wire, found.claim, inner.status) if each is not None), None
    )
    wire = inner.wire if found.wire is None else found.wire
    coded = found.coded and (status == _UNAVAILABLE or _may_refuse(status))
    refused = coded or found.partial or _is_refused(found, inner)
    final = found.final or inner.final
    if refused:
        final = final or any(map(words.text_is_final, found.texts))
        final = final or any(map(words.text_is_too_large, found.texts))
    if final:
        return Finding(final=True, status=status, wire=wire)
    if not refused:
        return Finding(status=status, wire=wire)
    wait = longer(found.asked, inner.wait)
    if status not in evidence.REFUSED_WITH_A_WAIT:
        wait = longer(wait, found.reset)
    repeatable = not found.stay and not found.partial and (inner.repeatable or not inner.refused)
    return Finding(True, wait, repeatable, status=status, wire=wire)


def _is_refused(found: Evidence, inner: Finding) -> bool:
    if found.wire is not None:
        return found.refuses(found.wire) or (found.named and _may_refuse(found.wire))
    if inner.refused:
        return True
    if found.refuses(found.claim):
        return inner.wire is None or inner.wire < _BROKEN
    status = found.claim if inner.wire is None else inner.wire
    return (found.named and _may_refuse(status)) or (found.attribute is not None and status is None)


def _may_refuse(status: int | None) -> bool:
    """Return whether an error with this status may be a refusal, as its class is called."""
    return status is None or (status < _BROKEN and status not in _OTHERWISE)
