"""Writes docs/clients.md from what the cases have shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .case import Case
from .modes import OFF, REFUSALS
from .verdict import fault, knowable, refused, wait_found, wait_kept, wait_stands

INTRODUCTION = """\
# What client libraries do when they are refused

Many clients repeat a refused call by themselves, and do not tell. Behind a limiter that hurts
twice. Those repetitions take no permit, so the server sees more calls than the limit allows, and
refuses more; and the one worker sleeps on the refusal in silence, while all the others go on firing
into the lock-out, because nobody has told the executor. Switch the client's own retries off, and
give the executor a [`Retry`](../README.md#retries): then everybody pauses for as long as the server
asked, and every repetition takes its permit.

Each row below is one call of the real library, with its default settings, against a server that
refuses everything with 429 and `Retry-After: 7`:

- **seen**: `Retry()` recognises the refusal, in whatever form: with `Retry-After` in seconds, as a
  date, without it, in the vendor's own way, and as a 503 with `Retry-After`;
- **wait**: it finds the seconds, wherever they stand on what is raised; "found" says that the
  client drops the response, and that they were read where its function that raised had them;
  "lost", that they are nowhere. For these give `Retry(default_pause=...)`;
- **requests**: how many the server really got for one call, and how long the client slept in
  between: at `Retry-After: 7`, without the header, and at `Retry-After: 3600`, where that differs;
- **to switch off**: what leaves one request. A setting in *italics* has been measured too.

A refusal that says 400, 401, 403, 404, 409, 422 or 500, or none at all within the client's timeout,
is no refusal for coming too early: {alarms} false alarms.

This page is written by `python -m clients` in [`examples`](../examples/clients/__init__.py), on
CPython 3.11.
"""

ANSWERS = {
    "seconds": "seconds",
    "none": "no header",
    "date": "a date",
    "vendor": "the vendor's own way",
    "503": "a 503",
    "hour": "an hour",
}
"""The refusals, as the table's notes name them."""


def page(cases: Mapping[str, Case], results: Iterable[dict[str, Any]]) -> str:
    """Return the document."""
    by_case = _latest(cases, results)
    shown = [case for case in cases.values() if case.name in by_case]
    lines = [INTRODUCTION.format(alarms=_count(cases, by_case)["false alarms"] or "no")]
    for title, frequent in (("The frequent ones", True), ("All others", False)):
        rows = sorted(
            (case for case in shown if case.frequent == frequent),
            key=lambda each: (each.package.lower(), each.title.lower()),
        )
        lines += [f"## {title}", "", *_table(rows, by_case), ""]
    return "\n".join([*lines, _notes(shown)]) + "\n"


def figures(cases: Mapping[str, Case], results: Iterable[dict[str, Any]]) -> str:
    """Return the sums, a line each."""
    counts = _count(cases, _latest(cases, results))
    return "\n".join(f"{value} {name}" for name, value in counts.items())


def _latest(
    cases: Mapping[str, Case], results: Iterable[dict[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    latest: dict[str, dict[str, dict[str, Any]]] = {}
    for result in results:
        if result["case"] in cases:
            latest.setdefault(result["case"], {})[result["mode"]] = result
    # A case that never reached the server says nothing.
    return {
        name: modes
        for name, modes in latest.items()
        if any(each["end"] in ("raised", "returned", "no end") for each in modes.values())
    }


def _count(
    cases: Mapping[str, Case], by_case: Mapping[str, Mapping[str, dict[str, Any]]]
) -> dict[str, int]:
    pairs = [(cases[name], each) for name, modes in by_case.items() for each in modes.values()]
    known = [(case, each) for case, each in pairs if each["end"] != "broken"]
    refusals = [each for case, each in known if knowable(case, each)]
    waits = [each for each in refusals if wait_stands(each)]
    return {
        "libraries": len({cases[name].package for name in by_case}),
        "calls": len(by_case),
        "answers": len(known),
        "refusals that can be known": len(refusals),
        "of them recognised": sum(each["throttled"] for each in refusals),
        "waits that stand somewhere on what was raised": len(waits),
        "of them found": sum(wait_found(each) for each in waits),
        "waits found that the client had dropped": sum(map(wait_kept, refusals)),
        "other failures": sum(not refused(each) for _, each in known),
        "false alarms": sum(fault(case, each) == "false alarm" for case, each in known),
        "answers that a client did not survive": len(pairs) - len(known),
    }


def _table(rows: list[Case], by_case: Mapping[str, Mapping[str, dict[str, Any]]]) -> list[str]:
    head = "| library | call | seen | wait | requests, sleep | to switch off |"
    lines = [head, "|---|---|---|---|---|---|"]
    for case in rows:
        modes = by_case[case.name]
        name = "urllib (Python)" if case.package == "stdlib" else f"{case.package} {case.version}"
        cells = [name, f"`{case.title}`", _seen(case, modes), _wait(case, modes), _own(modes)]
        lines.append("| " + " | ".join([*cells, _off(case, modes)]) + " |")
    return lines


def _seen(case: Case, modes: Mapping[str, dict[str, Any]]) -> str:
    known = {name: each for name, each in modes.items() if knowable(case, each)}
    if not known:
        ends = {each["end"] for each in modes.values() if refused(each)}
        return "never ends" if ends == {"no end"} else "cannot be"
    missed = [name for name, each in known.items() if not each["throttled"]]
    if not missed:
        return "yes"
    return "no" if len(missed) == len(known) else f"not {', '.join(missed)}"


def _wait(case: Case, modes: Mapping[str, dict[str, Any]]) -> str:
    known = [each for each in modes.values() if knowable(case, each)]
    stand = [each for each in known if wait_stands(each)]
    returned = [each for each in known if each["end"] == "returned" and each["mode"] != "none"]
    if not stand and returned:
        return "yes" if any(each.get("wait") for each in returned) else "-"
    if not stand:
        found = [each for each in known if each["mode"] != "none" and each.get("wait")]
        return "found" if found else "lost"
    missed = [each["mode"] for each in stand if not wait_found(each)]
    return f"not {', '.join(missed)}" if missed else "yes"


def _own(modes: Mapping[str, dict[str, Any]]) -> str:
    shown: list[str] = []
    for name, words in (("seconds", ""), ("none", "without: "), ("hour", "3600: ")):
        each = modes.get(name)
        if each is None or each["end"] == "broken":
            continue
        text = _requests(each)
        if not shown or text not in shown[0]:
            shown.append(words + text)
    return "; ".join(shown)


def _requests(result: dict[str, Any]) -> str:
    if result["end"] == "no end":
        return "no end"
    slept = result["slept"]
    return f"{result['requests']}, {slept:,.0f} s" if slept >= 1 else f"{result['requests']}"


def _off(case: Case, modes: Mapping[str, dict[str, Any]]) -> str:
    measured = OFF in modes and modes[OFF].get("requests") == 1
    if case.off is None:
        return "-" if _least(modes) <= 1 else "no setting known"
    return f"*{case.off}*" if measured else case.off


def _least(modes: Mapping[str, dict[str, Any]]) -> int:
    return modes["seconds"].get("requests", 0) if "seconds" in modes else 0


def _notes(cases: Iterable[Case]) -> str:
    lines = ["## What cannot be known", ""]
    for case in cases:
        reasons: dict[str, list[str]] = {}
        for mode in REFUSALS:
            if (why := case.blind_to(mode)) is not None:
                reasons.setdefault(why, []).append(ANSWERS[mode])
        for why, modes in reasons.items():
            answers = "" if len(modes) == len(REFUSALS) else f", refused with {', '.join(modes)}"
            lines.append(f"- {case.package}, `{case.title}`{answers}: {why}.")
    return "\n".join(lines)
