"""Writes the map of files in CONTRIBUTING.md, from the first sentence of each file.

python tools/file_map.py           write it
python tools/file_map.py --check   fail if it is not what the files say
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- map: make map -->\n", "<!-- end of the map -->\n"
FOLDERS = ["src", "python/paceline", "tests", "benches", "examples", "findings", "tools"]
# Test files are found by their names; these are not the project's own words.
LEFT_OUT = re.compile(r"/test_|/cases/|^tests/(unit|dropin)/|/main\.rs$")
WIDTH = 34


def first_sentence(path: Path) -> str:
    """Return what the file says of itself first, or nothing."""
    text = path.read_text("utf-8")
    if path.suffix == ".rs":
        lines = re.match(r"(?://! ?.*\n)*", text)
        text = re.sub(r"^//! ?", "", lines[0] if lines else "", flags=re.MULTILINE)
    elif path.suffix == ".sh":
        text = re.sub(r"^# ?", "", text.partition("\n")[2], flags=re.MULTILINE)
    else:
        found = re.match(r'"""(.*?)"""', text, re.DOTALL)
        text = found[1] if found else ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    sentence = re.match(r".*?\.(?=\s|$)", paragraph)
    return (sentence[0] if sentence else paragraph).rstrip(".:")


def rows(folder: str) -> list[str]:
    """Return a line for the folder, and one for each file in it that says what it is."""
    listed = subprocess.run(
        ["git", "ls-files", folder], cwd=ROOT, check=True, capture_output=True, text=True
    )
    lines = [f"{folder}/"]
    for name in listed.stdout.splitlines():
        path = ROOT / name
        is_source = path.suffix in {".rs", ".py", ".sh"} and path.exists()
        if not is_source or LEFT_OUT.search(name):
            continue
        if sentence := first_sentence(path):
            lines.append(f"  {name.removeprefix(folder + '/'):{WIDTH}} {sentence}")
    return lines


def main() -> int:
    """Write the map, or compare it; 1 if it differs."""
    lines = [line for folder in FOLDERS for line in rows(folder)]
    made = "".join(["```text\n", *(f"{line}\n" for line in lines), "```\n"])
    before, _, rest = TARGET.read_text("utf-8").partition(BEGIN)
    known, _, after = rest.partition(END)
    if known == made:
        return 0
    if "--check" in sys.argv:
        print("CONTRIBUTING.md: the map of files is out of date; make map writes it")
        return 1
    TARGET.write_text(before + BEGIN + made + END + after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
