"""No regular expression of ours takes more than linear time, whatever a client sends.

Each one is found in the source, with the way in which it is used, and is given texts that are made
of its own characters: a match that has to try again in another way begins with those.
"""

from __future__ import annotations

import ast
import itertools
import re
import time
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "tidewire"

LENGTH = 20_000
"""Of the texts. What is linear takes a millisecond; quadratic, it would be seconds."""
MOST_SECONDS = 0.3

USES = {"fullmatch", "match", "search", "findall", "finditer", "split", "sub", "subn"}
OTHERS = ["a", "0", " ", '"', "\\", ",", ".", "=", "\x00", "\xe9"]


class Use(NamedTuple):
    """A compiled expression and a way to apply it."""

    where: str
    method: str
    pattern: re.Pattern[str] | re.Pattern[bytes]


def uses_in(path: Path) -> list[Use]:
    """The expressions that a module compiles, with the methods that it calls of them."""
    tree = ast.parse(path.read_text("utf-8"))
    compiled: dict[str, re.Pattern[str] | re.Pattern[bytes]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            call = node.value
            if ast.unparse(call.func) == "re.compile":
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                code = compile(ast.Expression(call), str(path), "eval")
                compiled[ast.unparse(target)] = eval(code, {"re": re})
    found = []
    for name, pattern in compiled.items():
        methods = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name
        }
        where = f"{path.relative_to(PACKAGE)}:{name}"
        found += [Use(where, method, pattern) for method in sorted(methods & USES)]
    return found


def all_uses() -> list[Use]:
    return [use for path in sorted(PACKAGE.rglob("*.py")) for use in uses_in(path)]


def texts_for(pattern: str) -> list[str]:
    """Texts that are long, repetitive, and nearly what the expression wants."""
    own = sorted({c for c in pattern if c not in "[](){}*+?|^$"} | set(OTHERS))
    ends = ["", "\x00", "!", '"', "\\"]
    pieces = [*own, *map("".join, itertools.permutations(OTHERS[:8], 2)), '\\"', "1.", "a=b,"]
    return [piece * (LENGTH // len(piece)) + end for piece in pieces for end in ends]


def apply(use: Use, text: str) -> None:
    """Do what the code does with a text."""
    subject = text.encode("latin-1") if isinstance(use.pattern.pattern, bytes) else text
    arguments = [subject[:0], subject] if use.method.startswith("sub") else [subject]
    result = getattr(use.pattern, use.method)(*arguments)
    if use.method == "finditer":
        list(result)


@pytest.mark.parametrize("use", all_uses(), ids=lambda use: f"{use.where}.{use.method}")
def test_a_text_is_looked_at_in_linear_time(use: Use) -> None:
    source = use.pattern.pattern
    source = source.decode("latin-1") if isinstance(source, bytes) else source
    for text in texts_for(source):
        start = time.process_time()
        apply(use, text)
        assert time.process_time() - start < MOST_SECONDS, (source, text[:20], text[-1])


def test_the_search_would_find_one_that_is_not() -> None:
    bad = Use("", "search", re.compile(r'"(?:[^"\\]|\\.)*"'))  # a quote that nothing ends
    start = time.process_time()
    apply(bad, '\\"' * 5_000)
    assert time.process_time() - start > 30 * _seconds(bad, '\\"' * 500)


def _seconds(use: Use, text: str) -> float:
    start = time.process_time()
    apply(use, text)
    return time.process_time() - start


def test_expressions_are_compiled_where_this_can_see_them() -> None:
    """Of the module's functions only ``re.compile`` and few others are used: see them too."""
    hidden = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\bre\.(match|search|fullmatch|findall|split)\(", path.read_text("utf-8"))
    }
    assert hidden == set()
    assert len(all_uses()) > 20
