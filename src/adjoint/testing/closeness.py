"""assert_close: equality of tensors up to a tolerance that fits their dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import OF_NUMPY, DType
from adjoint.ir.node import Array
from adjoint.tensors.handle import Handle

# Relative and absolute tolerance, PyTorch's.
_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_dtype: bool = True,
    msg: str | None = None,
) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol |expected| everywhere.

    Takes tensors, NumPy arrays, anything with ``__array__``, numbers, and lists, tuples and dicts
    of these. Without ``rtol`` and ``atol`` the dtype decides as in ``torch.testing.assert_close``:
    1e-3, 1e-5 (float16); 1.6e-2, 1e-5 (bfloat16); 1.3e-6, 1e-5 (float32); 1e-7, 1e-7 (float64);
    integers and bools must be equal. The message names the worst element. Raises ArgumentError
    when only one of the two tolerances is given.
    """
    if (rtol is None) != (atol is None):
        raise errors.argument(
            "assert_close", "give both rtol and atol, or neither", hint="the other may be 0"
        )
    _compare(actual, expected, "", _Rules(rtol, atol, equal_nan, check_dtype, msg))


class _Rules(NamedTuple):
    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_dtype: bool
    msg: str | None


def _compare(actual: Any, expected: Any, where: str, rules: _Rules) -> None:
    pairs: list[tuple[Any, Any, str]]
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if actual.keys() != expected.keys():
            _fail(where, [f"keys differ: {sorted(actual)} and {sorted(expected)}"], rules.msg)
        pairs = [(actual[k], expected[k], f"{where}[{k!r}]") for k in expected]
    elif _is_list(expected) and _is_list(actual):
        if len(actual) != len(expected):
            _fail(where, [f"lengths differ: {len(actual)} and {len(expected)}"], rules.msg)
        both = zip(actual, expected, strict=True)
        pairs = [(a, e, f"{where}[{i}]") for i, (a, e) in enumerate(both)]
    else:
        _compare_arrays(actual, expected, where, rules)
        return
    for a, e, place in pairs:
        _compare(a, e, place, rules)


def _compare_arrays(actual: Any, expected: Any, where: str, rules: _Rules) -> None:
    a, e = _array(actual), _array(expected)
    if a.shape != e.shape:
        _fail(
            where, [f"shapes differ: {errors.dims(a.shape)} and {errors.dims(e.shape)}"], rules.msg
        )
    first, second = _dtype(a), _dtype(e)
    numbers = not hasattr(actual, "dtype") or not hasattr(expected, "dtype")
    if rules.check_dtype and first is not second and not numbers:
        _fail(where, [f"dtypes differ: {first.name} and {second.name}"], rules.msg)
    defaults = [_TOLERANCES.get(d.name, (0.0, 0.0)) for d in (first, second)]
    rtol = rules.rtol if rules.rtol is not None else max(d[0] for d in defaults)
    atol = rules.atol if rules.atol is not None else max(d[1] for d in defaults)
    if "f" not in (first.kind, second.kind) and rtol == atol == 0.0:
        close = np.asarray(a == e)
        difference = close.astype(np.float64) if first.kind == "b" else _distance(a, e)
    else:
        wide, other = a.astype(np.float64), e.astype(np.float64)
        difference = _distance(wide, other)
        with np.errstate(invalid="ignore"):
            close = (difference <= atol + rtol * np.abs(other)) & np.isfinite(other)
        close |= wide == other
        if rules.equal_nan:
            close |= np.isnan(wide) & np.isnan(other)
    if not close.all():
        _fail(where, _describe(a, e, close, difference, rtol, atol), rules.msg)


def _describe(
    a: Array, e: Array, close: Array, difference: Array, rtol: float, atol: float
) -> list[str]:
    wrong = ~close
    badness = np.where(wrong, np.where(np.isnan(difference), np.inf, difference), -1.0)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(badness)), badness.shape))
    return [
        f"{int(wrong.sum())} of {close.size} elements differ (rtol {rtol:g}, atol {atol:g})",
        f"worst at {at}: {a[at].item()!r}, expected {e[at].item()!r}",
    ]


def _distance(a: Array, e: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(a.astype(np.float64) - e.astype(np.float64))


def _array(value: Any) -> Array:
    if isinstance(value, Handle):
        return value.node.array("assert_close")
    return np.asarray(value)


def _dtype(array: Array) -> DType:
    found = OF_NUMPY.get(array.dtype)
    if found is None:
        raise errors.unknown_dtype(array.dtype, [d.name for d in OF_NUMPY.values()])
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _fail(where: str, lines: Sequence[str], msg: str | None) -> None:
    headline = "assert_close: " + (f"at {where}: " if where else "") + lines[0]
    text = "\n".join([headline, *(f"    {line}" for line in lines[1:])])
    raise AssertionError(text if msg is None else f"{msg}\n{text}")
