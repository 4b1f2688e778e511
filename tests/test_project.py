"""What holds for the project as a whole: no code runs from data, one version, one environment."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "adjoint"
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_code_runs_from_data(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_environment_is_read_in_one_place(path: Path) -> None:
    if path == PACKAGE / "base" / "config.py":
        return
    reads = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if ast.unparse(node) in {"os.environ", "os.getenv", "os.environb"}
    ]
    assert reads == [], "read it in base/config.py and pass the flag on"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("model.eval()", []),
        ("raise pickle.PicklingError", []),
        ("pickle.load(f)", ["1: pickle.load"]),
        ("x = 1\nreader = pickle.Unpickler", ["2: pickle.Unpickler"]),
        ("from pickle import loads", ["1: pickle.loads"]),
        ("import shelve", ["1: shelve"]),
        ("eval('1')", ["1: eval"]),
        ("builtins.exec('x = 1')", ["1: exec"]),
        ("np.load(f, allow_pickle=True)", ["1: allow_pickle"]),
        ("np.load(f, allow_pickle=False)", []),
    ],
)
def test_the_check_itself(code: str, expected: list[str]) -> None:
    assert list(dangers(code)) == expected


def test_one_version() -> None:
    import adjoint

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert adjoint.__version__ == project["version"]
    assert f"## {adjoint.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def dangers(code: str) -> Iterator[str]:
    """Line and name of whatever could run code that came in as data."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield f"{node.lineno}: {name}"
            case ast.Attribute(value=ast.Name(id="builtins"), attr="eval" | "exec" as name):
                yield f"{node.lineno}: {name}"
            case ast.Attribute(
                value=ast.Name(id="pickle"), attr="load" | "loads" | "Unpickler" as name
            ):
                yield f"{node.lineno}: pickle.{name}"
            case ast.ImportFrom(module="pickle"):
                names = [alias.name for alias in node.names]
                bad = {"*", "load", "loads", "Unpickler"}
                yield from (f"{node.lineno}: pickle.{name}" for name in names if name in bad)
            case ast.Import():
                names = [alias.name for alias in node.names]
                bad = {"marshal", "shelve", "dill", "cloudpickle"}
                yield from (f"{node.lineno}: {name}" for name in names if name in bad)
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                yield f"{node.lineno}: allow_pickle"
            case _:
                pass
