"""Fails where Rust files import each other in a circle.

Between folders of ``src`` there is to be no loop, and inside a folder none of more than three.
A file imports what its ``use`` leads to. A ``mod.rs`` that passes names on by ``pub use`` does
not import them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
LARGEST = 3

Module = tuple[str, ...]
Graph = dict[Module, set[Module]]


def leaves(tree: str) -> list[Module]:
    """Return the paths of a ``use`` tree; those in braces go on from what is before these."""
    head, brace, inner = tree.partition("{")
    prefix = tuple(part.strip() for part in head.split("::") if part.strip())
    if not brace:
        return [prefix]
    items = re.findall(r"[^,{}]+(?:\{[^{}]*\})?", inner[: inner.rindex("}")])
    return [prefix + leaf for item in items if item.strip() for leaf in leaves(item)]


def resolve(path: Module, here: Module, known: dict[Module, Path]) -> Module | None:
    """Return the module in which a path of ``here`` ends, if it is one of ours."""
    starts = {"crate": (), "self": here, "super": here[:-1]}
    at = starts.get(path[0])
    for part in path[1:]:
        if at is not None and part == "super":
            at = at[:-1]
        elif at is not None and (*at, part) in known:
            at = (*at, part)
    return at


def imports(known: dict[Module, Path]) -> Graph:
    """Return which modules each imports."""
    graph: Graph = {}
    for module, path in known.items():
        text = path.read_text("utf-8").partition("#[cfg(test)]\nmod tests")[0]
        uses = re.findall(r"^\s*(pub(?:\(.*\))? )?use ([^;]+);", text, re.MULTILINE)
        own = [tree for public, tree in uses if not (public and path.name == "mod.rs")]
        found = {resolve(leaf, module, known) for tree in own for leaf in leaves(tree)}
        graph[module] = {target for target in found if target is not None} - {module}
    return graph


def loops(graph: Graph) -> set[Module]:
    """Return the sets of modules that all lead to each other."""
    reach = {module: set(targets) for module, targets in graph.items()}
    for middle in graph:
        for targets in reach.values():
            if middle in targets:
                targets.update(reach[middle])
    rings = (tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph)
    return {tuple("::".join(each) or "lib" for each in ring) for ring in rings if len(ring) > 1}


if __name__ == "__main__":
    paths = {path.relative_to(SRC).with_suffix("").parts: path for path in SRC.rglob("*.rs")}
    known = {tuple(part for part in name if part != "mod"): path for name, path in paths.items()}
    files = imports(known)
    folder = {module: module if known[module].name == "mod.rs" else module[:-1] for module in files}
    folders: Graph = {each: set() for each in folder.values()}
    for module, targets in files.items():
        folders[folder[module]] |= {folder[each] for each in targets} - {folder[module]}
    found = [ring for ring in loops(files) if len(ring) > LARGEST] + list(loops(folders))
    for ring in found:
        print("these import each other in a circle:", ", ".join(ring))
    sys.exit(bool(found))
