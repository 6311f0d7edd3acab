"""Recognises the words by which servers and clients say that a limit was hit.

Error codes (AWS's, Google's, those in JSON bodies), names of exception classes, and the few texts
that say it without doubt.
"""

from __future__ import annotations

import re

_OTHERS = re.compile(r"[^a-z0-9]")
# Of codes such as `Throttling.User` and `com.amazonaws#ThrottlingException` each part is one.
_PARTS = re.compile(r"[.#:/]")
_ENDINGS = ("exception", "error", "fault", "response")
# A mistake in the setting of a limit is not a limit that was hit.
_MISTAKES = ("invalid", "missing", "unknown", "unsupported", "bad", "no", "not", "un")

_LIMIT = r"(?:rate|requests?|invocation|throughput|bandwidth|query|call|concurren(?:t|cy))s?limit"
_HIT = r"(?:exceeded|reached|hit|budget|exceedsmaxwait|ed|ing)*"
_THROTTLED = re.compile(
    rf".*{_LIMIT}{_HIT}|.*(?:rate|requests?|call|query)quota(?:exceeded|reached)|.*throughputexceeded|.*toomanyrequests?"
    r"|.*throttl(?:ed|ing|e)(?:quota)?(?:exceeded)?"
    r"|.*floodwait|slowdown|requestratetoolarge|.*overquerylimit"
)
# Whole machines run out of these as well: they are believed as a server's code, not as a name.
_ONLY_CODES = frozenset({"resourceexhausted", "overloaded", "serveroverloaded"})

# No waiting lifts these: somebody has to pay, or to ask for more.
_FINAL = re.compile(
    r"insufficient(?:quota|funds|balance|credits?)|(?:credits?|creditbalance)(?:toolow|exhausted)"
    r"|outofcredits?|billing(?:hardlimitreached|notactive|limitreached|disabled)|paymentrequired"
    r"|(?:hard|spend|spending|budget)limit(?:reached|exceeded)|accountdeactivated"
)
_FINAL_TOKEN = re.compile(r"\b(?:insufficient_quota|billing_hard_limit_reached)\b")
_TOO_LARGE = re.compile(r"\bmessage (?:is )?(?:larger than|too large|size exceeds)|larger than max")

_UNANSWERED = re.compile(r"time(?:d ?)?out|connect|network|transport|protocol|ssl|tls|cancel")

_LONGEST_WORD = 80
_LONGEST_TEXT = 2_000

# urllib3's `ResponseError.SPECIFIC_ERROR`: its own record of what the server answered.
_RECORDED = re.compile(r"too many (\d{3}) error responses")
# A status line, or a client's words for one. A number alone is an id, a count, a port.
_STATUS = re.compile(
    r"\b429 (?:client error: )?too many requests\b"
    r"|^(?:error(?: code)?:? )?429(?: client error)?:? too many requests"
    r"|\bhttp(?:/\d(?:\.\d)?)?(?: error| status| status code| code| response)?[ :=]{1,2}429\b"
    r"|\bstatus[ _]?code(?: is| of| was)?[ :=]{1,2}429\b|\breturned error: 429\b"
    r"|\blast status 429\b|^error code: 429\b"
)
# What a client says in words, where no status says otherwise.
_IN_WORDS = re.compile(
    r"\btoo many requests\b"
    r"|\b(?:rate|requests?|call) ?limit (?:has been |was |is )?(?:exceeded|reached|hit)\b"
    r"|\bexceeded (?:the|your|a) (?:secondary )?rate limit\b"
    r"|\b(?:are|were|is|was|been|being|still|got) rate[- ]limited\b"
)
_AGAIN_IN = re.compile(
    r"\b(?:try again|retry|wait)(?:[ -]after| in| of| for)?:? (?:in )?"
    r"((?:\d+(?:\.\d+)? ?(?:ms|milliseconds?|secs?|seconds?|mins?|minutes?|hours?|[smh])\b ?)"
    r"|(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?s\b)"
)


def throttled(code: str) -> bool:
    """Return whether a code or a reason says that a limit was hit."""
    parts = map(_plain, _PARTS.split(code[:_LONGEST_WORD]))
    return any(plain in _ONLY_CODES or _says_throttled(plain) for plain in parts)


def named_throttled(exception: BaseException) -> bool:
    """Return whether the name of the exception's class, or of a base, says so."""
    return any(
        issubclass(cls, BaseException) and _says_throttled(_plain(cls.__name__))
        for cls in type(exception).__mro__
        if cls is not object
    )


def named_unanswered(exception: BaseException) -> bool:
    """Return whether the name of the exception's class, or of a base, says that no answer came."""
    return issubclass(type(exception), OSError) or any(
        _UNANSWERED.search(cls.__name__.lower()) is not None for cls in type(exception).__mro__
    )


def final(code: str) -> bool:
    """Return whether a code names a quota that no waiting lifts."""
    return _FINAL.fullmatch(_plain(code)) is not None


def text_is_final(text: str) -> bool:
    """Return whether the text of a refusal names such a quota, by its code."""
    return _FINAL_TOKEN.search(text[:_LONGEST_TEXT]) is not None


def text_is_too_large(text: str) -> bool:
    """Return whether a text says that a message was too large, as gRPC's do."""
    return _TOO_LARGE.search(text[:_LONGEST_TEXT].lower()) is not None


def recorded_status(text: str) -> int | None:
    """Return the status that urllib3 wrote into an error."""
    found = _RECORDED.search(text[:_LONGEST_TEXT])
    return None if found is None else int(found[1])


def text_is_status_429(text: str) -> bool:
    """Return whether a text contains the status line of a refusal."""
    return _STATUS.search(text[:_LONGEST_TEXT].lower()) is not None


def text_says_throttled(text: str) -> bool:
    """Return whether a text says in words that a limit was hit."""
    return _IN_WORDS.search(text[:_LONGEST_TEXT].lower()) is not None


def wait_in(text: str) -> str | None:
    """Return the duration in words such as "try again in 20s"."""
    found = _AGAIN_IN.search(text[:_LONGEST_TEXT].lower())
    return None if found is None else found[1]


def _plain(word: str) -> str:
    if len(word) > _LONGEST_WORD:
        return ""
    plain = _OTHERS.sub("", word.lower())
    for ending in _ENDINGS:
        if plain.endswith(ending) and plain != ending:
            plain = plain.removesuffix(ending)
    return plain


def _says_throttled(plain: str) -> bool:
    return _THROTTLED.fullmatch(plain) is not None and not plain.startswith(_MISTAKES)
