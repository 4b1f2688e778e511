"""Questions about tensors: kinds of numbers, closeness, equality, dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.dtype import DType, as_dtype, bool_, float64, promote_types
from adjoint.base.shape import numel as size_of_shape
from adjoint.ir.node import Node
from adjoint.ops.rows import full
from adjoint.ops.structure import Region
from adjoint.tensors import arithmetic, pointwise
from adjoint.tensors.arithmetic import Operand, aligned, negated, pair, to_dtype
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def isnan(input: Operand) -> Tensor:
    """Whether each element is NaN."""
    return _class("isnan", pointwise.isnan, input, False)


def isinf(input: Operand) -> Tensor:
    """Whether each element is inf or -inf."""
    return _class("isinf", pointwise.isinf, input, False)


def isfinite(input: Operand) -> Tensor:
    """Whether each element is neither infinite nor NaN."""
    return _class("isfinite", pointwise.isfinite, input, True)


def isposinf(input: Operand) -> Tensor:
    """Whether each element is inf."""
    return arithmetic.eq(input, float("inf"))


def isneginf(input: Operand) -> Tensor:
    """Whether each element is -inf."""
    return arithmetic.eq(input, -float("inf"))


def signbit(input: Operand) -> Tensor:
    """Whether the sign bit is set: below 0, and for -0.0."""
    node = node_of(input, "signbit")
    if node.dtype.kind in "bu":
        return wrap(full(0, node.shape, bool_))
    return wrap(pointwise.signbit(node))


def isclose(
    input: Operand, other: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """|input - other| <= atol + rtol * |other|; equal infinities are close."""
    a, b = aligned("isclose", *pair("isclose", input, other))
    rtol, atol = as_number("isclose", "rtol", rtol), as_number("isclose", "atol", atol)
    same = ops.eq(a, b)
    if equal_nan and a.dtype.kind == "f":
        both = ops.bit_and(negated(ops.eq(a, a)), negated(ops.eq(b, b)))
        same = ops.bit_or(same, both)
    a, b = _wide(a), _wide(b)
    apart = pointwise.absolute(a - b)
    allowed = pointwise.absolute(b) * rtol + atol
    near = negated(ops.lt(allowed, apart))
    near = ops.bit_and(near, pointwise.isfinite(apart))
    return wrap(ops.bit_or(same, near))


def allclose(
    input: Operand, other: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether all elements are close (see ``isclose``), as a Python bool."""
    close = isclose(input, other, rtol, atol, equal_nan).node
    return bool(close.array("allclose").all())


def equal(input: Operand, other: Operand) -> bool:
    """Whether shapes and all elements are equal, as a Python bool."""
    a, b = pair("equal", input, other)
    return a.shape == b.shape and bool(ops.eq(a, b).array("equal").all())


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a Tensor."""
    return isinstance(value, Handle)


def is_floating_point(input: Handle) -> bool:
    """Whether the dtype is a float."""
    return node_of(input, "is_floating_point").dtype.kind == "f"


def is_complex(input: Handle) -> bool:
    """Always False: there are no complex dtypes."""
    return False


def numel(input: Handle) -> int:
    """The number of elements."""
    return size_of_shape(node_of(input, "numel").shape)


def result_type(*operands: Any) -> DType:
    """The dtype that an operation on tensors, dtypes and (weak) Python numbers gives.

    Raises DTypeError for dtypes that have no common one.
    """
    if not operands:
        raise errors.argument(
            "result_type", "needs at least one operand", hint="result_type(x, y), say"
        )
    nodes = [x for x in operands if type(x) not in (bool, int, float)]
    strong = [x.dtype if isinstance(x, Handle) else as_dtype(x) for x in nodes]
    numbers = [x for x in operands if type(x) in (bool, int, float)]
    if not strong:
        return _common([node_of(x, "result_type").dtype for x in numbers])
    found = _common(strong)
    like = full(0, (), found)
    return _common([found, *(node_of(x, "result_type", like).dtype for x in numbers)])


def can_cast(from_: object, to: object) -> bool:
    """Whether PyTorch's rules let a result of dtype ``from_`` be stored as ``to``: bool, integer
    and float are kinds in rising order, and the kind may not fall."""
    order = {"b": 0, "u": 1, "i": 1, "f": 2}
    return order[as_dtype(from_).kind] <= order[as_dtype(to).kind]


def _class(op: str, region: Region, input: Operand, exact: bool) -> Tensor:
    """Integers and bools are all finite."""
    node = node_of(input, op)
    if node.dtype.kind != "f":
        return wrap(full(exact, node.shape, bool_))
    return wrap(region(node))


def _wide(node: Node) -> Node:
    return node if node.dtype.kind == "f" else to_dtype(node, float64)


def _common(dtypes: list[DType]) -> DType:
    found = dtypes[0]
    for dtype in dtypes[1:]:
        found = promote_types(found, dtype)
    return found
