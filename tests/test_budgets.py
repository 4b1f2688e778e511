"""The budgets that keep the project small; raising one needs a decision record."""

from __future__ import annotations

import ast
import dataclasses
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from tests.test_floors import FLOOR_OF

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "adjoint"
FILES = sorted(
    path for folder in ("src", "tests", "bench") for path in (ROOT / folder).rglob("*.py")
)

FILE_LINES = 500
FUNCTION_LINES = 60
ENGINE_LINES = 18_000  # of code; docs/decisions/0012-budgets-count-code.md
COMPILER_LINES = 13_000  # docs/decisions/0018-the-compiler-has-a-budget-of-its-own.md
LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip
OPS = 48
FLAGS = 15
HEAVY = {
    "PIL",
    "cyclopts",
    "llvmlite",
    "matplotlib",
    "pooch",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "tqdm",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert line_count(path) <= FILE_LINES
    long = {
        node.name: lines
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    }
    assert long == {}


def test_the_engine_is_small() -> None:
    engine = [name for name, floor in FLOOR_OF.items() if floor <= 6 and name != "compile"]
    assert sum(lines_of(name) for name in engine) <= ENGINE_LINES


def test_the_compiler_is_small() -> None:
    assert lines_of("compile") <= COMPILER_LINES


def lines_of(name: str) -> int:
    """Lines of code of one folder of the package."""
    return sum(code_count(path) for path in (PACKAGE / name).rglob("*.py"))


def test_the_op_table_is_small() -> None:
    from adjoint.ops import TABLE

    assert 0 < len(TABLE) <= OPS
    assert {name: op.name for name, op in TABLE.items()} == {name: name for name in TABLE}


def test_flags_are_few() -> None:
    from adjoint.base.config import Flags

    assert 0 < len(dataclasses.fields(Flags)) <= FLAGS


def test_import_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import adjoint; adjoint.tensor(1.0)"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    # Each line ends in `| module`, indented by depth.
    modules = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "adjoint" in modules
    assert {module.partition(".")[0] for module in modules} & HEAVY == set()


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def code_count(path: Path) -> int:
    """Lines that hold code: not blank, comment, docstring or import."""
    text = path.read_text(encoding="utf-8")
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            left_out.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            used.update(range(token.start[0], token.end[0] + 1))
    return len(used - left_out)
