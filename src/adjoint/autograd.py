"""``adjoint.autograd``: derivatives of results already computed, and user-written Functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint.base import errors
from adjoint.ir.graph import Graph
from adjoint.ir.node import grad_mode
from adjoint.ir.reverse import backward as reverse
from adjoint.ops.rows import zeros_like
from adjoint.tensors.anomaly import detect_anomaly
from adjoint.tensors.creation import as_tensor
from adjoint.tensors.function import Context, Function
from adjoint.tensors.handle import Handle, after_backward, run_backward, seed_of, within, wrap
from adjoint.tensors.leaks import GraphLeakWarning, detect_leaks


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of (the sum of) ``outputs`` with respect to ``inputs``; ``.grad`` stays as is.

    Raises GradError for an input that does not take part, unless ``allow_unused`` (then None) or
    ``materialize_grads`` (then zeros).
    """
    outs = [outputs] if isinstance(outputs, Handle) else list(outputs)
    wanted = [inputs] if isinstance(inputs, Handle) else list(inputs)
    given = [grad_outputs] if isinstance(grad_outputs, Handle) else grad_outputs
    seeds = [seed_of(o, g) for o, g in zip(outs, given or [None] * len(outs), strict=True)]
    for i, tensor in enumerate(wanted):
        if not tensor.requires_grad:
            raise errors.grad(
                f"grad: input {i} does not require grad: {errors.describe(tensor)}",
                hint="set requires_grad=True on it before computing with it",
            )
    release = not (create_graph if retain_graph is None else retain_graph)
    with grad_mode(create_graph):
        nodes = [within(w.node) for w in wanted]
        found = reverse([o.node for o in outs], seeds, nodes, release)
    after_backward()
    grads = [found.get(n) for n in nodes]
    if None in grads and not (allow_unused or materialize_grads):
        raise errors.grad(
            f"grad: input {grads.index(None)} was not used to compute the outputs",
            hint="allow_unused=True gives None for it",
        )
    return tuple(
        wrap(zeros_like(w.node)) if g is None and materialize_grads else g and wrap(g)
        for g, w in zip(grads, wanted, strict=True)
    )


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, inputs: Any = None,
) -> None:  # fmt: skip
    """Add the gradients of ``tensors`` to ``.grad`` of the leaves they were computed from."""
    items = [tensors] if isinstance(tensors, Handle) else list(tensors)
    given = [grad_tensors] if isinstance(grad_tensors, Handle) else grad_tensors
    run_backward(items, list(given or [None] * len(items)), retain_graph, create_graph, inputs)


def Variable(data: Any, requires_grad: bool = False) -> Any:
    """A tensor with the values of ``data`` and no history: what PyTorch had before tensors could
    require grad."""
    return as_tensor(data).detach().requires_grad_(requires_grad)


def graph(outputs: Handle | Sequence[Handle], name: str = "graph") -> Graph:
    """The computation that led to ``outputs``: a Graph whose inputs are the leaves.

    Only what needs a gradient is remembered; all else appears as a constant. ``str(graph)`` prints
    it, ``graph.nodes`` lists the nodes in order, and ``interpret(graph, leaves)`` runs it again.
    """
    outs = [outputs] if isinstance(outputs, Handle) else list(outputs)
    whole = Graph([], [o.node for o in outs], name=name, through_values=True)
    leaves = [n for n in whole.constants if n.needs_grad]
    return Graph(leaves, [o.node for o in outs], name=name, through_values=True)


__all__ = [
    "Context", "Function", "GraphLeakWarning", "Variable", "backward", "detect_anomaly",
    "detect_leaks", "grad", "graph",
]  # fmt: skip
