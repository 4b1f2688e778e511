"""Tensor: PyTorch's methods over the functions of this floor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.dtype import (
    as_dtype,
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from adjoint.base.shape import as_axis, as_shape, numel
from adjoint.base.tree import tree_map
from adjoint.ir.node import Array, Node, grad_mode
from adjoint.runtime.device import META, Device
from adjoint.runtime.device import device as as_device
from adjoint.tensors import (
    arithmetic,
    contraction,
    creation,
    display,
    elementwise,
    indexing,
    movement,
    powers,
    reduction,
)  # fmt: skip
from adjoint.tensors.handle import Handle, _tensor_class, wrap
from adjoint.tensors.methods import Methods, in_place


class Tensor(Methods):
    """An n-dimensional array that remembers how it was computed.

    ``Tensor(data)`` copies numbers, nested lists or arrays as float32; ``Tensor(2, 3)`` makes a
    tensor of that size. ``adjoint.tensor`` keeps the dtype of the data.
    """

    __slots__ = ()
    __array_priority__ = 1000.0

    def __init__(self, *data: Any, device: object = "cpu") -> None:
        self.grad = self._hooks = None
        self._view = ()
        if len(data) == 1 and isinstance(data[0], Node):
            self.node = data[0]
        elif len(data) == 1 and not isinstance(data[0], int):
            self.node = creation.tensor(data[0], dtype=float32, device=device).node
        else:
            self.node = creation.zeros(as_shape("Tensor", data), device=device).node

    # --- Python's protocols ---

    def __repr__(self) -> str:
        return display.tensor_repr(self)

    def __len__(self) -> int:
        if not self.node.shape:
            raise errors.shape(
                "len", "a 0-d tensor has no length", self, hint="it is one number: x.item()"
            )
        return self.node.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.node.shape:
            raise errors.shape(
                "iteration", "a 0-d tensor has no elements to go through", self,
                hint="it is one number: x.item()",
            )  # fmt: skip
        return iter(movement.unbind(self))

    def __contains__(self, value: Any) -> bool:
        return bool(reduction.any(arithmetic.eq(self, value)))

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        if numel(self.node.shape) != 1:
            raise errors.ambiguous_truth(self)
        return bool(self.node.array("bool").reshape(-1)[0])

    def __float__(self) -> float:
        return float(self._number("float"))

    def __int__(self) -> int:
        return int(self._number("int"))

    def __index__(self) -> int:
        value = self._number("index")
        if not isinstance(value, int):
            raise errors.wrong_dtype(
                "index", self.dtype, "an integer tensor", hint="convert it: x.int()"
            )
        return int(value)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if numel(self.shape) == 1 and spec else repr(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise errors.argument(
            "pickle", "tensors are not pickled: loading a pickle can run anybody's code",
            hint="adjoint.save(state_dict, 'file.safetensors'), or x.numpy() to hand it on",
        )  # fmt: skip

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise errors.grad(
                "deepcopy: only leaves can be copied, this tensor was computed",
                hint="use x.detach().clone()",
            )
        out = object.__new__(type(self))
        out.node, out._view, out._hooks = self.detach().node, (), None
        out.grad = None if self.grad is None else self.grad.detach()
        out.__dict__.update(getattr(self, "__dict__", {})) if hasattr(out, "__dict__") else None
        memo[id(self)] = out
        return out.requires_grad_(self.requires_grad)

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({}) if self.is_leaf else wrap(self.node)

    # --- NumPy, DLPack, Array API ---

    def numpy(self) -> Array:
        """The value as a read-only array that shares memory; ``.copy()`` it to write.
        Raises GradError when the tensor requires grad: detach it first."""
        if self.node.needs_grad:
            raise errors.grad(
                f"numpy: {errors.describe(self)} requires grad, which an array cannot keep",
                hint="use x.detach().numpy()",
            )
        out = self.node.array("numpy").view()
        out.flags.writeable = False
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        out = self.numpy()
        if dtype is not None and out.dtype != dtype:
            if copy is False:
                raise ValueError(f"a copy is needed to make {dtype} of {out.dtype}")
            return out.astype(dtype)
        return out.copy() if copy else out

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's functions take tensors as arrays and give arrays; see ``numpy``."""
        args, kwargs = tree_map(
            lambda x: np.asarray(x) if isinstance(x, Handle) else x, (args, kwargs)
        )
        return function(*args, **kwargs)

    def __dlpack__(self, **options: Any) -> Any:
        if self.node.needs_grad:
            raise errors.grad(
                f"dlpack: {errors.describe(self)} requires grad, which others cannot keep",
                hint="detach it first: x.detach()",
            )
        if self.node.dtype is bfloat16:
            raise errors.wrong_dtype(
                "dlpack", bfloat16, "a dtype NumPy can export", hint="x.float()"
            )
        array = self.node.array("dlpack")
        return (array if array.flags.writeable else array.copy()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.node.array("dlpack").__dlpack_device__()

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The Array API standard's functions on these tensors."""
        from adjoint import array_api

        if api_version not in (None, *array_api.VERSIONS):
            raise errors.unknown_name("array API version", str(api_version), array_api.VERSIONS)
        return array_api

    def to_device(self, device: object, /, *, stream: object = None) -> Tensor:
        """``to(device=...)`` under the Array API's name."""
        return self.to(device=device)

    def item(self) -> bool | int | float:
        """The Python number of a tensor with one element. Raises ShapeError for others."""
        return self._number("item")

    def _number(self, op: str) -> bool | int | float:
        if numel(self.node.shape) != 1:
            raise errors.not_scalar(op, self)
        return self.node.array(op).reshape(-1)[0].item()

    def tolist(self) -> Any:
        """The value as nested Python lists."""
        return self.node.array("tolist").tolist()

    # --- sizes and kinds ---

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.node.shape if dim is None else self.node.shape[as_axis("size", dim, self.ndim)]

    def dim(self) -> int:
        """The number of axes."""
        return len(self.node.shape)

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return numel(self.node.shape)

    nelement = numel

    def element_size(self) -> int:
        """Bytes per element."""
        return self.node.dtype.itemsize

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float."""
        return self.node.dtype.kind == "f"

    def is_contiguous(self) -> bool:
        """Always true: layout is the library's business."""
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.node.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.node.dtype.itemsize

    @property
    def T(self) -> Tensor:
        """All axes reversed (for a matrix: its transpose)."""
        return movement.permute(self, *reversed(range(self.ndim)))

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return movement.matrix_transpose(self)

    is_cuda = False
    is_sparse = False

    # --- conversion ---

    def to(self, *args: Any, dtype: object = None, device: object = None, copy: bool = False,
           non_blocking: bool = False) -> Tensor:  # fmt: skip
        """Convert: ``x.to(dtype)``, ``x.to(device)``, ``x.to(other)``; self if nothing changes."""
        for arg in args:
            if isinstance(arg, Handle):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, Device) or (isinstance(arg, str) and arg.split(":")[0] in _PLACES):
                device = arg
            elif arg is not None and not isinstance(arg, bool):
                dtype = arg
        out: Tensor = self
        if dtype is not None and as_dtype(dtype) is not self.dtype:
            out = arithmetic.cast(self, dtype)
        if device is not None and as_device(device) is not self.device:
            if as_device(device) is not META:
                raise errors.meta_value("to", self)
            out = creation.empty_like(out, device=META)
        return movement.clone(out) if copy and out is self else out

    def type(self, dtype: object = None) -> Any:
        """The dtype's name, or the tensor converted to ``dtype``."""
        return f"adjoint.{self.dtype.name}" if dtype is None else self.to(as_dtype(dtype))

    def type_as(self, other: Tensor) -> Tensor:
        """Converted to the dtype of ``other``."""
        if not isinstance(other, Handle):
            raise errors.not_a_tensor("type_as", other)
        return self.to(other.dtype)

    def float(self) -> Tensor:
        """Converted to float32."""
        return self.to(float32)

    def double(self) -> Tensor:
        """Converted to float64."""
        return self.to(float64)

    def half(self) -> Tensor:
        """Converted to float16."""
        return self.to(float16)

    def bfloat16(self) -> Tensor:
        """Converted to bfloat16."""
        return self.to(bfloat16)

    def int(self) -> Tensor:
        """Converted to int32."""
        return self.to(int32)

    def long(self) -> Tensor:
        """Converted to int64."""
        return self.to(int64)

    def short(self) -> Tensor:
        """Converted to int16."""
        return self.to(int16)

    def char(self) -> Tensor:
        """Converted to int8."""
        return self.to(int8)

    def byte(self) -> Tensor:
        """Converted to uint8."""
        return self.to(uint8)

    def bool(self) -> Tensor:
        """Whether each element is nonzero."""
        return wrap(arithmetic.truth(self.node))

    def cpu(self) -> Tensor:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, device: object = None) -> Tensor:
        """The same values on the GPU; raises where there is none."""
        return self.to("cuda" if device is None else device)

    def new_zeros(self, *size: Any, dtype: object = None) -> Tensor:
        """Zeros of ``size`` in this dtype."""
        return creation.zeros(*size, dtype=self.dtype if dtype is None else dtype)

    def new_ones(self, *size: Any, dtype: object = None) -> Tensor:
        """Ones of ``size`` in this dtype."""
        return creation.ones(*size, dtype=self.dtype if dtype is None else dtype)

    def new_full(self, size: Any, fill_value: Any, dtype: object = None) -> Tensor:
        """``fill_value`` in ``size``, in this dtype."""
        wanted = self.dtype if dtype is None else dtype
        return creation.full(size, fill_value, dtype=wanted)

    def new_tensor(self, data: Any, dtype: object = None) -> Tensor:
        """A tensor of ``data`` in this dtype."""
        return creation.tensor(data, dtype=self.dtype if dtype is None else dtype)

    # --- changing in place: the handle gets a new value ---

    def copy_(self, source: Any) -> Tensor:
        """Take the values of ``source``, broadcast and converted."""
        return self._fill(source, "copy_")

    def fill_(self, value: Any) -> Tensor:
        """Set every element to ``value``."""
        return self._fill(value, "fill_")

    def zero_(self) -> Tensor:
        """Set every element to 0."""
        return self._fill(0, "zero_")

    def detach_(self) -> Tensor:
        """Forget the history of this tensor."""
        with grad_mode(False):
            self.node = self.detach().node
        return self

    def _fill(self, value: Any, op: str) -> Tensor:
        from adjoint.tensors.handle import node_of

        node = node_of(value, op, self.node)
        dtype = self.node.dtype
        node = node if node.dtype is dtype else ops.cast(node, dtype=dtype)
        if node.shape != self.node.shape:
            node = ops.broadcast(node, shape=self.node.shape)
        return self.assign(node, op)

    def __iadd__(self, other: Any) -> Tensor:
        return self.assign(arithmetic.add(self, other).node, "add_")

    def __isub__(self, other: Any) -> Tensor:
        return self.assign(arithmetic.sub(self, other).node, "sub_")

    def __imul__(self, other: Any) -> Tensor:
        return self.assign(arithmetic.mul(self, other).node, "mul_")

    def __itruediv__(self, other: Any) -> Tensor:
        return self.assign(arithmetic.div(self, other).node, "div_")

    __imatmul__ = in_place(contraction.matmul)
    __ifloordiv__ = in_place(arithmetic.floor_divide)
    __imod__ = in_place(arithmetic.remainder)
    __ipow__ = in_place(powers.pow)
    __iand__ = in_place(arithmetic.bitwise_and)
    __ior__ = in_place(arithmetic.bitwise_or)
    __ixor__ = in_place(arithmetic.bitwise_xor)
    __ilshift__ = in_place(arithmetic.bitwise_left_shift)
    __irshift__ = in_place(arithmetic.bitwise_right_shift)

    # --- operators ---

    __add__ = arithmetic.add
    __sub__ = arithmetic.sub
    __mul__ = arithmetic.mul
    __truediv__ = arithmetic.div
    __floordiv__ = arithmetic.floor_divide
    __mod__ = arithmetic.remainder
    __pow__ = powers.pow
    __abs__ = elementwise.abs
    __neg__ = arithmetic.neg
    __pos__ = arithmetic.positive
    __invert__ = arithmetic.bitwise_not
    __and__ = __rand__ = arithmetic.bitwise_and
    __or__ = __ror__ = arithmetic.bitwise_or
    __xor__ = __rxor__ = arithmetic.bitwise_xor
    __lshift__ = arithmetic.bitwise_left_shift
    __rshift__ = arithmetic.bitwise_right_shift
    __lt__ = arithmetic.lt
    __le__ = arithmetic.le
    __gt__ = arithmetic.gt
    __ge__ = arithmetic.ge
    __matmul__ = contraction.matmul
    __getitem__ = indexing.getitem
    __setitem__ = indexing.setitem

    def __eq__(self, other: object) -> Any:
        return arithmetic.eq(self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other: object) -> Any:
        return arithmetic.ne(self, other) if _comparable(other) else NotImplemented

    def __rmatmul__(self, other: Any) -> Tensor:
        return contraction.matmul(other, self)

    def __radd__(self, other: Any) -> Tensor:
        return arithmetic.add(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return arithmetic.mul(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return arithmetic.sub(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return arithmetic.div(other, self)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return arithmetic.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return arithmetic.remainder(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return powers.pow(other, self)

    def __rlshift__(self, other: Any) -> Tensor:
        return arithmetic.bitwise_left_shift(other, self)

    def __rrshift__(self, other: Any) -> Tensor:
        return arithmetic.bitwise_right_shift(other, self)

    def __round__(self, ndigits: Any = None) -> Tensor:
        return elementwise.round(self, decimals=ndigits or 0)


_PLACES = ("cpu", "meta", "cuda", "mps", "xpu")
_tensor_class.append(Tensor)


def _comparable(other: object) -> bool:
    return isinstance(other, (Handle, int, float, np.ndarray, np.generic))
