"""What is installed is whole, says what it is, and types as it promises."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import get_type_hints

import pytest

import paceline

ROOT = Path(__file__).parents[2]
INSTALLED = Path(paceline.__file__).parent

PUBLIC = [
    "AsyncBatchExecutor",
    "AsyncOutcomes",
    "BatchExecutor",
    "BatchRefusedError",
    "BatchReport",
    "BatchTimeoutError",
    "ErrorRecord",
    "LimiterHolder",
    "LimiterStats",
    "Outcome",
    "Outcomes",
    "PermitRefusedError",
    "RateLimiter",
    "RefusedResponseError",
    "Retry",
    "SupportsAcquire",
    "Verdict",
    "report_of",
]
CLASSES = [name for name in PUBLIC if name != "report_of"]
PACKAGES = ["retry"]


def test_the_public_names() -> None:
    assert paceline.__all__ == PUBLIC == sorted(PUBLIC)
    everything: dict[str, object] = {}
    exec("from paceline import *", everything)
    del everything["__builtins__"]
    assert sorted(everything) == PUBLIC


def test_nothing_else_is_public() -> None:
    assert {name for name in dir(paceline) if not name.startswith("_")} == {*PUBLIC, *PACKAGES}
    assert {name for name in vars(paceline) if not name.startswith("_")} <= set(dir(paceline))
    modules = [module.name for module in pkgutil.iter_modules(paceline.__path__)]
    assert "_core" in modules
    assert [name for name in modules if not name.startswith("_")] == PACKAGES


@pytest.mark.parametrize("name", CLASSES)
def test_public_classes_say_where_they_are_imported_from(name: str) -> None:
    cls = getattr(paceline, name)
    assert inspect.isclass(cls)
    assert cls.__module__ == "paceline"
    assert cls.__qualname__ == cls.__name__ == name


@pytest.mark.parametrize("name", CLASSES)
def test_public_classes_and_their_members_are_documented(name: str) -> None:
    cls = getattr(paceline, name)
    stub = stub_docstrings().get(name, {})
    assert inspect.getdoc(cls) or stub.get("")
    for member, value in vars(cls).items():
        if member.startswith("_") or not (callable(value) or isinstance(value, property)):
            continue
        assert getattr(value, "__doc__", None) or stub.get(member), f"{name}.{member}"


@pytest.mark.parametrize("name", ["RateLimiter", "Outcome"])
def test_what_help_shows_of_native_classes_is_what_the_stub_says(name: str) -> None:
    cls = getattr(paceline, name)
    of_slots = [member for member in stub_docstrings()[name] if member.startswith("__")]
    for member, text in stub_docstrings()[name].items():
        if text is not None and member not in of_slots:
            assert inspect.getdoc(getattr(cls, member) if member else cls) == text, member


@pytest.mark.parametrize("name", PUBLIC)
def test_annotations_can_be_read_at_run_time(name: str) -> None:
    cls = getattr(paceline, name)
    get_type_hints(cls)
    for member, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else value
        if inspect.isfunction(function) and (member == "__init__" or not member.startswith("_")):
            get_type_hints(function)


def stub_docstrings() -> dict[str, dict[str, str | None]]:
    """Return the docstrings of the stub: by class, then by member, the class's own under ""."""
    found: dict[str, dict[str, str | None]] = {}
    tree = ast.parse((INSTALLED / "_core.pyi").read_text("utf-8"))
    for cls in ast.walk(tree):
        if not isinstance(cls, ast.ClassDef):
            continue
        members = found.setdefault(cls.name, {"": ast.get_docstring(cls)})
        for node in cls.body:
            if isinstance(node, ast.FunctionDef):
                members[node.name] = members.get(node.name) or ast.get_docstring(node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                # An attribute is documented where the class is.
                members[node.target.id] = members[""]
    return found


def test_one_version() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    locked = [each["version"] for each in lock["package"] if each["name"] == "paceline"]
    versions = {
        paceline.__version__,
        importlib.metadata.version("paceline"),
        cargo["package"]["version"],
        project["project"]["version"],
        *locked,
    }
    assert versions == {paceline.__version__}


def test_cargo_and_python_ask_for_what_they_say() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cargo["package"]["description"] == project["description"]
    assert cargo["package"]["license"] == project["license"] == "MIT"
    assert "MIT" in (ROOT / "LICENSE").read_text("utf-8")
    assert importlib.metadata.metadata("paceline")["Requires-Python"] == project["requires-python"]
    assert not [
        requirement
        for requirement in importlib.metadata.requires("paceline") or []
        if "extra ==" not in requirement
    ]


def test_type_information_is_shipped() -> None:
    assert (INSTALLED / "py.typed").is_file()
    assert (INSTALLED / "_core.pyi").is_file()


def test_the_extension_is_part_of_the_package() -> None:
    from paceline import _core

    assert isinstance(_core, types.ModuleType)
    assert Path(_core.__file__ or "").parent == INSTALLED


def test_importing_starts_nothing_and_needs_nothing() -> None:
    script = (
        "import sys, threading\n"
        "before = set(sys.modules)\n"
        "import paceline\n"
        "assert threading.active_count() == 1\n"
        "foreign = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(foreign - sys.stdlib_module_names - {'paceline'}))\n"
    )
    assert child(script) == (0, "[]\n", "")


# What is needed only where something has gone wrong, or nowhere, and takes long to import.
NOT_AT_FIRST = {
    *("asyncio", "copy", "dataclasses", "difflib", "fractions", "importlib", "inspect", "json"),
    *("multiprocessing", "pickle", "random", "signal", "socket", "subprocess", "tempfile"),
    *("paceline.retry", "paceline.retry.policy"),
}


@pytest.mark.parametrize("policy", ["None", "paceline.Retry(2, backoff=0)"])
def test_importing_takes_no_more_than_is_needed(policy: str) -> None:
    """Only a ``Retry`` judges failures; what that takes is imported where it is first named."""
    script = f"""
import sys
sys.path.append({str(INSTALLED.parent)!r})
import concurrent.futures.thread, datetime, typing
own = {NOT_AT_FIRST} - set(sys.modules)
import paceline
assert not own & set(sys.modules), own & set(sys.modules)
policy = {policy}
before = set(sys.modules)
def fails():
    raise ValueError("429 is not enough")
with paceline.BatchExecutor(paceline.RateLimiter(99, per=1), retry=policy) as executor:
    assert executor.run([fails, int]).counts["failed"] == 1
    assert executor.submit(int).result() == 0
late = {{name for name in set(sys.modules) - before if name.startswith("paceline")}}
assert not late, late
assert (policy is not None) == ("paceline.retry.policy" in sys.modules)
"""
    # Without site: what is installed beside may import anything when an interpreter starts.
    assert child(script, "-S") == (0, "", "")


@pytest.mark.parametrize("name", ["Retry", "RefusedResponseError", "Verdict", "retry"])
def test_what_is_imported_late_is_found_in_every_way(name: str) -> None:
    for way in (
        f"import paceline; found = paceline.{name}",
        f"from paceline import {name} as found",
        f"import pickle; found = pickle.loads(b'cpaceline\\n{name}\\n.')",
        f"import paceline; assert {name!r} in dir(paceline); found = getattr(paceline, {name!r})",
    ):
        script = f"{way}\nimport paceline\nassert found and found is vars(paceline)[{name!r}]"
        assert child(script) == (0, "", ""), way


def test_annotations_find_what_is_imported_late() -> None:
    script = """
from typing import get_type_hints
from paceline import BatchExecutor
hints = get_type_hints(BatchExecutor.__init__)
from paceline import Retry
assert hints["retry"] == Retry | None
"""
    assert child(script) == (0, "", "")


def test_there_is_no_other_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'paceline' has no attribute 'retries'"):
        paceline.retries  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(paceline, "__path_of__")


def child(script: str, *options: str) -> tuple[int, str, str]:
    """Run a script isolated from the environment's variables and the working directory."""
    ended = subprocess.run(
        [sys.executable, "-I", *options, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return ended.returncode, ended.stdout, ended.stderr


def mypy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
    )


@pytest.mark.timeout(180)
def test_the_types_that_users_see(tmp_path: Path) -> None:
    """Against the installed package, as a user's mypy sees it, unused ignores included."""
    cache = f"--cache-dir={tmp_path}"
    result = mypy(cache, "tests/typing/api.py")
    assert result.returncode == 0, result.stdout + result.stderr
    # And the check itself would notice.
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from paceline import RateLimiter\nRateLimiter('a', 1)\nRateLimiter(1, 1).nothing\n"
    )
    result = mypy(cache, str(wrong))
    assert result.returncode == 1
    assert "arg-type" in result.stdout
    assert "attr-defined" in result.stdout
