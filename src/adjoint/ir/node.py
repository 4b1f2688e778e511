"""Op, Node and the one way an op is applied: compute now, or record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy._core import umath

from adjoint.base import callsite, errors
from adjoint.base.config import FLAGS
from adjoint.base.dtype import OF_NUMPY, DType
from adjoint.base.shape import Shape, numel
from adjoint.runtime.device import CPU, META, Device

Array = np.ndarray[Any, np.dtype[Any]]
Value = Array | tuple[Array, ...]
Params = dict[str, Any]


class Type(NamedTuple):
    """What is known of a value before it exists."""

    shape: Shape
    dtype: DType


class Op:
    """One row of the op table: a name and four rules.

    infer(*args, **params) -> Type (or a tuple of Types: the op has several results)
    ref(*arrays, **params) -> array: the meaning, in NumPy
    vjp(ct, out, wanted, args, params) -> one node or None per argument
    vmap(op, size, batched, args, params) -> node, with the batch as axis 0 of its result
    kind: source, pointwise, view, index, reduce, contract or structure.
    ``lazy`` ops (broadcast) make their value only when someone reads it.
    ``quiet`` ops can meet overflow or division by zero, which is not an error here.
    """

    __slots__ = ("infer", "kind", "lazy", "name", "quiet", "ref", "vjp", "vmap")

    def __init__(
        self,
        name: str,
        kind: str,
        infer: Callable[..., Any],
        ref: Callable[..., Any],
        vjp: Callable[..., Any],
        vmap: Callable[..., Any],
        lazy: bool = False,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.infer = infer
        self.ref = ref
        self.vjp = vjp
        self.vmap = vmap
        self.lazy = lazy
        self.quiet = quiet

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __call__(self, *args: Node, **params: Any) -> Node:
        return apply(self, args, params)


class Leaf(Protocol):
    """What owns a leaf node and receives its gradient (a Tensor, one floor up)."""

    def accumulate(self, ct: Node) -> None: ...


class Hooks:
    """Functions that see gradients pass through a node: each message, and their sum."""

    __slots__ = ("messages", "sums")

    def __init__(self) -> None:
        self.messages: list[Callable[[Node, Node], Node | None]] = []
        self.sums: list[Callable[[Node], Node | None]] = []


class Node:
    """One value of a program: immutable; has a value (eager) or none (being recorded).

    op, args, params: how it is computed; ``args`` is empty when nothing upstream needs a gradient,
    and None once backward has released the graph. shape, dtype, device: its type; an op with
    several results has ``parts``, one Type each, and a tuple as value. serial: creation order,
    so that arguments always have smaller serials. leaf: the handle that takes the gradient.
    stop: recorded where gradients were switched off. site: the user's line (while recording).
    """

    __slots__ = (
        "__weakref__", "args", "device", "dtype", "hooks", "leaf", "needs_grad", "op", "params",
        "parts", "serial", "shape", "site", "stop", "value",
    )  # fmt: skip

    op: Op | None
    args: tuple[Node, ...] | None
    params: Params
    shape: Shape
    dtype: DType
    device: Device
    value: Any
    needs_grad: bool
    serial: int
    hooks: Hooks | None
    leaf: Any
    parts: tuple[Type, ...] | None
    stop: bool
    site: str | None

    def __init__(
        self, op: Op | None, args: tuple[Node, ...], params: Params, shape: Shape, dtype: DType,
        value: Any, needs_grad: bool,
    ) -> None:  # fmt: skip
        self.op = op
        self.args = args
        self.params = params
        self.shape = shape
        self.dtype = dtype
        self.device = CPU
        self.value = value
        self.needs_grad = needs_grad
        self.serial = next_serial()
        self.hooks = None
        self.leaf = None
        self.parts = None

    if TYPE_CHECKING:  # installed by ops/pointwise.py, so that rules read as mathematics

        def __add__(self, other: Node | float) -> Node: ...
        def __radd__(self, other: float) -> Node: ...
        def __sub__(self, other: Node | float) -> Node: ...
        def __rsub__(self, other: float) -> Node: ...
        def __mul__(self, other: Node | float) -> Node: ...
        def __rmul__(self, other: float) -> Node: ...
        def __truediv__(self, other: Node | float) -> Node: ...
        def __rtruediv__(self, other: float) -> Node: ...
        def __neg__(self) -> Node: ...

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_abstract(self) -> bool:
        """Whether the value is unknown (the node is being recorded, or lives on ``meta``) or must
        not be looked at, because a capture is going on that the value comes from outside of."""
        if self.value is None and force(self) is None:
            return True
        return state.capture is not None and state.capture.owns(self)

    def array(self, what: str = "value") -> Array:
        """The value; raises RecordingError when there is none."""
        value = self.value
        if value is None:
            value = force(self)
        if value is None or (state.capture is not None and state.capture.owns(self)):
            raise no_value(what, self)
        return value

    def late(self) -> Any:
        """The value of a node that was put off until someone asks (see tensors/lazy.py)."""
        return None

    def __repr__(self) -> str:
        name = self.op.name if self.op else "leaf"
        return f"<{name} {errors.describe(self)}>"


class State(threading.local):
    """Per-thread switches: whether gradients are tracked, what is being recorded, where random
    keys come from inside ``vmap``, who is shown every node computed, the capture that records
    everything, and who applies ops instead (a capture, or ``lazy``)."""

    grad: bool = True
    recording: int = 0
    random: tuple[Callable[[], Node], ...] = ()
    watch: Callable[[Node, Op, tuple[Node, ...], Params], None] | None = None
    capture: Any = None
    divert: Callable[[Op, tuple[Node, ...], Params], Node] | None = None


state = State()
next_serial = count().__next__
NO_PARAMS: Params = {}
# What ``np.errstate(all="ignore")`` does, at a quarter of its microsecond per use.
_error_state = umath._extobj_contextvar  # pyright: ignore
_IGNORE_ALL = umath._make_extobj(all="ignore")  # pyright: ignore


@contextmanager
def grad_mode(on: bool) -> Generator[None]:
    """Track gradients (or not) inside the block."""
    before, state.grad = state.grad, on
    try:
        yield
    finally:
        state.grad = before


def constant(value: Array, device: Device = CPU) -> Node:
    """A node that simply has ``value``."""
    node = Node(None, (), NO_PARAMS, value.shape, OF_NUMPY[value.dtype], value, False)
    node.device = device
    return node


def abstract(of: Type, device: Device = CPU) -> Node:
    """A node without a value: an input of a recording, or a shape on the meta device."""
    node = Node(None, (), NO_PARAMS, of.shape, of.dtype, None, False)
    node.device = device
    node.stop, node.site = not state.grad, None
    return node


def alias(node: Node) -> Node:
    """A fresh leaf with the value of ``node``: the same number seen as a new variable."""
    if not node.is_abstract:
        return constant(node.array(), node.device)
    return abstract(Type(node.shape, node.dtype), node.device)


def apply(op: Op, args: tuple[Node, ...], params: Params) -> Node:
    """The node of ``op`` on ``args``: computed at once if every argument has a value.

    NumPy broadcasts by itself, so a pointwise op reads the small value under a lazy broadcast.
    """
    if state.divert is not None:
        return state.divert(op, args, params)
    values: list[Any] = []
    needs = compact = False
    for a in args:
        value = a.value
        if value is None:
            if op.kind == "pointwise" and a.op is not None and a.op.lazy and a.args:
                value, compact = a.args[0].value, True
            if value is None:
                value = force(a)
            if value is None:
                return record_op(op, args, params)
        values.append(value)
        needs = needs or a.needs_grad
    if op.lazy:
        return _lazy(op, args, params, needs)
    result = evaluate(op, values, params)
    if compact and result.shape != args[0].shape:
        result = np.broadcast_to(result, args[0].shape)
    return finish(op, args, params, result, needs and state.grad)


def evaluate(op: Op, values: list[Any], params: Params) -> Any:
    """The meaning of ``op`` on arrays; overflow and division by zero are not warnings here."""
    if not op.quiet:
        try:
            return op.ref(*values, **params)
        except (MemoryError, ValueError) as problem:
            raise _too_large(op, problem, values) from None
    token = _error_state.set(_IGNORE_ALL)
    try:
        return op.ref(*values, **params)
    except (MemoryError, ValueError) as problem:
        raise _too_large(op, problem, values) from None
    finally:
        _error_state.reset(token)


def _too_large(op: Op, problem: Exception, values: list[Any]) -> Exception:
    """The error for a result that does not fit into memory; anything else is ``problem`` itself."""
    known = ("too big", "dimension exceeded")  # what NumPy says beyond 2**63 bytes
    if isinstance(problem, ValueError) and not any(k in str(problem) for k in known):
        return problem
    return errors.out_of_memory(op.name, problem, values)


def force(node: Node) -> Any:
    """The value of a lazy node whose argument has one, made now and kept; else None."""
    if node.op is None or not node.op.lazy or not node.args:
        return node.late()
    value = node.args[0].value
    if value is None:
        value = force(node.args[0])
        if value is None:
            return None
    try:
        node.value = node.op.ref(value, **node.params)
    except ValueError:  # NumPy has no view of so many elements
        raise errors.too_large(node.op.name, node.shape, numel(node.shape)) from None
    return node.value


def no_value(what: str, node: Node) -> errors.AdjointError:
    """The error for reading a node that has no value."""
    if node.device is META:
        return errors.meta_value(what, node)
    if not state.recording:
        return errors.leaked(what, node, node.site)
    born = node.site if node.op is not None else None
    return errors.abstract_value(what, node, born, _sources(node))


def _sources(node: Node) -> list[str]:
    """The inputs of the recording that ``node`` was computed from, as ``input 0 of vmap``."""
    seen: set[Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            stack.extend(current.args or ())
    inputs = sorted((n for n in seen if n.op is None and n.value is None), key=_serial)
    return [n.site for n in inputs if n.site is not None]


def _serial(node: Node) -> int:
    return node.serial


def finish(op: Op, args: tuple[Node, ...], params: Params, value: Any, needs: bool) -> Node:
    """The node that has ``value``; it keeps ``args`` only when a gradient may pass."""
    parts = None
    if type(value) is tuple:
        parts = _types(cast("tuple[Array, ...]", value))
        shape, dtype = (), parts[0].dtype
    else:
        if type(value) is not np.ndarray:
            value = np.asarray(value)
        shape, dtype = value.shape, OF_NUMPY[value.dtype]
        needs = needs and dtype.kind == "f"
    if needs:
        node = Node(op, args, params, shape, dtype, value, True)
    else:
        node = Node(op, (), NO_PARAMS, shape, dtype, value, False)
    node.parts = parts
    if state.watch is not None:
        state.watch(node, op, args, params)
    if FLAGS.verify:
        check_type(op, args, params, node)
    return node


def _types(arrays: tuple[Array, ...]) -> tuple[Type, ...]:
    return tuple([Type(a.shape, OF_NUMPY[a.dtype]) for a in arrays])


def check_type(op: Op, args: tuple[Node, ...], params: Params, node: Node) -> None:
    """Raise when the value of ``node`` is not what the row of ``op`` promises."""
    promised = op.infer(*args, **params)
    if node.parts is None:
        got: Any = Type(node.shape, node.dtype)
    else:
        got = node.parts
    if got != promised:
        raise AssertionError(f"{op.name}{params}: infer says {promised}, ref gives {got}")


def _lazy(op: Op, args: tuple[Node, ...], params: Params, needs: bool) -> Node:
    made: Type = op.infer(*args, **params)
    return Node(op, args, params, made.shape, made.dtype, None, needs and state.grad)


def record_op(op: Op, args: tuple[Node, ...], params: Params) -> Node:
    meta = any(a.device is META for a in args)
    if not state.recording and not meta:
        for a in args:
            if a.is_abstract:
                raise no_value(op.name, a)
    inferred: Type | Sequence[Type] = op.infer(*args, **params)
    needs = state.grad and any(a.needs_grad for a in args)
    if isinstance(inferred, Type):
        parts, made = None, inferred
        needs = needs and made.dtype.kind == "f"
    else:
        parts = tuple(inferred)
        made = Type((), parts[0].dtype)
    kept = args if needs or not meta else ()
    node = Node(op, kept, params, made.shape, made.dtype, None, needs)
    node.parts = parts
    node.device = META if meta else CPU
    node.stop = not state.grad
    node.site = callsite.site() if not meta else None
    return node
