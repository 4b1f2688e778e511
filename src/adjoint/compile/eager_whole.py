"""Ops and regions computed at once by their templates, on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from adjoint.base.dtype import OF_NUMPY
from adjoint.base.shape import Shape
from adjoint.compile.eager import Sequel
from adjoint.compile.fuse import fuse, prepare
from adjoint.compile.kernel import Kernel
from adjoint.compile.lower import buffer, name_of, template_of
from adjoint.ir.node import Array, Node, Op, Type, abstract

Types = tuple[tuple[Shape, np.dtype[Any]], ...]
Key = tuple[Op, Types, tuple[tuple[str, Any], ...]]


class Ready(NamedTuple):
    """Kernels for one case, and the arrays that they write."""

    kernels: Sequel
    results: tuple[Type, ...]


def whole(op: Op, arrays: Sequence[Array], params: dict[str, Any], patience: int = 0) -> Any:
    """The result (or the tuple of results) of ``op`` on ``arrays``; None where there is no template
    for the case, and the first ``patience`` times: shapes that seldom come back are not worth
    compiling. Patience is for ops whose bits are the same in NumPy.
    """
    key = (op, tuple([(a.shape, a.dtype) for a in arrays]), tuple(sorted(params.items())))
    if patience and _is_new(key, patience):
        return None
    ready = _ready(*key)
    if ready is None:
        return None
    outs = [np.empty(shape, dtype.numpy) for shape, dtype in ready.results]
    ready.kernels([*(np.ascontiguousarray(a) for a in arrays), *outs])
    return outs[0] if len(outs) == 1 else tuple(outs)


_SEEN: dict[Key, int] = {}
MOST_SEEN = 4096  # shapes that are counted before all are forgotten


def _is_new(key: Key, patience: int) -> bool:
    """Whether this is among the first ``patience`` times; it is counted."""
    times = _SEEN.get(key, 0)
    if times >= patience:
        return False
    if len(_SEEN) >= MOST_SEEN:
        _SEEN.clear()
    _SEEN[key] = times + 1
    return True


@lru_cache(1024)
def _ready(op: Op, types: Types, params: tuple[tuple[str, Any], ...]) -> Ready | None:
    given = dict(params)
    args = tuple(abstract(Type(shape, OF_NUMPY[kind])) for shape, kind in types)
    inferred = op.infer(*args, **given)
    parts: tuple[Type, ...] = (inferred,) if isinstance(inferred, Type) else tuple(inferred)
    node = Node(op, args, given, parts[0].shape, parts[0].dtype, None, False)
    node.parts = None if isinstance(inferred, Type) else parts
    node.stop, node.site = True, None
    results = (node,) if node.parts is None else tuple(buffer(t.shape, t.dtype) for t in parts)
    rule = template_of(name_of(node))
    if rule is None:
        return _from_body(node, args, parts)
    kernels = rule(node, results)
    return None if kernels is None else Ready(Sequel(kernels, (*args, *results)), parts)


def _from_body(node: Node, args: tuple[Node, ...], parts: tuple[Type, ...]) -> Ready | None:
    """The kernels of what a region stands for; None where a part of it is left to NumPy."""
    region = node.params.get("region")
    if region is None or region.body is None:
        return None
    static = {k: v for k, v in node.params.items() if k != "region"}
    graph = prepare(region.graph([Type(a.shape, a.dtype) for a in args], static))
    found = fuse(graph)
    kernels = [s for s in found.steps if isinstance(s, Kernel)]
    written = {place.node for kernel in kernels for place in kernel.writes}
    whole = len(kernels) == len(found.steps) and set(found.outputs) <= written
    plain = all(k.after is None for k in kernels) and len(set(found.outputs)) == len(parts)
    read = {place.node for kernel in kernels for place in kernel.reads}
    if not whole or not plain or any(node.value is not None for node in read):
        return None
    return Ready(Sequel(kernels, (*graph.inputs, *found.outputs)), parts)
