"""Elementary functions of float and double, from multiply-adds, selects and the bits of numbers.

No C library is called, so every backend gets the same functions.
"""

from __future__ import annotations

from collections.abc import Callable

from adjoint.compile import circular
from adjoint.compile import mathematics_double as double
from adjoint.compile import mathematics_single as single
from adjoint.compile.code import Function, Value
from adjoint.compile.floats import sqrt

Unary = Callable[[Function, Value], Value]


def by_width(narrow: Unary, wide: Unary) -> Unary:
    """A function of floats and doubles from one for each."""

    def write(f: Function, x: Value) -> Value:
        return narrow(f, x) if x.kind.element == "float" else wide(f, x)

    return write


FUNCTIONS: dict[str, Unary] = {
    "exp": by_width(single.exp, double.exp),
    "log": by_width(single.log, double.log),
    "sin": circular.sine,
    "cos": circular.cosine,
    "sqrt": sqrt,
    "tanh": by_width(single.tanh, double.tanh),
    "erf": by_width(single.erf, double.erf),
    "atan": by_width(single.atan, double.atan),
}
"""By the name of a row."""
