"""Sets up an environment for each other Python at hand.

Each gets `.venv-3.x` beside the sources, with the package installed, where the tests find it. It is
a debug build, which is quick to make, and where what overflows or breaks an assertion panics.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent.parent
PROBE = """
import sys
if sys.version_info >= (3, 11):
    print("%d.%d" % sys.version_info[:2])
"""


def candidates() -> list[str]:
    """Interpreters on the path, and those that pyenv keeps."""
    named = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    kept = sorted(str(path) for path in pyenv.glob("versions/*/bin/python3"))
    return [path for path in [*named, *kept] if path]


def version(python: str) -> str:
    """The version of an interpreter that the package is for; empty for any other."""
    try:
        probe = subprocess.run(
            [python, "-c", PROBE], capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return ""
    return probe.stdout.strip()


def main() -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found: dict[str, str] = {}
    for python in candidates():
        if (its := version(python)) and its != here:
            found.setdefault(its, python)
    for its, python in found.items():
        environment = SOURCES / f".venv-{its}"
        if not environment.exists():
            subprocess.run([python, "-m", "venv", environment], check=True)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
        debug = {**os.environ, "MATURIN_PEP517_ARGS": "--profile dev"}
        subprocess.run([*pip, "--force-reinstall", "--no-deps", SOURCES], check=True, env=debug)
        print(f"{environment.name} has the package")


if __name__ == "__main__":
    main()
