"""Handle: the mutable thing a user holds; it points at an immutable Node."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import DType
from adjoint.base.shape import Shape, numel
from adjoint.ir.node import (
    NO_PARAMS,
    Hooks,
    Node,
    Op,
    Params,
    apply,
    constant,
    grad_mode,
    state,
)  # fmt: skip
from adjoint.ir.reverse import backward
from adjoint.ops.pointwise import cast
from adjoint.ops.rows import full, zeros_like
from adjoint.ops.structure import severed
from adjoint.runtime.device import Device
from adjoint.tensors.leaks import detect_leaks
from adjoint.tensors.mistakes import USES, Dropped, check_loss
from adjoint.tensors.regions import index_set, replaced

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


# One step by which a view was made: from which handle (held weakly), by which view op with which
# parameters; None for ``detach``, beyond which autograd does not see a change.
Origin = tuple["weakref.ref[Handle]", Op | None, Params]


class Handle:
    """What Tensor is made of: a node, a gradient, hooks, and the rules of assignment.

    A view remembers the handles it was made from (weakly: it keeps nothing alive), so that an
    in-place change of the view also changes them, as in PyTorch.
    """

    __slots__ = ("__weakref__", "_hooks", "_view", "grad", "node")

    node: Node
    grad: Tensor | None
    _view: tuple[Origin, ...]
    _hooks: Hooks | None

    @property
    def shape(self) -> Shape:
        """The sizes of the axes, a tuple."""
        return self.node.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.node.dtype

    @property
    def device(self) -> Device:
        """Where the value lives."""
        return self.node.device

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.node.shape)

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient can flow to or through this tensor."""
        return self.node.needs_grad

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    @property
    def is_leaf(self) -> bool:
        """True for tensors the user made; False for results of differentiable operations."""
        return not self.node.needs_grad or self.node.leaf is not None

    @property
    def grad_fn(self) -> Node | None:
        """The node that computed this tensor, or None for a leaf. Walk it by ``.op``, ``.args``,
        ``.params`` and ``.value``."""
        return None if self.is_leaf else self.node

    @property
    def data(self) -> Tensor:
        """The value without history. In-place changes of it change this tensor."""
        return self.detach()

    @data.setter
    def data(self, value: Handle) -> None:
        if not isinstance(value, Handle):
            raise errors.not_a_tensor("data", value)
        self._replace(value.node, "data")

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Make this leaf collect a gradient (or stop doing so). Raises GradError elsewhere."""
        node = self.node
        if requires_grad == node.needs_grad:
            return self  # type: ignore[return-value]
        if not self.is_leaf:
            raise errors.grad(
                "requires_grad_: only a leaf can be switched, this tensor was computed",
                hint="use .detach() for a copy without history",
            )
        if requires_grad and node.dtype.kind != "f":
            raise errors.wrong_dtype(
                "requires_grad_", node.dtype, "a float dtype", hint="convert first: x.float()"
            )
        if requires_grad:
            self._make_leaf(node)
        else:
            self.node = severed(node)
        return self  # type: ignore[return-value]

    def detach(self) -> Tensor:
        """The same value without history; shares in-place changes with this tensor."""
        out = wrap(severed(self.node))
        out._view = (*self._view, (weakref.ref(self), None, NO_PARAMS))
        return out

    def backward(
        self,
        gradient: Handle | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add d(self)/d(leaf) to ``.grad`` of every leaf (or of ``inputs``) that requires grad.

        gradient: the cotangent, of this tensor's shape; 1 by default, which needs one element.
        retain_graph: keep the graph for another call. create_graph: make the gradients
        differentiable. Raises GradError without a graph, or when it was already used.
        """
        run_backward([self], [gradient], retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHook:
        """Call ``hook(gradient)`` with the summed gradient; what it returns replaces it."""

        def on_node(ct: Node) -> Node | None:
            out = hook(wrap(ct))
            return None if out is None else out.node

        return self._add_hook("sums", on_node)

    def register_message_hook(self, hook: Callable[[Node, Tensor], Tensor | None]) -> RemovableHook:
        """Call ``hook(child, message)`` for each use of this tensor, before messages are summed."""

        def on_message(child: Node, ct: Node) -> Node | None:
            out = hook(child, wrap(ct))
            return None if out is None else out.node

        return self._add_hook("messages", on_message)

    def retain_grad(self) -> None:
        """Also keep ``.grad`` of this computed tensor."""
        if not self.node.needs_grad:
            raise errors.grad(
                f"retain_grad: {errors.describe(self.node)} does not require grad",
                hint="set requires_grad=True on what it is computed from",
            )
        if self.is_leaf:
            return
        me = weakref.ref(self)

        def keep(ct: Node) -> None:
            tensor = me()
            if tensor is not None:
                tensor.accumulate(ct)

        self._add_hook("sums", keep)

    def accumulate(self, ct: Node) -> None:
        """Add a gradient to ``.grad``."""
        if state.capture is not None:
            state.capture.grow(self)
        old = self.grad
        new = self.grad = wrap(ct) if old is None else wrap(old.node + ct)
        use = USES.get(id(self))
        if use is not None:
            use.added(None if old is None else old.node, new.node)

    def forget_gradient(self, set_to_none: bool = True) -> None:
        """Drop ``.grad``, or set it to zero."""
        if state.capture is not None:
            state.capture.clear(self)
        keep = False
        if self.grad is not None:
            keep = not set_to_none
            Dropped.owner, Dropped.serial = id(self), self.grad.node.serial
        if id(self) in USES:
            USES[id(self)].forget()
        self.grad = wrap(zeros_like(self.node)) if keep else None

    def assign(self, value: Node, op: str) -> Tensor:
        """Make this handle stand for ``value`` (same shape; cast to the same dtype).

        A leaf that requires grad can only be assigned under ``no_grad``. Values saved by earlier
        operations are immutable, so their gradients stay right.
        """
        node = self.node
        if value.shape != node.shape:
            raise errors.shape(
                op, "an in-place operation cannot change the shape", node, value,
                hint="make a new tensor instead: x = x + y rather than x += y or x.add_(y)",
            )  # fmt: skip
        if value.dtype is not node.dtype:
            value = _cast_back(op, value, node)
        self._check_writable(op)
        for at, (handle, _, _) in enumerate(self._view):
            source = handle()
            if source is not None:
                _write_through(source, self._view[at:], value, op)
        self._store(value, op)
        return self  # type: ignore[return-value]

    def _check_writable(self, op: str) -> None:
        if self.node.needs_grad and self.node.leaf is not None and state.grad:
            raise errors.inplace_leaf(op, self.node)

    def _store(self, value: Node, op: str) -> None:
        if not state.grad and _has_history(self.node):
            self._replace(value, op)
        else:
            self.node = value

    def _replace(self, value: Node, op: str) -> None:
        """Change the value unseen by autograd: later gradients use it, earlier graphs do not."""
        node = self.node
        if node.needs_grad and node.leaf is not None:
            if value.dtype.kind != "f":
                raise errors.wrong_dtype(
                    op, value.dtype, "a float dtype", hint="convert first: x.float()"
                )
            self._make_leaf(value)
        elif _has_history(node):
            with grad_mode(True):
                self.node = replaced(node, severed(value))
        else:
            self.node = severed(value)

    def _make_leaf(self, value: Node) -> None:
        node = severed(value)
        node.needs_grad = True
        node.leaf = weakref.ref(self)
        node.hooks = self._hooks
        self.node = node

    def _add_hook(self, kind: str, hook: Callable[..., Any]) -> RemovableHook:
        node = self.node
        if not node.needs_grad:
            raise errors.grad(
                f"register_hook: {errors.describe(node)} does not require grad, "
                "no gradient will reach it",
                hint="set requires_grad=True before computing with it",
            )
        if node.hooks is None:
            node.hooks = Hooks()
            if node.leaf is not None:
                self._hooks = node.hooks
        hooks: list[Callable[..., Any]] = getattr(node.hooks, kind)
        hooks.append(hook)
        return RemovableHook(hooks, hook)


class RemovableHook:
    """What a register call returns: ``remove()`` takes the hook away again."""

    def __init__(self, hooks: list[Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        self._hook = hook

    def remove(self) -> None:
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)

    def __enter__(self) -> RemovableHook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


_new = object.__new__
_tensor_class: list[type[Any]] = []  # filled once by tensor.py, which stands on this file


def wrap(node: Node) -> Tensor:
    """A Tensor for ``node``."""
    out = _new(_tensor_class[0])
    out.node = node
    out.grad = out._hooks = None
    out._view = ()
    return out


def view(x: Handle, op: Op, **params: Any) -> Tensor:
    """A Tensor for a view op on ``x`` that remembers where it came from."""
    out = wrap(apply(op, (x.node,), params))
    out._view = (*x._view, (weakref.ref(x), op, params))
    return out


def node_of(value: Any, op: str, like: Node | None = None) -> Node:
    """The node of a tensor, or of a Python or NumPy number (weakly typed against ``like``)."""
    if isinstance(value, Handle):
        return value.node
    from adjoint.tensors.creation import scalar_node

    return scalar_node(value, op, like)


def run_backward(
    tensors: list[Any],
    gradients: list[Any],
    retain_graph: bool | None,
    create_graph: bool,
    inputs: Any,
) -> None:
    """``torch.autograd.backward``: accumulate into the leaves."""
    seeds = [seed_of(t, g) for t, g in zip(tensors, gradients, strict=True)]
    release = not (create_graph if retain_graph is None else retain_graph)
    wanted = None
    handles: Any = ()
    if inputs is not None:
        handles = [inputs] if isinstance(inputs, Handle) else inputs
        if not isinstance(handles, (list, tuple)) or not all(
            isinstance(h, Handle) for h in handles
        ):
            raise errors.bad_argument("backward", "inputs", inputs, "a list of tensors")
        wanted = [within(h.node) for h in handles]
    for t in tensors:
        check_loss(t.node)
    with grad_mode(create_graph):
        found = backward([t.node for t in tensors], seeds, wanted, release)
        for node, ct in found.items():
            handle = node.leaf() if node.leaf is not None else None
            if handle is not None:
                handle.accumulate(ct)
            elif wanted is not None:
                handles[wanted.index(node)].accumulate(ct)
    after_backward()


def within(node: Node) -> Node:
    """``node``, or inside a capture the input that stands for it."""
    return node if state.capture is None else state.capture.lift(node)


def after_backward() -> None:
    """Tell whoever watches that a backward pass is over."""
    if isinstance(state.watch, detect_leaks):
        state.watch.after_backward()


def seed_of(tensor: Handle, gradient: Any) -> Node:
    """The cotangent that backward starts from: ``gradient``, or 1 for one element."""
    node = tensor.node
    if not node.needs_grad:
        raise errors.no_graph(node)
    if gradient is None:
        if numel(node.shape) != 1:
            raise errors.seed_needed(node)
        return full(1, node.shape, node.dtype)
    seed = node_of(gradient, "backward", node)
    if seed.shape != node.shape:
        raise errors.shape("backward", "gradient= must have the shape of the tensor", seed, node,
            hint=f"pass a tensor of shape {errors.dims(node.shape)}",
        )  # fmt: skip
    return seed if seed.dtype is node.dtype else cast(seed, dtype=node.dtype)


def _has_history(node: Node) -> bool:
    """Whether a gradient may pass through ``node``; of a recorded one, only later runs know."""
    return node.needs_grad or (node.device.holds_values and node.is_abstract)


def _cast_back(op: str, value: Node, node: Node) -> Node:
    order = "bui f"
    if order.index(value.dtype.kind) > order.index(node.dtype.kind) and node.dtype.kind != "f":
        lossless = node.dtype.kind == "i" and value.dtype.kind == "i"
        if not lossless and value.dtype.kind == "f":
            raise errors.wrong_dtype(
                op, value.dtype, f"a result that fits into {node.dtype.name}",
                hint=f"convert first, x = x.to(adjoint.{value.dtype.name}), or drop the underscore",
            )  # fmt: skip
    return cast(value, dtype=node.dtype)


def _write_through(source: Handle, path: tuple[Origin, ...], value: Node, op: str) -> None:
    """Set the elements of ``source`` that a changed view of it shows."""
    hidden = any(step is None for _, step, _ in path)
    if not hidden:
        source._check_writable(op)
    places = np.arange(numel(source.shape), dtype=np.int64).reshape(source.shape)
    for _, step, params in path:
        if step is not None:
            places = step.ref(places, **params)
    if any(s == 0 and n > 1 for s, n in zip(places.strides, places.shape, strict=True)):
        raise errors.shape(
            op, "an expanded view shows one element several times, it cannot be changed", value,
            hint="use .clone() first",
        )  # fmt: skip
    base = severed(source.node) if hidden else source.node
    changed = index_set(base, constant(places.reshape(-1)), value)
    if hidden:
        source._replace(changed, op)
    else:
        source._store(changed, op)
