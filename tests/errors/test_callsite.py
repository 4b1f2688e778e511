"""Where a message points: the user's innermost line, whatever stands around the call."""

from __future__ import annotations

import linecache
from typing import Any

import pytest

import adjoint as ad
from adjoint.base import errors
from adjoint.base.wording import clip, dims, spelled


def message(code: str, **names: Any) -> list[str]:
    """The lines of the AdjointError that ``code`` raises, as if it stood in user.py."""
    lines = [f"{line}\n" for line in code.split("\n")]
    linecache.cache["user.py"] = (len(code), None, lines, "user.py")
    try:
        with pytest.raises(errors.AdjointError) as found:
            exec(compile(code, "user.py", "exec"), {"ad": ad, **names})
    finally:
        del linecache.cache["user.py"]
    return str(found.value).split("\n")


def test_a_call_over_several_lines_is_marked_on_its_first() -> None:
    lines = message("x = ad.ones(2)\ny = ad.cat(\n    [x,\n     ad.ones(2, 2)],\n)")
    assert lines[1:4] == ["    at user.py:2", "        y = ad.cat(", "            ^^^^^^^"]


def test_columns_are_counted_in_characters() -> None:
    lines = message("größe = ad.ones(2) + ad.ones(3)")
    assert lines[2:4] == [
        "        größe = ad.ones(2) + ad.ones(3)",
        "                ^^^^^^^^^^^^^^^^^^^^^^^",
    ]


def test_indentation_is_taken_away() -> None:
    lines = message("def f(x):\n    if True:\n        return x @ x\n\nf(ad.ones(2, 3))")
    at = lines.index("    at user.py:3 in f")
    assert lines[at + 1 : at + 3] == ["        return x @ x", "               ^^^^^"]


def test_the_innermost_line_of_the_user_counts_not_the_library() -> None:
    def loss(w: Any) -> Any:
        return (w @ w).sum()

    with pytest.raises(errors.ShapeError) as found:
        ad.grad(loss)(ad.ones(2, 3))
    assert "in test_the_innermost_line_of_the_user_counts_not_the_library.<locals>.loss" in str(
        found.value
    )
    assert "return (w @ w).sum()" in str(found.value)


def test_without_a_source_the_line_is_left_out() -> None:
    with pytest.raises(errors.ShapeError) as found:
        exec(compile("ad.ones(2) + ad.ones(3)", "<nowhere>", "exec"), {"ad": ad})
    lines = str(found.value).split("\n")
    assert lines[1] == "    at <nowhere>:1"
    assert len(lines) == 3


def test_what_is_long_is_cut() -> None:
    assert clip("a" * 100) == "'" + "a" * 56 + "..."
    assert clip(10**5000) == "a number too long to print"
    assert clip("two\nlines") == "'two\\nlines'"
    assert spelled(10**30) == "2**99 or more"
    assert spelled(-(10**30)) == "-2**99 or more"
    assert dims(range(20)) == "(0, 1, 2, 3, 4, 5, 6, 7, ..., 18, 19)"
    assert dims((3,)) == "(3,)"
    assert errors.describe(ad.ones(3)) == "float32[3]"


def test_errors_are_also_the_builtin_ones() -> None:
    kinds = {
        errors.ShapeError: ValueError, errors.DTypeError: TypeError, errors.GradError: RuntimeError,
        errors.IndexingError: IndexError, errors.ArgumentError: ValueError,
        errors.MissingExtraError: ImportError,
    }  # fmt: skip
    assert all(issubclass(a, (b, ad.AdjointError)) and issubclass(a, b) for a, b in kinds.items())


def test_running_out_of_memory_is_an_error_of_the_library() -> None:
    with pytest.raises(errors.ShapeError, match="add: not enough memory"):
        ad.ones(2**23, 1) + ad.ones(1, 2**23)
    with pytest.raises(errors.ShapeError, match="more than can be allocated"):
        ad.ones(1).expand(2**62, 2**62).sum()
