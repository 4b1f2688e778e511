"""Nonsense fed to every public function: an AdjointError or a result, never a trace from inside."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adjoint as ad
from adjoint.base.errors import AdjointError
from adjoint.ir.node import grad_mode
from tests.errors.bad_values import (
    arity,
    describe,
    fits,
    keywords,
    lists_of_tensors,
    oddities,
    public_functions,
    tensors,
)  # fmt: skip

FUNCTIONS = public_functions()
GIGABYTE = 2**30
SECONDS = 20

# Positions rather than values, so that every example gets fresh tensors.
POSITIONS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 999)), min_size=1, max_size=4)
KEYWORDS = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 9), st.integers(0, 999)), max_size=2
)


class TooSlow(BaseException):
    """The call took longer than any sensible one."""


def test_all_namespaces_are_covered() -> None:
    assert len(FUNCTIONS) > 900
    prefixes = {name.rpartition(".")[0] for name in FUNCTIONS}
    assert prefixes == {"", "Tensor", "functional", "linalg", "nn", "operator", "optim", "random"}
    assert {"matmul", "cat", "Tensor.sum", "linalg.solve", "random.uniform"} <= set(FUNCTIONS)


@pytest.mark.parametrize("part", range(16))
def test_bad_input(part: int) -> None:
    attempt(sorted(FUNCTIONS)[part::16], examples=8)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(64))
def test_bad_input_at_length(part: int) -> None:
    attempt(sorted(FUNCTIONS)[part::64], examples=150)


def attempt(names: list[str], examples: int) -> None:
    @settings(
        max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None,
        derandomize=True, database=None,
    )  # fmt: skip
    @given(POSITIONS, KEYWORDS)
    def run(positions: list[Any], named: list[Any]) -> None:
        for name in names:
            call(name, *arguments(name, positions, named))

    before = peak_memory()
    run()
    assert peak_memory() - before < GIGABYTE


def call(name: str, args: list[Any], named: dict[str, Any]) -> None:
    function = FUNCTIONS[name]
    if not fits(function, args, named):
        return
    text = f"{name}({describe(args, named)})"
    try:
        with grad_mode(True), time_limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("error")
            result = function(*args, **named)
            if isinstance(result, ad.Tensor):
                repr(result)
    except AdjointError as error:
        assert str(error).strip(), text
    except TooSlow:
        pytest.fail(f"{text} does not end")
    except Exception as error:
        pytest.fail(f"{text} raised {type(error).__name__}: {error}")


def arguments(
    name: str, positions: list[Any], named: list[Any]
) -> tuple[list[Any], dict[str, Any]]:
    """As many as the function takes; the first is mostly a tensor, or the rest would not matter."""
    good, odd, lists = tensors(), oddities(), lists_of_tensors()

    def pick(kind: int, place: int, share: int) -> Any:
        values = good if kind < share else lists if kind == 9 else odd
        return values[place % len(values)]

    least, most = arity(FUNCTIONS[name])
    positions = (positions * 4 if len(positions) < least else positions)[: max(most, least)]
    args = [pick(kind, place, 3 if i else 8) for i, (kind, place) in enumerate(positions)]
    if name.startswith(("Tensor.", "operator.")) and (
        not args or not isinstance(args[0], ad.Tensor)
    ):
        args[:1] = good[:1]
    known = keywords(FUNCTIONS[name], len(args))
    chosen = {known[k % len(known)]: pick(kind, place, 3) for k, kind, place in named if known}
    return args, chosen


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TooSlow after ``seconds``, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_memory() -> int:
    """The most memory this process has had, in bytes; 0 where it is not told."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
