"""Finding the first infinity or NaN: which op made it, where, and from what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.ir.node import Array, Node, Op, Params, state


class detect_anomaly:
    """Inside ``with detect_anomaly():`` the first op that makes an infinity or a NaN from finite
    numbers raises NonFiniteError, with the user's line, the op and the range of its arguments.

    In a backward pass the forward op and its line are named. Every value is looked at, so this is
    slow: for debugging. Values that were not finite to begin with are passed over. Functions under
    ``jit`` run op by op inside, so that their ops and lines are found, too.
    """

    def __init__(self) -> None:
        self._before: Callable[..., None] | None = None
        self._plain: Any = None

    def __enter__(self) -> detect_anomaly:
        from adjoint.tensors.jit import no_jit

        self._before = state.watch
        state.watch = self
        self._plain = no_jit()
        self._plain.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._plain.__exit__()
        state.watch = self._before

    def __call__(self, node: Node, op: Op, args: tuple[Node, ...], params: Params) -> None:
        """Look at a node that was just computed."""
        node.site = errors.site()
        values = node.value if isinstance(node.value, tuple) else (node.value,)
        for value in values:
            if _is_float(value) and not _finite(value):
                given = [_compact(a) for a in args]
                if all(_finite(g) for g in given if _is_float(g)):
                    name = repr(params["region"]) if "region" in params else op.name
                    shown = [f"argument {i}: {_range(g)}" for i, g in enumerate(given)]
                    raise errors.nonfinite(name, node, _count(value), shown)


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fV"


def _finite(value: Array) -> bool:
    return bool(np.isfinite(value).all())


def _compact(node: Node) -> Any:
    """The value, or the small one under a lazy broadcast."""
    return node.args[0].value if node.value is None and node.args else node.value


def _count(value: Array) -> str:
    kinds = {"nan": np.isnan(value), "inf": np.isinf(value)}
    found = [f"{int(k.sum())} {name}" for name, k in kinds.items() if k.any()]
    return f"{' and '.join(found)} in {value.size} elements"


def _range(value: Any) -> str:
    if not isinstance(value, np.ndarray) or value.size == 0:
        return errors.describe(value)
    shown = f"{errors.describe(value)}"
    if value.dtype.kind not in "fV":
        return shown
    wide = value.astype(np.float64)
    return f"{shown} from {wide.min():.4g} to {wide.max():.4g}"
