"""Installs the libraries, runs every case, and writes the table.

One virtual environment at a time, and one case at a time: what is measured is what one call does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from . import table
from .case import Case, load
from .one import modes_of
from .verdict import fault

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
"""Seconds in which a case has to be through with its modes."""


def install(folder: Path, cases: list[Case], wheel: Path) -> Path:
    """Return the interpreter of an environment that has the cases' libraries, and paceline."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pins = {f"{each.package}=={each.version}" for each in cases if each.package != "stdlib"}
    pins |= {pin for each in cases for pin in each.extras} | {"trustme"}
    stamp = folder / "pins"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not stamp.exists() or set(stamp.read_text().split()) != pins:
        if not python.exists():
            venv.create(folder, with_pip=True)
        print(f"installing {len(pins)} packages into {folder}", file=sys.stderr)
        subprocess.run([*pip, "--prefer-binary", *sorted(pins)], check=True)
        stamp.write_text("\n".join(sorted(pins)))
    subprocess.run([*pip, "--no-deps", "--force-reinstall", str(wheel)], check=True)
    return python


def run(case: Case, python: Path) -> Iterator[dict[str, Any]]:
    """Yield what each mode of a case has shown; a process that hangs loses the mode it is in."""
    left = modes_of(case)
    while left:
        command = [str(python), "-m", "clients.one", case.name, *left]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT / "examples",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            output, errors = done.stdout, done.stderr
        except subprocess.TimeoutExpired as expired:
            output, errors = expired.stdout or b"", b"it hung"
        results = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
        yield from results
        left = left[len(results) :]
        if left:
            last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["it died"]
            yield {"case": case.name, "mode": left.pop(0), "end": "broken", "text": last[0]}
            if not results and "it hung" not in last:
                return  # It does not even start.


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m clients", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="cases, packages or environments; all if none")
    parser.add_argument("--folder", type=Path, help="where environments are kept from run to run")
    parser.add_argument("--wheel", type=Path, help="paceline; by default built from this source")
    parser.add_argument("--write", type=Path, default=ROOT / "docs" / "clients.md")
    parser.add_argument("--results", type=Path, help="lines of JSON, added to; the last one counts")
    options = parser.parse_args()
    cases = load()
    wanted = set(options.names)
    chosen = [
        each
        for each in cases.values()
        if not wanted or wanted & {each.name, each.package, each.env}
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        kept = options.results or Path(temporary) / "results.jsonl"
        with kept.open("a") as file:
            for each in measure(chosen, folder, options.wheel or build(Path(temporary))):
                print(json.dumps(each), file=file, flush=True)
        results = [json.loads(line) for line in kept.read_text().splitlines()]
    if not wanted or options.results:
        options.write.parent.mkdir(exist_ok=True)
        options.write.write_text(table.page(cases, results))
    print(table.figures(cases, results))
    return 0


def build(folder: Path) -> Path:
    """Return a wheel of this source."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*pip, str(ROOT)], check=True)
    return next(folder.glob("*.whl"))


def measure(cases: Iterable[Case], folder: Path, wheel: Path) -> Iterator[dict[str, Any]]:
    """Yield what every mode of every case has shown, and print what is wrong."""
    by_env = sorted(cases, key=lambda each: each.env)
    for env, group in groupby(by_env, key=lambda each: each.env):
        members = list(group)
        everyone = [each for each in load().values() if each.env == env]
        python = install(folder / env, everyone, wheel)
        for case in members:
            for result in run(case, python):
                wrong = fault(case, result)
                if wrong or result["end"] == "broken":
                    print(case.name, result["mode"], wrong or result["text"], file=sys.stderr)
                yield result


if __name__ == "__main__":
    sys.exit(main())
