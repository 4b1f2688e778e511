"""Arithmetic, comparison and bits: promotion, broadcasting, and one op each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import DType, as_dtype, bool_, float32, int64, promote_types
from adjoint.base.shape import broadcast_shapes
from adjoint.ir.node import NO_PARAMS, Node, Op, apply, constant
from adjoint.ops.pointwise import broadcasting
from adjoint.ops.rows import number
from adjoint.tensors import pointwise
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

Operand = Any  # a Tensor, a NumPy array, or a Python number


def pair(op: str, x: Operand, y: Operand) -> tuple[Node, Node]:
    """The nodes of two operands, converted to their common dtype; numbers are weak."""
    if isinstance(x, Handle):
        a = x.node
        b = y.node if isinstance(y, Handle) else node_of(y, op, a)
    elif isinstance(y, Handle):
        b = y.node
        a = node_of(x, op, b)
    else:
        a = node_of(x, op)
        b = node_of(y, op, a)
    if a.dtype is not b.dtype:
        dtype = promoted(op, a.dtype, b.dtype)
        a, b = to_dtype(a, dtype), to_dtype(b, dtype)
    return a, b


def promoted(op: str, a: DType, b: DType) -> DType:
    """The common dtype; the error where there is none names ``op``."""
    try:
        return promote_types(a, b)
    except errors.DTypeError:
        raise errors.no_promotion(a, b, op) from None


def to_dtype(node: Node, dtype: DType) -> Node:
    return node if node.dtype is dtype else ops.cast(node, dtype=dtype)


def floating(node: Node) -> Node:
    """``node``, converted to the default float dtype if it is not a float."""
    return node if node.dtype.kind == "f" else ops.cast(node, dtype=float32)


def combine(op: Op, a: Node, b: Node) -> Node:
    """A pointwise ``op`` on nodes of one dtype, broadcast against each other."""
    if a.shape == b.shape:
        return apply(op, (a, b), NO_PARAMS)
    return broadcasting(op, (a, b), broadcast_shapes(op.name, a.shape, b.shape))


def aligned(op: str, *nodes: Node) -> tuple[Node, ...]:
    """``nodes`` broadcast to their common shape, for a region, which takes equal shapes."""
    shape = broadcast_shapes(op, *(n.shape for n in nodes))
    return tuple(n if n.shape == shape else ops.broadcast(n, shape=shape) for n in nodes)


def binary(op: Op, x: Operand, y: Operand) -> Tensor:
    """``op`` on two operands, promoted and broadcast. The first branch is a tensor with a float."""
    if type(y) is float and isinstance(x, Handle) and x.node.dtype.kind == "f":
        a = x.node
        return wrap(broadcasting(op, (a, constant(number(y, a.dtype))), a.shape))
    a, b = pair(op.name, x, y)
    return wrap(combine(op, a, b))


def add(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    if type(alpha) is not int or alpha != 1:
        other = _scaled("add", other, alpha)
    return binary(ops.add, input, other)


def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input - alpha * other. Raises DTypeError for two bools, whose difference has no meaning."""
    if type(alpha) is not int or alpha != 1:
        other = _scaled("sub", other, alpha)
    a, b = pair("sub", input, other)
    if a.dtype is bool_:
        raise errors.wrong_dtype(
            "sub", "bool", "numbers", hint="for bools use a ^ b, or convert: x.int()"
        )
    return wrap(combine(ops.sub, a, b))


def mul(input: Operand, other: Operand) -> Tensor:
    """input * other."""
    return binary(ops.mul, input, other)


def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; integers give float32. rounding_mode: None, ``"floor"`` or ``"trunc"``."""
    if rounding_mode is not None:
        mode = as_choice("div rounding_mode", rounding_mode, ["floor", "trunc"])
        return (floor_divide if mode == "floor" else _truncated)(input, other)
    a, b = pair("div", input, other)
    if a.dtype.kind != "f":
        a, b = floating(a), floating(b)
    return wrap(combine(ops.div, a, b))


def floor_divide(input: Operand, other: Operand) -> Tensor:
    """floor(input / other), as Python's ``//``. Raises ArgumentError for an integer zero."""
    a, b = _divisible("floor_divide", input, other)
    if a.dtype.kind == "f":
        return wrap(pointwise.floor_divide(*aligned("floor_divide", a, b)))
    return wrap(combine(ops.div, a, b))


def remainder(input: Operand, other: Operand) -> Tensor:
    """input - floor(input / other) * other: the sign of the divisor, as Python's ``%``."""
    return wrap(combine(ops.rem, *_divisible("remainder", input, other)))


def fmod(input: Operand, other: Operand) -> Tensor:
    """input - trunc(input / other) * other: the sign of the dividend, as C's fmod."""
    return wrap(pointwise.fmod(*aligned("fmod", *_divisible("fmod", input, other))))


def neg(input: Operand) -> Tensor:
    """-input."""
    node = node_of(input, "neg")
    if node.dtype is bool_:
        raise errors.wrong_dtype("neg", "bool", "numbers", hint="use ~x for logical not")
    return wrap(ops.neg(node))


def positive(input: Operand) -> Tensor:
    """+input."""
    return wrap(node_of(input, "positive"))


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of each pair; NaN wins. The gradient of a tie is shared equally."""
    return binary(ops.maximum, input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of each pair; NaN wins. The gradient of a tie is shared equally."""
    return binary(ops.minimum, input, other)


def eq(input: Operand, other: Operand) -> Tensor:
    """input == other, element by element."""
    return binary(ops.eq, input, other)


def ne(input: Operand, other: Operand) -> Tensor:
    """input != other, element by element."""
    return wrap(negated(binary(ops.eq, input, other).node))


def lt(input: Operand, other: Operand) -> Tensor:
    """input < other, element by element."""
    return binary(ops.lt, input, other)


def gt(input: Operand, other: Operand) -> Tensor:
    """input > other, element by element."""
    a, b = pair("gt", input, other)
    return wrap(combine(ops.lt, b, a))


def le(input: Operand, other: Operand) -> Tensor:
    """input <= other, element by element; False where either is NaN."""
    a, b = pair("le", input, other)
    return wrap(ops.maximum(combine(ops.lt, a, b), combine(ops.eq, a, b)))


def ge(input: Operand, other: Operand) -> Tensor:
    """input >= other, element by element; False where either is NaN."""
    a, b = pair("ge", input, other)
    return wrap(ops.maximum(combine(ops.lt, b, a), combine(ops.eq, a, b)))


def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """input & other for bools and integers."""
    return _bits(ops.bit_and, input, other)


def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """input | other for bools and integers."""
    return _bits(ops.bit_or, input, other)


def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """input ^ other for bools and integers."""
    return _bits(ops.bit_xor, input, other)


def bitwise_left_shift(input: Operand, other: Operand) -> Tensor:
    """input << other for integers."""
    return _bits(ops.shift_left, input, other)


def bitwise_right_shift(input: Operand, other: Operand) -> Tensor:
    """input >> other for integers (arithmetic for signed ones)."""
    return _bits(ops.shift_right, input, other)


def bitwise_not(input: Operand) -> Tensor:
    """~input for bools and integers."""
    node = node_of(input, "bitwise_not")
    if node.dtype.kind == "f":
        raise errors.wrong_dtype(
            "bitwise_not", node.dtype, "bools or integers",
            hint="~ turns masks round: ~(x > 0); for the complement of a number write 1 - x",
        )  # fmt: skip
    if node.dtype is bool_:
        return wrap(negated(node))
    ones = node_of(-1 if node.dtype.kind == "i" else 2**node.dtype.bits - 1, "bitwise_not", node)
    return wrap(broadcasting(ops.bit_xor, (node, ones), node.shape))


def logical_not(input: Operand) -> Tensor:
    """True where input is zero."""
    return wrap(negated(truth(node_of(input, "logical_not"))))


def logical_and(input: Operand, other: Operand) -> Tensor:
    """True where both are nonzero."""
    return _logical(ops.minimum, input, other)


def logical_or(input: Operand, other: Operand) -> Tensor:
    """True where either is nonzero."""
    return _logical(ops.maximum, input, other)


def logical_xor(input: Operand, other: Operand) -> Tensor:
    """True where exactly one is nonzero."""
    return _logical(ops.bit_xor, input, other)


def where(condition: Operand, input: Any = None, other: Any = None) -> Any:
    """input where condition holds, other elsewhere. With the condition alone: ``nonzero`` of it
    as a tuple of index tensors. Raises DTypeError for a condition that is not bool."""
    test = node_of(condition, "where")
    if input is None and other is None:
        from adjoint.tensors.indexing import nonzero

        return nonzero(condition, as_tuple=True)
    if test.dtype is not bool_:
        raise errors.wrong_dtype(
            "where", test.dtype, "a bool condition", hint="compare first: where(x != 0, a, b)"
        )
    if isinstance(input, Handle) or isinstance(other, Handle):
        a, b = pair("where", input, other)
    else:
        a = node_of(input, "where")
        b = node_of(other, "where")
        dtype = promoted("where", a.dtype, b.dtype)
        a, b = to_dtype(a, dtype), to_dtype(b, dtype)
    shape = broadcast_shapes("where", test.shape, a.shape, b.shape)
    return wrap(broadcasting(ops.where, (test, a, b), shape))


def cast(input: Handle, dtype: object) -> Tensor:
    """input converted to ``dtype``."""
    return wrap(to_dtype(input.node, as_dtype(dtype)))


def truth(node: Node) -> Node:
    """Whether each element is nonzero (NaN is), as bool."""
    if node.dtype is bool_:
        return node
    zero = node_of(0, "truth", node)
    return negated(broadcasting(ops.eq, (node, zero), node.shape))


def negated(node: Node) -> Node:
    """Logical not of a bool node."""
    return broadcasting(ops.bit_xor, (node, node_of(True, "not", node)), node.shape)


def absolute(node: Node) -> Node:
    """|x| of a node; its gradient at 0 is 0."""
    if node.dtype.kind in "bu":
        return node
    return pointwise.absolute(node)


def _scaled(op: str, other: Operand, alpha: Any) -> Operand:
    factor = as_number(op, "alpha", alpha)
    return mul(wrap(node_of(other, op)), factor)


def _truncated(x: Operand, y: Operand) -> Tensor:
    a, b = aligned("div", *_divisible("div", x, y))
    if a.dtype.kind == "f":
        return wrap(pointwise.trunc(ops.div(a, b)))
    return wrap(ops.div(ops.sub(a, pointwise.fmod(a, b)), b))


def _divisible(op: str, x: Operand, y: Operand) -> tuple[Node, Node]:
    """A dividend and a divisor: bools count as integers, and no integer is divided by 0."""
    a, b = pair(op, x, y)
    if a.dtype is bool_:
        a, b = to_dtype(a, int64), to_dtype(b, int64)
    if a.dtype.kind != "f" and not b.is_abstract and not b.array().all():
        raise errors.argument(
            op, "integer division by zero", hint="convert to floats first: x.float()"
        )
    return a, b


def _bits(op: Op, x: Operand, y: Operand) -> Tensor:
    a, b = pair(op.name, x, y)
    if a.dtype.kind == "f":
        raise errors.wrong_dtype(
            op.name, a.dtype, "bools or integers", hint="compare first: x > 0 gives bools"
        )
    if a.dtype is bool_ and op in (ops.shift_left, ops.shift_right):
        raise errors.wrong_dtype(op.name, a.dtype, "integers", hint="convert first: x.int()")
    return wrap(combine(op, a, b))


def _logical(op: Op, x: Operand, y: Operand) -> Tensor:
    a, b = pair(op.name, x, y)
    return wrap(combine(op, truth(a), truth(b)))
