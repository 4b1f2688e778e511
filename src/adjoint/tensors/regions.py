"""Named regions: how they are declared, and those that assignment needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint.base.dtype import DType, bool_, int64
from adjoint.ir.node import Array, Node, Op, Params, Type
from adjoint.ops.index import gather, scatter_add
from adjoint.ops.movement import concat, narrow, reshape
from adjoint.ops.pointwise import cast, eq, lt, where
from adjoint.ops.reduce import argsort
from adjoint.ops.rows import Vjp, batch_all, full, zeros_like
from adjoint.ops.structure import Region, call
from adjoint.runtime.device import CPU

REGIONS: dict[str, Region] = {}


def region(name: str, body: Callable[..., Sequence[Node]] | None = None, **rules: Any) -> Region:
    """A Region entered in the list that the tests enumerate."""
    assert name not in REGIONS, f"two regions are called {name}"
    made = Region(name, body, **rules)
    REGIONS[name] = made
    return made


def or_template(
    kernel: Callable[..., Any], find: Callable[[], Region], work: Callable[..., int], least: int,
    patience: int = 2,
) -> Callable[..., Any]:  # fmt: skip
    """``kernel``, or the compiled template of the region that ``find`` gives where
    ``work(*arrays, **static)`` is at least ``least``. patience: see ``compile.eager_whole``."""

    def run(*arrays: Any, **static: Any) -> Any:
        fast = CPU.kernels.get("whole")
        if fast is not None and work(*arrays, **static) >= least:
            found = fast(call, arrays, {"region": find(), **static}, patience)
            if found is not None:
                return found
        return kernel(*arrays, **static)

    return run


def pointwise(
    name: str,
    kernel: Callable[..., Array],
    body: Callable[..., Sequence[Node]] | None = None,
    vjp: Vjp | None = None,
    result: DType | None = None,
) -> Region:
    """A region of one result, element by element, of the type of its first argument (or of the
    dtype ``result``)."""

    def infer(*args: Node, **static: Any) -> Type:
        return Type(args[0].shape, result or args[0].dtype)

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        return batch_all(call, size, batched, args, {**static, "region": made})

    made = region(name, body, kernel=kernel, infer=infer, vjp=vjp, vmap=vmap)
    return made


def _set_kernel(x: Array, index: Array, values: Array) -> Array:
    out = np.array(x).reshape(-1)
    out[index] = values.reshape(-1)
    return out.reshape(x.shape)


def _set_body(x: Node, index: Node, values: Node) -> Sequence[Node]:
    """Later entries win: only the last write to each place is added into a zeroed copy."""
    flat = reshape(x, shape=(_size(x),))
    updates = reshape(values, shape=index.shape)
    ones = full(1, index.shape, int64)
    touched = lt(
        full(0, flat.shape, int64), scatter_add(full(0, flat.shape, int64), index, ones, batch=0)
    )
    kept = where(last_write(index), updates, zeros_like(updates))
    written = scatter_add(zeros_like(flat), index, kept, batch=0)
    return [reshape(where(touched, written, flat), shape=x.shape)]


def last_write(index: Node) -> Node:
    """For each entry of a 1-D ``index`` of int64, whether no later entry names the same place."""
    count = index.shape[0]
    if count == 0:
        return cast(index, dtype=bool_)
    ranked = argsort(index, axis=0)
    ordered = gather(index, ranked, batch=0)
    following = concat(narrow(ordered, 0, 1, count - 1), full(-1, (1,), int64), axis=0)
    repeated = cast(eq(ordered, following), dtype=int64)
    kept = scatter_add(full(0, (count,), int64), ranked, repeated, batch=0)
    return eq(kept, full(0, (count,), int64))


def _size(x: Node) -> int:
    return int(np.prod(x.shape, dtype=np.int64))


index_set = region(
    "index_set", _set_body, kernel=_set_kernel,
    infer=lambda x, index, values: Type(x.shape, x.dtype),
)  # fmt: skip
"""x with x.reshape(-1)[index] = values; ``index`` 1-D int64 of flat places, later entries win."""

replaced = pointwise(
    "replaced",
    kernel=lambda old, new: new,
    body=lambda old, new: [new],
    vjp=lambda ct, out, wanted, args, static: (ct, None),
)
"""The value ``new``, with the history of ``old``: what a change under ``no_grad`` means."""
