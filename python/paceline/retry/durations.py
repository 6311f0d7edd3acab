"""Reads a wait or a moment as text, numbers and objects write it."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta

from paceline import _duck

# What a figure that is no number of seconds can only be: seconds since 1970 from 2001 to 2286, and
# the same moments in milliseconds, microseconds and nanoseconds.
_EPOCHS = ((1e9, 1.0), (1e12, 1e3), (1e15, 1e6), (1e18, 1e9))

_DECIMAL = re.compile(r"\d+(\.\d+)?", re.ASCII)
_NUMBERS = re.compile(r"\d+(\.\d+)?(\s*,\s*\d+(\.\d+)?)+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµμ]+)[\s,]*", re.ASCII)
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}

# The three forms of a date in RFC 9110, section 5.6.7, and RFC 5322's zones, which some send.
_DATE = re.compile(
    r"(?:[a-z]+,\s*)?(\d{1,2})[ -]([a-z]{3})[ -](\d{4}|\d{2})\s+"
    r"(\d\d):(\d\d):(\d\d)\s*(?:gmt|utc|z|([+-])(\d\d)(\d\d))?",
    re.ASCII,
)
_ASCTIME = re.compile(
    r"[a-z]{3}\s+([a-z]{3})\s+(\d{1,2})\s+(\d\d):(\d\d):(\d\d)\s+(\d{4})", re.ASCII
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# RFC 9110: a year of two digits that seems more than 50 years ahead is one of the past.
_YEARS_AHEAD = 50

# Nobody writes a moment or a wait at greater length.
_LONGEST_TEXT = 100


def seconds(value: object) -> float | None:
    """Return a number of seconds or its text as a float of 0 or more, else None.

    Digits without end count as infinite. What RFC 9110 does not allow, such as "-5", "nan" and
    "1e309", is None; fractions it does not allow either, but servers send them.
    """
    try:
        text = _duck.text(value)
        if text is not None:
            text = text.strip()
            return float(text) if _DECIMAL.fullmatch(text) else None
        if _duck.is_a(value, bool) or not (_duck.is_a(value, int) or _duck.is_a(value, float)):
            return None
        number = float(value)
    except OverflowError:
        number = math.inf if _duck.is_a(value, int) and value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - a subclass of str or int may do anything
        return None
    return number if number >= 0 else None


def wait(value: object, now: float, unit: float = 1.0) -> float | None:
    """Return the seconds to wait that a value stands for; at most 0 is "at once" or a past moment.

    Args:
        value: A number of seconds left, or one that can only be a moment since 1970; text of
            either, a date of RFC 9110 (section 5.6.7) or ISO 8601, a duration such as ``6m0s``
            (Go's, which OpenAI and protobuf's JSON use); a ``timedelta``, a ``datetime``, or a
            ``google.protobuf.Duration`` as an object or a mapping.
        now: The time in seconds since 1970 from which moments are counted.
        unit: The length of one, in seconds, where the value is a bare number.
    """
    number = seconds(value)
    if number is not None:
        return _of_number(number, now, unit)
    text = _duck.text(value)
    return _of_object(value, now) if text is None else _of_text(text.strip().lower(), now, unit)


def _of_object(value: object, now: float) -> float | None:
    if _duck.is_a(value, timedelta):
        return timedelta.total_seconds(value)
    if _duck.is_a(value, datetime):
        moment = _moment_of(value)
        return None if moment is None else moment - now
    return _of_parts(value)


def _of_text(text: str, now: float, unit: float) -> float | None:
    if len(text) > _LONGEST_TEXT:
        return None
    if _NUMBERS.fullmatch(text):
        # A header that was sent twice, and joined on the way.
        return max(_of_number(float(part), now, unit) for part in text.split(","))
    duration = _duration(text)
    if duration is not None:
        return duration
    moment = timestamp(text)
    return None if moment is None else moment - now


def now_of(date: object) -> float:
    """Return the time by a server's ``Date``, so that a wrong clock does no harm, or by our own."""
    moment = timestamp(date)
    return time.time() if moment is None else moment


def timestamp(value: object) -> float | None:
    """Return the seconds since 1970 of a date of RFC 9110 (section 5.6.7) or ISO 8601."""
    text = _duck.text(value)
    if text is None or len(text) > _LONGEST_TEXT:
        return None
    text = text.strip().lower()
    try:
        return _http_date(text) or _moment_of(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError):
        return None


def _of_number(number: float, now: float, unit: float) -> float:
    for least, scale in _EPOCHS:
        if least <= number < 10 * least and scale * unit >= 1:
            return number / scale - now
    return number * unit


def _duration(text: str) -> float | None:
    total, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2] not in _UNITS:
            return None
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    return total if at else None


def _of_parts(value: object) -> float | None:
    """Return the length of a ``google.protobuf.Duration``."""
    if _duck.is_mapping(value):
        whole, nanos = _duck.item(value, "seconds"), _duck.item(value, "nanos")
    else:
        whole, nanos = _duck.attribute(value, "seconds"), _duck.attribute(value, "nanos")
    length = seconds(whole)
    fraction = seconds(nanos)
    if length is None and fraction is None:
        return None
    return (length or 0.0) + (fraction or 0.0) / 1e9


def _http_date(text: str) -> float | None:
    found = _DATE.fullmatch(text)
    if found is not None:
        day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
        offset = int(f"{sign}1") * (int(hours) * 3600 + int(minutes) * 60) if sign else 0
    else:
        found = _ASCTIME.fullmatch(text)
        if found is None:
            return None
        month, day, hour, minute, second, year = found.groups()
        offset = 0
    if month not in _MONTHS:
        return None
    full = int(year)
    if len(year) == 2:  # noqa: PLR2004 - RFC 850's years
        full += 2000
        if full > datetime.now(UTC).year + _YEARS_AHEAD:
            full -= 100
    # A leap second is the first one of the next minute.
    moment = datetime(full, _MONTHS.index(month) + 1, int(day), int(hour), int(minute), tzinfo=UTC)
    return moment.timestamp() + int(second) - offset


def _moment_of(moment: datetime) -> float | None:
    try:
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except Exception:  # noqa: BLE001 - a zone of somebody's own may do anything
        return None
