"""Finds loops of imports among the Rust files, and fails where there are too many.

Between folders of ``src`` there is to be none, and inside a folder none of more than three files.
What counts is ``use``: a file imports the file that a path leads to. A ``mod.rs`` that passes names on
with ``pub use`` does not import them.
"""

import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"
LARGEST = 3

Module = tuple[str, ...]
Graph = dict[Module, set[Module]]


def modules() -> dict[Module, Path]:
    paths = {path.relative_to(SRC).with_suffix(""): path for path in SRC.rglob("*.rs")}
    return {tuple(p for p in name.parts if p != "mod"): path for name, path in paths.items()}


def leaves(tree: str) -> list[Module]:
    """The paths of a ``use`` tree: those in braces are relative to what is before them."""
    head, brace, rest = tree.partition("{")
    if not brace:
        return [tuple(re.sub(r" as \w+$", "", tree.strip()).split("::"))]
    prefix = tuple(part for part in head.strip().split("::") if part)
    items, depth, start = [], 0, 0
    inner = rest[: rest.rindex("}")] + ","
    for place, letter in enumerate(inner):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            items.append(inner[start:place].strip())
            start = place + 1
    return [prefix + leaf for item in items if item for leaf in leaves(item)]


def resolve(path: Module, here: Module, known: dict[Module, Path]) -> Module | None:
    first, *rest = path
    at = {"crate": (), "self": here, "super": here[:-1]}.get(first)
    if at is None:
        return None
    while rest and rest[0] == "super":
        at, rest = at[:-1], rest[1:]
    for part in rest:
        if (*at, part) not in known:
            break
        at = (*at, part)
    return at


def imports(known: dict[Module, Path]) -> Graph:
    graph: Graph = {}
    for module, path in known.items():
        text = path.read_text().partition("#[cfg(test)]\nmod tests")[0]
        passes_on = path.name in ("mod.rs", "lib.rs")
        uses = re.findall(r"^\s*(pub(?:\([^)]*\))? )?use ([^;]+);", text, re.MULTILINE)
        trees = [tree for public, tree in uses if not (passes_on and public)]
        found = (resolve(leaf, module, known) for tree in trees for leaf in leaves(tree))
        graph[module] = {target for target in found if target and target != module}
    return graph


def knots(graph: Graph) -> list[list[Module]]:
    """Sets of modules each of which imports all others of its set, at last."""

    def reached(start: Module) -> set[Module]:
        seen: set[Module] = set()
        new = [start]
        while new:
            new = [at for each in new for at in graph[each] - seen if not seen.add(at)]  # type: ignore[func-returns-value]
        return seen

    reach = {module: reached(module) for module in graph}
    rings = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph}
    return [list(ring) for ring in rings if len(ring) > 1]


def folders(graph: Graph, known: dict[Module, Path]) -> Graph:
    def folder(module: Module) -> Module:
        return module if known[module].name == "mod.rs" else module[:-1]

    grouped: Graph = {folder(module): set() for module in graph}
    for module, targets in graph.items():
        grouped[folder(module)] |= {folder(target) for target in targets} - {folder(module)}
    return grouped


if __name__ == "__main__":
    known = modules()
    graph = imports(known)
    bad = [ring for ring in knots(graph) if len(ring) > LARGEST]
    bad += knots(folders(graph, known))
    for ring in bad:
        print("a loop of imports:", ", ".join("::".join(module) or "lib" for module in ring))
    sys.exit(bool(bad))
