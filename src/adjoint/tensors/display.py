"""How a tensor prints: NumPy's numbers, with dtype, shape and history where they matter."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import bool_, float32, int64


def tensor_repr(x: Any) -> str:
    """``tensor([1., 2.], dtype=float64, requires_grad=True)``; a summary line when large."""
    node = x.node
    notes: list[str] = []
    if node.is_abstract:
        place = "meta" if str(node.device) == "meta" else "recording"
        return f"tensor(..., shape={errors.dims(node.shape)}, dtype={node.dtype.name}, {place})"
    value = node.array("repr")
    if node.dtype not in (float32, int64, bool_) or value.size == 0:
        notes.append(f"dtype={node.dtype.name}")
    if value.size == 0 and node.shape != (0,):
        notes.append(f"shape={errors.dims(node.shape)}")
    if value.size > 1000:
        notes.append(f"shape={errors.dims(node.shape)}")
        notes.extend(_summary(value))
    if node.needs_grad:
        made = node.params.get("region") or node.op
        notes.append("requires_grad=True" if x.is_leaf else f"grad_fn=<{made.name}>")
    shown = value.astype(np.float32) if value.dtype.kind == "V" else value
    text = np.array2string(shown, separator=", ", prefix="tensor(", threshold=1000, precision=4)
    return f"tensor({', '.join([text, *notes])})"


def _summary(value: Any) -> list[str]:
    if value.dtype.kind not in "fV":
        return []
    wide = value.astype(np.float64)
    bad = int((~np.isfinite(wide)).sum())
    finite = wide[np.isfinite(wide)]
    if finite.size == 0:
        return [f"nonfinite={bad}"]
    notes = [f"min={finite.min():.4g}", f"mean={finite.mean():.4g}", f"max={finite.max():.4g}"]
    return [*notes, f"nonfinite={bad}"] if bad else notes
