"""Imports only go down: no package imports one that stands on a higher floor."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

FLOORS = {
    0: "base",
    1: "runtime",
    2: "ir",
    3: "ops",
    4: "transform",
    5: "compile",
    6: "tensors array_api autograd linalg random",
    7: "nn optim data train interop testing utils",
    8: "models",
    9: "recipes labs cli",
}
FLOOR_OF = {package: floor for floor, names in FLOORS.items() for package in names.split()}

# The root and public.py gather the public names, __main__ starts the commands: above all floors.
EXEMPT = {"adjoint/__init__.py", "adjoint/__main__.py", "adjoint/public.py"}
FILES = sorted(
    path
    for path in (SOURCE / "adjoint").rglob("*.py")
    if path.relative_to(SOURCE).as_posix() not in EXEMPT
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_only_go_down(path: Path) -> None:
    source = path.relative_to(SOURCE).as_posix()
    assert complaints(source, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        ("adjoint/ops/a.py", "from adjoint.ir.node import Node", []),
        ("adjoint/ops/a.py", "from .b import c", []),
        ("adjoint/nn/a.py", "from adjoint import data", []),
        ("adjoint/ir/a.py", "import adjoint.tensors.tensor", ["1: tensors (6) from ir (2)"]),
        ("adjoint/ir/a.py", "def f():\n    from ..ops import add", ["2: ops (3) from ir (2)"]),
        ("adjoint/base/a.py", "from adjoint import ops", ["1: ops (3) from base (0)"]),
        ("adjoint/cli/a.py", "import adjoint", ["1: the root, which imports everything"]),
        ("adjoint/cli/a.py", "from adjoint import tensor", ["1: tensor, which has no floor"]),
        ("adjoint/misc/a.py", "", ["misc has no floor: give it one in FLOORS"]),
    ],
)
def test_the_check_itself(source: str, code: str, expected: list[str]) -> None:
    assert complaints(source, code) == expected


def complaints(source: str, code: str) -> list[str]:
    """What is wrong with the imports of one file, given its path below src and its text."""
    own = source.split("/")[1].removesuffix(".py")
    if own not in FLOOR_OF:
        return [f"{own} has no floor: give it one in FLOORS"]
    found: list[str] = []
    for line, target in imported_packages(source, code):
        if target == "":
            found.append(f"{line}: the root, which imports everything")
        elif target not in FLOOR_OF:
            found.append(f"{line}: {target}, which has no floor")
        elif FLOOR_OF[target] > FLOOR_OF[own]:
            found.append(f"{line}: {target} ({FLOOR_OF[target]}) from {own} ({FLOOR_OF[own]})")
    return found


def imported_packages(source: str, code: str) -> Iterator[tuple[int, str]]:
    """Line and second name of each imported `adjoint.…` module, also inside functions."""
    package = source.split("/")[:-1]
    for node in ast.walk(ast.parse(code)):
        modules: list[list[str]] = []
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            base = parent + (node.module.split(".") if node.module else [])
            modules = [[*base, alias.name] for alias in node.names]
        for module in modules:
            if module[0] == "adjoint":
                yield node.lineno, module[1] if len(module) > 1 else ""
