"""Making tensors: from data, filled, ranges, and from other libraries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.dtype import OF_NUMPY, DType, as_dtype, bool_, float32, int64
from adjoint.base.shape import Shape, as_shape, as_size, check_allocation
from adjoint.ir.node import Array, Node, Type, abstract, constant
from adjoint.ops.rows import number
from adjoint.runtime.device import META
from adjoint.runtime.device import device as as_device
from adjoint.tensors.handle import Handle, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def tensor(
    data: Any, *, dtype: object = None, device: object = "cpu", requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of ``data``: numbers, nested lists, arrays or tensors.

    Python floats become float32, ints int64, bools bool; arrays keep their dtype. Raises
    ShapeError for ragged lists and DTypeError for what is not numeric.
    """
    array = to_array(data, "tensor", keep_double=dtype is not None)
    wanted = as_dtype(dtype) if dtype is not None else OF_NUMPY[array.dtype]
    return _finish(_convert(array, wanted, copy=True), device, requires_grad)


def as_tensor(data: Any, dtype: object = None, device: object = None) -> Tensor:
    """``data`` as a tensor, without a copy where its dtype allows."""
    if isinstance(data, Handle):
        node = data.node
        if dtype is not None and as_dtype(dtype) is not node.dtype:
            return wrap(ops.cast(node, dtype=as_dtype(dtype)))
        return data  # type: ignore[return-value]
    array = to_array(data, "as_tensor", keep_double=dtype is not None)
    wanted = as_dtype(dtype) if dtype is not None else OF_NUMPY[array.dtype]
    return _finish(_convert(array, wanted, copy=False), "cpu" if device is None else device, False)


def from_numpy(array: Array) -> Tensor:
    """A tensor that shares the memory of ``array``: do not write to it while gradients are due."""
    if not isinstance(array, np.ndarray):
        raise errors.not_a_tensor("from_numpy", array, hint="use adjoint.tensor for lists")
    return wrap(constant(_supported(array, "from_numpy")))


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of any CPU array with ``__dlpack__`` (NumPy, torch, jax)."""
    if isinstance(source, Handle):
        return wrap(source.node)
    if not hasattr(source, "__dlpack__"):
        raise errors.not_a_tensor("from_dlpack", source, hint="it has no __dlpack__ method")
    try:
        array = np.from_dlpack(source)
    except (BufferError, RuntimeError, TypeError, ValueError) as problem:
        raise errors.argument(
            "from_dlpack", f"the exporter refused: {problem}",
            hint="detach it, move it to the CPU, and use a dtype NumPy knows",
        ) from None  # fmt: skip
    return wrap(constant(_supported(array, "from_dlpack")))


def empty(
    *size: Any, dtype: object = None, device: object = "cpu", requires_grad: bool = False
) -> Tensor:
    """A tensor of ``size`` with no promised values (zeros here, so that a run can be repeated)."""
    wanted = float32 if dtype is None else as_dtype(dtype)
    return _filled("empty", _sizes("empty", size), 0, wanted, device, requires_grad)


def zeros(
    *size: Any, dtype: object = None, device: object = "cpu", requires_grad: bool = False
) -> Tensor:
    """A tensor of ``size`` filled with 0."""
    wanted = float32 if dtype is None else as_dtype(dtype)
    return _filled("zeros", _sizes("zeros", size), 0, wanted, device, requires_grad)


def ones(
    *size: Any, dtype: object = None, device: object = "cpu", requires_grad: bool = False
) -> Tensor:
    """A tensor of ``size`` filled with 1."""
    wanted = float32 if dtype is None else as_dtype(dtype)
    return _filled("ones", _sizes("ones", size), 1, wanted, device, requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: object = None, device: object = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of ``size`` filled with ``fill_value``, whose type gives the default dtype."""
    if isinstance(fill_value, (Handle, np.generic, np.ndarray)):
        fill_value = as_number("full", "fill_value", fill_value)
    kind = {bool: bool_, int: int64}.get(type(fill_value), float32)
    wanted = as_dtype(dtype) if dtype is not None else kind
    return _filled("full", as_shape("full", size), fill_value, wanted, device, requires_grad)


def zeros_like(
    input: Handle, *, dtype: object = None, device: object = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of the shape, dtype and device of ``input``."""
    return _filled_like("zeros_like", input, 0, dtype, device, requires_grad)


def ones_like(
    input: Handle, *, dtype: object = None, device: object = None, requires_grad: bool = False
) -> Tensor:
    """Ones of the shape, dtype and device of ``input``."""
    return _filled_like("ones_like", input, 1, dtype, device, requires_grad)


def empty_like(
    input: Handle, *, dtype: object = None, device: object = None, requires_grad: bool = False
) -> Tensor:
    """An unfilled (zero) tensor of the shape, dtype and device of ``input``."""
    return _filled_like("empty_like", input, 0, dtype, device, requires_grad)


def full_like(
    input: Handle, fill_value: Any, *, dtype: object = None, device: object = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``fill_value`` everywhere, in the shape, dtype and device of ``input``."""
    return _filled_like("full_like", input, fill_value, dtype, device, requires_grad)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: object = None, device: object = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below ``end``; integers give int64, else float32."""
    start, end = (0, start) if end is None else (start, end)
    numbers = [
        as_number("arange", name, n) for name, n in (("start", start), ("end", end), ("step", step))
    ]
    if not all(math.isfinite(n) for n in numbers):
        raise errors.argument(
            "arange", f"limits and step must be finite, got {numbers}",
            hint="arange(5) counts 0 to 4; arange(0, 1, 0.1) takes steps",
        )  # fmt: skip
    first, last, by = numbers
    if by == 0:
        raise errors.argument(
            "arange", "the step cannot be 0", hint="for n equal numbers: adjoint.full((n,), value)"
        )
    whole = all(isinstance(n, int) for n in numbers)
    wanted = as_dtype(dtype) if dtype is not None else (int64 if whole else float32)
    count = max(math.ceil((last - first) / by), 0)
    check_allocation("arange", (count,), wanted.itemsize)
    if whole and max(abs(first), abs(last), abs(by)) >= 2**62:
        raise errors.does_not_fit("arange", max(numbers, key=abs), "int64", 64, "i")
    with np.errstate(all="ignore"):
        values = np.arange(count, dtype=np.int64 if whole else np.float64) * by + first
    return _finish(_convert(values, wanted, copy=False), device, requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: object = None, device: object = "cpu",
    requires_grad: bool = False, endpoint: bool = True,
) -> Tensor:  # fmt: skip
    """``steps`` evenly spaced numbers from ``start`` to ``end``."""
    count = as_size("linspace", steps)
    check_allocation("linspace", (count,), 8)
    wanted = as_dtype(dtype) if dtype is not None else float32
    first, last = as_number("linspace", "start", start), as_number("linspace", "end", end)
    with np.errstate(all="ignore"):
        values = np.linspace(float(first), float(last), count, endpoint=endpoint)
    return _finish(_convert(values, wanted, copy=False), device, requires_grad)


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: object = None
) -> Tensor:
    """base ** linspace(start, end, steps)."""
    wanted = as_dtype(dtype) if dtype is not None else float32
    count = as_size("logspace", steps)
    check_allocation("logspace", (count,), 8)
    first, last = as_number("logspace", "start", start), as_number("logspace", "end", end)
    with np.errstate(all="ignore"):
        values = np.logspace(
            float(first), float(last), count, base=as_number("logspace", "base", base)
        )
    return _finish(_convert(values, wanted, copy=False), "cpu", False)


def eye(
    n: int, m: int | None = None, *, dtype: object = None, device: object = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A matrix of ``n`` rows and ``m`` columns with ones on the diagonal."""
    rows = as_size("eye", n)
    columns = rows if m is None else as_size("eye", m)
    wanted = as_dtype(dtype) if dtype is not None else float32
    check_allocation("eye", (rows, columns), wanted.itemsize)
    return _finish(np.eye(rows, columns, dtype=wanted.numpy), device, requires_grad)


def scalar_node(value: Any, op: str, like: Node | None) -> Node:
    """A 0-d node for a Python number (in the dtype it has next to ``like``), or an array's node."""
    if like is not None and isinstance(value, np.generic):
        value = value.item()  # a NumPy scalar is a number: np.float64 does not widen float32
    kind = type(value)
    if like is not None and kind in (float, int, bool):
        dtype = like.dtype
        if kind is float and dtype.kind != "f":
            dtype = float32
        elif kind is int and dtype.kind == "b":
            dtype = int64
        elif kind is bool:
            return constant(number(value, dtype))
        return constant(scalar_array(value, dtype, op))
    if kind in (float, int, bool) or isinstance(value, (np.ndarray, np.generic)):
        return constant(to_array(value, op))
    raise errors.not_a_tensor(op, value)


def scalar_array(value: Any, dtype: DType, op: str) -> Array:
    """A 0-d array of ``dtype``; raises when an integer does not fit."""
    try:
        if isinstance(value, (int, float)):
            if dtype.kind in "iu" and not math.isfinite(value):
                raise OverflowError
            return number(value, dtype)
        return np.asarray(value, dtype.numpy)
    except OverflowError:
        raise errors.does_not_fit(op, value, dtype.name, dtype.bits, dtype.kind) from None
    except (TypeError, ValueError):
        raise errors.not_a_tensor(op, value) from None


def to_array(data: Any, op: str, keep_double: bool = False) -> Array:
    """A NumPy array of a supported dtype from anything array-like; copies lists only.

    Python floats become float32 unless ``keep_double`` (a dtype was asked for) holds.
    """
    if isinstance(data, Handle):
        return data.node.array(op)
    if isinstance(data, np.ndarray):
        return _supported(data, op)
    if isinstance(data, (list, tuple, bool, int, float, np.generic)):
        return _from_nested(data, op, keep_double)
    if isinstance(data, range):
        return np.asarray(data, np.int64)
    if hasattr(data, "__array__"):
        return _supported(_array_of(data, op), op)
    raise errors.not_a_tensor(op, data, hint="use numbers, nested lists, or arrays")


def _array_of(data: Any, op: str) -> Array:
    """The array that a foreign object gives."""
    try:
        return np.asarray(data)
    except (RuntimeError, TypeError, ValueError) as problem:
        raise errors.argument(
            op, f"a {type(data).__name__} gave no array: {errors.shorten(str(problem))}",
            hint="convert it to a NumPy array first",
        ) from None  # fmt: skip


def _from_nested(data: Any, op: str, keep_double: bool) -> Array:
    plain, found = _plain(data, op)
    try:
        array = np.asarray(plain)
    except (ValueError, TypeError):
        _refuse_odd(plain, op)
        raise errors.ragged(_where_ragged(plain)) from None
    if array.dtype not in OF_NUMPY:
        _refuse_odd(plain, op)
    if array.dtype == np.float64 and not found and not keep_double:
        array = _convert(array, float32, copy=False)
    return _supported(array, op)


def _plain(data: Any, op: str, depth: int = 0) -> tuple[Any, bool]:
    """``data`` with tensors replaced by arrays; and whether a NumPy float64 is among them."""
    if isinstance(data, (list, tuple)):
        if depth == 64:
            raise errors.argument(
                op, "lists are nested more than 64 deep", hint="does the list contain itself?"
            )
        pairs = [_plain(d, op, depth + 1) for d in data]
        return [p for p, _ in pairs], any(f for _, f in pairs)
    if isinstance(data, Handle):
        data = data.node.array(op)
    if isinstance(data, (np.ndarray, np.generic)):
        return data, data.dtype == np.float64
    return data, False


def _refuse_odd(data: Any, op: str, path: str = "") -> None:
    """Raise for the first element that is not a number, or is too large for one."""
    if isinstance(data, (list, tuple)):
        for i, element in enumerate(data):
            _refuse_odd(element, op, f"{path}[{i}]")
    elif isinstance(data, int):
        if not -(2**63) <= data < 2**64:
            raise errors.does_not_fit(op, data, "int64", 64, "i")
    elif isinstance(data, (np.ndarray, np.generic)):
        if data.dtype not in OF_NUMPY:
            raise errors.not_an_array_of_numbers(op, data, str(data.dtype))
    elif not isinstance(data, float):
        raise errors.not_a_number(op, data, path)


def _where_ragged(data: Any, path: str = "row") -> str:
    lengths = [len(d) if isinstance(d, (list, tuple, np.ndarray)) else -1 for d in data]
    for i, n in enumerate(lengths):
        if n != lengths[0]:
            kinds = ["a number" if k < 0 else f"length {k}" for k in (lengths[0], n)]
            return f"{path} 0 has {kinds[0]}, {path} {i} has {kinds[1]}"
    return _where_ragged(data[0], f"{path} 0,") if data and lengths[0] >= 0 else "uneven nesting"


def _supported(array: Array, op: str) -> Array:
    if array.dtype in OF_NUMPY and array.dtype.isnative:
        return array if type(array) is np.ndarray else np.asarray(array)
    if not array.dtype.isnative and array.dtype.newbyteorder("=") in OF_NUMPY:
        return array.astype(array.dtype.newbyteorder("="))
    raise errors.not_an_array_of_numbers(op, array, str(array.dtype))


def _convert(array: Array, dtype: DType, copy: bool) -> Array:
    if array.dtype == dtype.numpy:
        return array.copy() if copy else array
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _sizes(op: str, size: tuple[Any, ...]) -> Shape:
    return as_shape(op, size[0] if len(size) == 1 else size)


def _filled(
    op: str, shape: Shape, fill_value: Any, dtype: DType, device: object, requires_grad: bool
) -> Tensor:
    value = scalar_array(as_number(op, "fill_value", fill_value), dtype, op)
    if as_device(device) is META:
        return _meta(shape, dtype, requires_grad)
    check_allocation(op, shape, dtype.itemsize)
    try:
        array = np.full(shape, value, dtype.numpy)
    except (MemoryError, ValueError):
        raise errors.too_large(op, shape, math.prod(shape) * dtype.itemsize) from None
    return _finish(array, device, requires_grad)


def _filled_like(
    op: str, input: Handle, fill_value: Any, dtype: object, device: object, requires_grad: bool
) -> Tensor:
    if not isinstance(input, Handle):
        raise errors.not_a_tensor(op, input)
    wanted = input.dtype if dtype is None else as_dtype(dtype)
    place = input.device if device is None else device
    return _filled(op, input.shape, fill_value, wanted, place, requires_grad)


def _finish(array: Array, device: object, requires_grad: bool) -> Tensor:
    if as_device(device) is META:
        return _meta(array.shape, OF_NUMPY[array.dtype], requires_grad)
    out = wrap(constant(array))
    return out.requires_grad_() if requires_grad else out


def _meta(shape: Shape, dtype: DType, requires_grad: bool) -> Tensor:
    out = wrap(abstract(Type(shape, dtype), META))
    return out.requires_grad_() if requires_grad else out
