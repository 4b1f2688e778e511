"""Regions of this package: what NumPy runs eagerly equals the composition of ops it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjoint.base.dtype import as_dtype
from adjoint.ir.graph import record
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Type, constant
from adjoint.ops.structure import Region
from adjoint.tensors.functional import activation, likelihood, loss, softmax, windows
from adjoint.tensors.functional.windows import Frame

RNG = np.random.default_rng(0)
X = np.round(RNG.normal(size=(3, 4, 6, 5)) * 3, 1)  # rounded: ties
ROWS, CLASSES = RNG.normal(size=(5, 4)) * 3, np.array([0, 3, -100, 1, 2])
FRAMES = [
    Frame((2, 2), (2, 2), ((0, 0), (0, -1)), (1, 1)),
    Frame((3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2)),
    Frame((2, 3), (3, 2), ((1, 1), (1, 1)), (1, 1)),
]


def cases() -> dict[str, list[tuple[list[np.ndarray], dict[str, Any]]]]:
    ct = RNG.normal(size=X.shape)
    found: dict[str, list[tuple[list[np.ndarray], dict[str, Any]]]] = {
        "leaky_relu": [([X], {"slope": 0.2})],
        "threshold": [([X], {"limit": 0.5, "value": -1.0})],
        "step": [([X], {"at_zero": 0.5, "passes": False})],
        "hardtanh": [([X], {"low": -1.0, "high": 2.0})],
        "elu": [([X], {"alpha": 0.7, "scale": 1.1, "rate": 0.8})],
        "softplus": [([X], {"beta": 2.0, "limit": 5.0})],
        "softmax": [([X], {"axis": a}) for a in (0, 3)],
        "log_softmax": [([X], {"axis": a}) for a in (0, 3)],
        "softmax_gradient": [([ct, X], {"axis": 1})],
        "log_softmax_gradient": [([ct, -np.abs(X)], {"axis": 1})],
        "logsumexp": [([X], {"axes": (1,)}), ([X], {"axes": (0, 2, 3)})],
        "binary_cross_entropy": [([np.abs(np.sin(X)), np.abs(np.cos(X))], {})],
        "binary_cross_entropy_with_logits": [([X, np.abs(np.cos(X))], {})],
    }
    for reduction in ("none", "mean", "sum"):
        static = {"ignore": -100, "reduction": reduction}
        ct = RNG.normal(size=5) if reduction == "none" else np.asarray(0.7)
        found.setdefault("cross_entropy", []).append(([ROWS, CLASSES], static))
        found.setdefault("cross_entropy_slope", []).append(([ct, ROWS, CLASSES], static))
    for frame in FRAMES:
        out = np.asarray(windows.window_max.kernel(X, frame=frame))  # type: ignore[misc]
        ct, static = RNG.normal(size=out.shape), {"frame": frame}
        found.setdefault("window_max", []).append(([X], static))
        found.setdefault("window_sum", []).append(([X], static))
        found.setdefault("to_first_max", []).append(([ct, X, out], static))
        found.setdefault("from_first_max", []).append(([np.cos(X), X, out], static))
        found.setdefault("place_of_max", []).append(([X, out], static))
        found.setdefault("window_spread", []).append(([ct], {"frame": frame, "sizes": (6, 5)}))
    return found


IMPORTED = {"abs", "sign", "sigmoid", "expm1", "log1p"}
REGIONS = {
    value.name: value
    for module in (activation, softmax, loss, likelihood, windows)
    for value in vars(module).values()
    if isinstance(value, Region) and value.name not in IMPORTED
}


@pytest.mark.feature("T6")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(REGIONS))
def test_kernel_and_body_agree(name: str, dtype: str) -> None:
    region = REGIONS[name]
    for arrays, static in cases().get(name, [([X], {})]):
        given = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
        types = [Type(a.shape, as_dtype(a.dtype)) for a in given]
        with np.errstate(all="ignore"):
            assert region.kernel is not None
            kernel = np.asarray(region.kernel(*given, **static))
            graph = record(lambda *n: region.body(*n, **static), types)  # type: ignore[misc]  # noqa: B023
            body = interpret(graph, [constant(a) for a in given])[0].array()
        assert kernel.shape == body.shape and kernel.dtype == body.dtype
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(kernel, body, rtol=tolerance, atol=tolerance)
