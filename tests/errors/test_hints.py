"""Every error that the code can raise says what to do about it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from adjoint.base import errors

PACKAGE = Path(errors.__file__).parent.parent
FILES = sorted(PACKAGE.rglob("*.py"))
TAKES_HINT = {
    name
    for name, function in inspect.getmembers(errors, inspect.isfunction)
    if "hint" in inspect.signature(function).parameters and name != "not_a_tensor"
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_error_has_a_hint(path: Path) -> None:
    assert list(bare_errors(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ('raise errors.shape("f", "wrong", hint="do this")', []),
        ('raise errors.shape("f", "wrong")', [1]),
        ('x = 1\nraise errors.index("wrong", hint="")', [2]),
        ('raise errors.no_graph("f")', []),
        ('raise errors.argument("f", "wrong", hint=advice)', []),
    ],
)
def test_the_check_itself(code: str, lines: list[int]) -> None:
    assert list(bare_errors(code)) == lines


def bare_errors(code: str) -> Iterator[int]:
    """Lines that make an error without a hint."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="errors"), attr=name)):
                hints = [k.value for k in node.keywords if k.arg == "hint"]
                empty = not hints or ast.unparse(hints[0]) in ("''", '""')
                if name in TAKES_HINT and empty:
                    yield node.lineno
            case _:
                pass
