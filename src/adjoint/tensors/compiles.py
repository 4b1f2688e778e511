"""Why a captured function was recorded again: kept for ``step.explain()``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from adjoint.base import errors
from adjoint.tensors.handle import Handle

MANY = 4  # recordings after the first; then a warning


class Call(NamedTuple):
    """What a recording depends on: the arguments in words, and whether gradients were tracked."""

    arguments: tuple[Any, ...]
    grad: bool


class Compiles:
    """The recordings of one function, each with its cause."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.causes: list[str] = []

    def note(self, leaves: Sequence[Any], grad: bool) -> None:
        """Enter a recording; warns when it is the fourth after the first."""
        call = Call(tuple(_seen(leaf) for leaf in leaves), grad)
        self.causes.append(self._cause(call))
        self.calls.append(call)
        if len(self.calls) == MANY + 1:
            warnings.warn(
                f"jit: {self.name} has been recorded {len(self.calls)} times, the last time "
                f"because {self.causes[-1]}; pad or bucket arguments whose sizes vary, pass "
                f"numbers that vary as tensors, and see {self.name}.explain()",
                stacklevel=5,
            )

    def _cause(self, call: Call) -> str:
        if not self.calls:
            return "it was the first call"
        if call in self.calls:
            return (
                "something that it reads as a plain Python value is another one now: train or eval "
                "mode, an option of the optimiser, whether there was a gradient, or which tensors "
                "share a value"
            )
        alike = [old for old in self.calls if len(old.arguments) == len(call.arguments)]
        found = [_differences(old, call) for old in alike or self.calls]
        return min(found, key=len)[0]

    def __str__(self) -> str:
        lines = [f"{self.name}: recorded {len(self.calls)} times"]
        for i, (call, cause) in enumerate(zip(self.calls, self.causes, strict=True), 1):
            inside = ", ".join(str(a) for a in call.arguments)
            lines.append(f"{i}. ({inside}): {cause}")
        return "\n".join(lines)


def _seen(leaf: Any) -> Any:
    return Seen(errors.describe(leaf), leaf.shape) if isinstance(leaf, Handle) else repr(leaf)


class Seen(NamedTuple):
    """A tensor among the arguments."""

    text: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return self.text


def _differences(old: Call, new: Call) -> list[str]:
    """In how far ``new`` is not ``old``, the most telling first."""
    if len(old.arguments) != len(new.arguments):
        return [f"it has {len(new.arguments)} arguments, before {len(old.arguments)}"]
    found: list[str] = []
    for i, (a, b) in enumerate(zip(old.arguments, new.arguments, strict=True)):
        if a == b:
            continue
        if not isinstance(a, Seen) or not isinstance(b, Seen) or len(a.shape) != len(b.shape):
            found.append(f"argument {i} is {b}, before {a}")
            continue
        axes = [k for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n]
        if not axes:
            found.append(f"argument {i} is {b}, before {a}")
        found += [f"axis {k} of argument {i} is {b.shape[k]}, before {a.shape[k]}" for k in axes]
    if old.grad != new.grad:
        found.append("gradients are tracked now" if new.grad else "gradients are off now")
    return found or ["an argument needs a gradient or is given twice, unlike before"]
