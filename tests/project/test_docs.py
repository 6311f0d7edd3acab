"""Every Python example in the documents and the docstrings runs."""

from __future__ import annotations

import ast
import doctest
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import paceline

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "src" / "engine" / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
SOURCES = sorted((ROOT / "python" / "paceline").glob("*.py*"))

FENCE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=fence)\s*?$",
    re.DOTALL | re.MULTILINE,
)
LANGUAGES = {"python", "py", "pycon"}


def blocks(document: Path) -> Iterator[tuple[str, int, str, str]]:
    """Yield (name, first line of the code, language, code) for each Python block."""
    text = document.read_text("utf-8")
    for match in FENCE.finditer(text):
        language = match["language"].strip().lower()
        if language.split(" ")[0] in LANGUAGES:
            line = text.count("\n", 0, match.start("code")) + 1
            yield f"{document.name}:{line}", line, language, match["code"]


def docstrings(source: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (name, line, text) for each docstring with an example in it."""
    if source.suffix not in {".py", ".pyi"}:
        return
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, documented) and ">>>" in (ast.get_docstring(node) or ""):
            name = getattr(node, "name", source.stem)
            string = node.body[0]
            yield f"{source.name}:{name}", string.lineno, ast.get_docstring(node) or ""


BLOCKS = [
    pytest.param(document, *block[1:], id=block[0])
    for document in DOCUMENTS
    if document.exists()
    for block in blocks(document)
]
DOCSTRINGS = [
    pytest.param(source, *example, id=example[0])
    for source in SOURCES
    for example in docstrings(source)
]


def run_examples(name: str, line: int, text: str, path: Path, names: dict[str, Any]) -> None:
    """Run what follows `>>>` and compare what it prints."""
    test = doctest.DocTestParser().get_doctest(text, names, name, str(path), line - 1)
    assert test.examples
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize(("document", "line", "language", "code"), BLOCKS)
def test_blocks_of_the_documents(
    document: Path,
    line: int,
    language: str,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # A handler that an example adds is taken away again.
    logger = logging.getLogger("paceline")
    monkeypatch.setattr(logger, "handlers", logger.handlers[:])
    if language == "pycon" or code.lstrip().startswith(">>>"):
        run_examples(f"{document.name}:{line}", line, code, document, {})
        return
    # Empty lines before it, so that a traceback names the line of the document.
    source = compile("\n" * (line - 1) + code, str(document), "exec")
    exec(source, {"__name__": "__main__"})


@pytest.mark.parametrize(("source", "name", "line", "text"), DOCSTRINGS)
def test_examples_of_the_docstrings(source: Path, name: str, line: int, text: str) -> None:
    # As after `from paceline import *`, which is where a reader of the reference stands.
    names = {public: getattr(paceline, public) for public in paceline.__all__}
    run_examples(name, line, text, source, names)


def test_the_examples_were_found() -> None:
    assert {block.values[0] for block in BLOCKS} >= {ROOT / "README.md"}
    assert DOCSTRINGS


def test_every_block_says_what_it_is() -> None:
    """A block without a language would never be run, nor coloured."""
    for document in DOCUMENTS:
        for match in FENCE.finditer(document.read_text("utf-8")):
            line = document.read_text("utf-8").count("\n", 0, match.start()) + 1
            assert match["language"].strip(), f"{document.name}:{line}"


def test_every_block_is_seen() -> None:
    """An indented fence would be passed over."""
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        fences = [line for line in text.splitlines() if line.lstrip().startswith(("```", "~~~"))]
        assert len(fences) == 2 * len(FENCE.findall(text)), document.name


def test_links_between_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert os.path.exists(document.parent / target), f"{document.name}: {target}"


def test_the_readme_names_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"^make ([a-z-]+)", "\n".join(code_of(document)), re.MULTILINE))
        assert named <= targets, document.name
    assert {"demo", "test"} <= set(
        re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text("utf-8"))
    )


def code_of(document: Path) -> list[str]:
    """Return the fenced blocks and the `spans` of code."""
    text = document.read_text("utf-8")
    return [match["code"] for match in FENCE.finditer(text)] + re.findall(r"`([^`\n]+)`", text)
