"""What the documents show runs, what they link to exists, and every public name is explained."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import adjoint

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
SOURCE = re.compile(r"`((?:src|tests|bench|docs)/[\w./-]+\.\w+|[a-z]+/[\w/]+\.py)`")
PUBLIC = ("adjoint", "adjoint.autograd", "adjoint.random", "adjoint.testing", "adjoint.data",
          "adjoint.interop", "adjoint.train", "adjoint.nn", "adjoint.nn.functional",
          "adjoint.optim")  # fmt: skip


def ident(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[tuple[str, str, int]]:
    """Language, text and first line of each fenced block."""
    text = path.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield match[1], match[2], text.count("\n", 0, match.start()) + 1


@pytest.mark.parametrize("path", DOCUMENTS, ids=ident)
def test_code_in_documents_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `python` blocks of a file run one after another; `pycon` blocks must print the same."""
    monkeypatch.chdir(tmp_path)
    adjoint.manual_seed(0)
    names: dict[str, Any] = {"__name__": "__main__"}
    for language, text, line in blocks(path):
        if language == "python":
            exec(compile("\n" * line + text, str(path), "exec"), names)
        elif language == "pycon":
            _compare(text, names, path, line)


def test_the_first_example_is_short_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
    code = next(text for language, text, _ in blocks(ROOT / "README.md") if language == "python")
    assert len(code.splitlines()) <= 15
    exec(compile(code, "README.md", "exec"), {})
    found = re.fullmatch(r"test accuracy ([\d.]+)%\n", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) > 90


def _compare(text: str, names: dict[str, Any], path: Path, line: int) -> None:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    parsed = doctest.DocTestParser().get_doctest(text, names, path.name, str(path), line)
    parsed.globs = names  # the parser copies, but blocks build on each other
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=options)
    runner.run(parsed, out=report.append, clear_globs=False)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("path", DOCUMENTS, ids=ident)
def test_links_and_named_files_exist(path: Path) -> None:
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    links = [link for link in LINK.findall(text) if "://" not in link]
    dead = [link for link in links if not (path.parent / link).exists()]
    places = (ROOT, ROOT / "src" / "adjoint")
    named = [name for name in SOURCE.findall(text) if "NNNN" not in name and "<" not in name]
    dead += [name for name in named if not any((place / name).exists() for place in places)]
    assert dead == []


def test_the_list_of_public_names_is_complete() -> None:
    from adjoint import public

    bound = {name for name in vars(public) if not name.startswith("_")}
    assert bound == set(public.__all__)
    assert set(public.__all__) <= set(dir(adjoint)) == set(adjoint.__all__)
    assert all(hasattr(adjoint, name) for name in dir(adjoint))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_explained(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    silent = [key for key, value in public(module) if not explained(value)]
    assert silent == []


def test_every_public_method_of_tensor_is_explained() -> None:
    silent = [key for key, value in public(adjoint.Tensor) if not explained(value)]
    assert silent == []


def public(owner: Any) -> Iterator[tuple[str, Any]]:
    """Names of a module or class that are meant for users, with what they stand for."""
    for key in getattr(owner, "__all__", None) or dir(owner):
        value = inspect.getattr_static(owner, key, None) or getattr(owner, key)
        ours = str(getattr(inspect.unwrap(value), "__module__", "adjoint")).startswith("adjoint")
        if not key.startswith("_") and ours:
            yield key, value


def explained(value: Any) -> bool:
    """Whether ``help`` has something to say; constants speak for themselves."""
    if isinstance(value, property | staticmethod | classmethod) or callable(value):
        return bool(inspect.getdoc(value))
    return True


def test_the_checks_themselves(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a [b](c.md) `src/no.py`\n\n```python\nx = 1\n```\n\n```pycon\n>>> x\n2\n```\n")
    found = list(blocks(page))
    assert [(language, line) for language, _, line in found] == [("python", 3), ("pycon", 7)]
    assert LINK.findall(page.read_text()) == ["c.md"]
    assert SOURCE.findall(page.read_text()) == ["src/no.py"]
    with pytest.raises(AssertionError, match="Expected"):
        _compare(found[1][1], {"x": 1}, page, 7)
    assert not explained(lambda: None)
