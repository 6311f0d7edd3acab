"""Sets up an environment for each other Python at hand.

Each gets `.venv-3.x` beside the sources (`.venv-3.xt` without the interpreter lock), with the
package installed, where the tests find it. It is a debug build, which is quick to make, and where
what overflows or breaks an assertion panics. On Linux with Debian's tools, Pythons newer than those
at hand are unpacked into `.pythons` first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent.parent
UNPACKED = SOURCES / ".pythons"
PROBE = """
import sys, sysconfig
if sys.version_info >= (3, 11):
    free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")
    print("%d.%d" % sys.version_info[:2] + ("t" if free_threaded else ""))
"""


def unpack_new_pythons() -> None:
    """Unpack Debian's newest Pythons, where that can be done."""
    if UNPACKED.exists() or not all(map(shutil.which, ("apt-get", "dpkg-deb", "patchelf"))):
        return
    ended = subprocess.run([SOURCES / "tools" / "debian_pythons.sh", UNPACKED], check=False)
    if ended.returncode:
        shutil.rmtree(UNPACKED, ignore_errors=True)
        print("Newer Pythons could not be unpacked: what follows does without.")


def candidates() -> list[str]:
    """Interpreters on the path, those that pyenv keeps, and those that were unpacked."""
    versions = [f"python3.{minor}{t}" for minor in range(11, 16) for t in ("", "t")]
    named = [shutil.which(version) for version in versions]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    kept = sorted(str(path) for path in pyenv.glob("versions/*/bin/python3"))
    unpacked = sorted(str(path) for path in UNPACKED.glob("usr/bin/python3.??"))
    return [path for path in [*named, *kept, *unpacked] if path]


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
    here = version(sys.executable)
    unpack_new_pythons()
    found: dict[str, str] = {}
    for python in candidates():
        if (its := version(python)) and its != here:
            found.setdefault(its, python)
    for its, python in found.items():
        environment = SOURCES / f".venv-{its}"
        if not environment.exists():
            # Not every Python can install a pip of its own, so this one's installs for all.
            subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
        target = environment / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", target, "install", "--quiet"]
        debug = {**os.environ, "MATURIN_PEP517_ARGS": "--profile dev"}
        subprocess.run([*pip, "--force-reinstall", "--no-deps", SOURCES], check=True, env=debug)
        print(f"{environment.name} has the package")


if __name__ == "__main__":
    main()
