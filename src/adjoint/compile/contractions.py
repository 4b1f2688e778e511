"""``dot`` and ``conv`` as kernels of a program.

Operands are views of buffers: transposed, sliced and broadcast ones are read where they are, or
packed from there. A kernel with ``after_word`` >= 0 calls, for each finished block of the result
while it is in the cache,

    void after(ptr record, i64 row_begin, i64 row_end, i64 column_begin, i64 column_end)

when the word of its record at ``after_word`` has that function's address and the next word that of
its record. Rows are all axes of the result but the last, flattened; of a convolution (image,
channel), and columns its places, flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adjoint.base.dtype import DType, float32
from adjoint.compile.blocks import (
    Operand,
    key_of,
    packed_size,
    packing_plan,
    plan_for,
    writer_of,
)
from adjoint.compile.gemm import AFTER
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import buffer, template
from adjoint.compile.thin import across_kernel
from adjoint.compile.views import View, whole
from adjoint.compile.whole_numbers import integer_kernel
from adjoint.compile.windows import Conv, conv_kernels
from adjoint.ir.node import Node
from adjoint.runtime.threads import get_num_threads

__all__ = ["Conv", "conv_kernels", "dot_kernel", "dot_packed", "packed_b"]


def can_multiply(dtype: DType) -> bool:
    """Whether the template multiplies elements of ``dtype``."""
    return dtype.kind == "f"


@template("dot")
def lower_dot(node: Node, results: tuple[Node, ...]) -> list[Kernel] | None:
    """The kernel of a ``dot`` whose arguments are whole buffers."""
    assert node.args is not None
    a, b = (whole(arg) for arg in node.args)
    kernel = dot_kernel(a, b, results[0])
    return None if kernel is None else [kernel]


@template("conv")
def lower_conv(node: Node, results: tuple[Node, ...]) -> list[Kernel] | None:
    """The kernels of a ``conv`` whose arguments are whole buffers."""
    assert node.args is not None
    x, w = (whole(arg) for arg in node.args)
    return conv_kernels(x, w, results[0], Conv(**node.params))


def dot_kernel(a: View, b: View, out: Node, after: Kernel | None = None) -> Kernel | None:
    """``out`` = a @ b batch by batch, a (..., m, k), b (..., k, n) of out's dtype, ``out`` a
    whole buffer; None when a size is 0, the dtype is bool, or a batch is not regular. Integers take
    no ``after``."""
    dtype = out.dtype
    if 0 in (*a.shape, *b.shape):
        return None
    lead = _batch(out.shape[:-2], a.strides[:-2], b.strides[:-2])
    if lead is None:
        return None
    if dtype.is_integer:
        return integer_kernel(a, b, out, lead)
    if not can_multiply(dtype):
        return None
    batch, a_steps, b_steps = lead
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if after is None:
        kernel = across_kernel(a, b, out, lead)
        if kernel is not None:
            return kernel
    if batch[2] > 1 and b_steps[2] == 0 and a_steps[2] == m * a.strides[-2] and m > 1:
        # one matrix b for many: a tall product
        m, batch = m * batch[2], (batch[0], batch[1], 1)
        a_steps, b_steps = (*a_steps[:2], 0), (*b_steps[:2], 0)
    left = Operand(a_steps, a.strides[-2], a.strides[-1])
    right = Operand(b_steps, b.strides[-2], b.strides[-1])
    result = Operand((batch[1] * batch[2] * m * n, batch[2] * m * n, m * n), n, 1)
    plan = plan_for(dtype, dtype, batch, m, n, k, left, right, result, get_num_threads())
    return Kernel(
        f"dot {'x'.join(map(str, (*out.shape[:-1], k, n)))} {dtype.name}", key_of(dtype, dtype),
        writer_of(dtype, dtype), (place(a), place(b)), (Place(out),), plan.words, extent=plan.jobs,
        scratch=plan.scratch, flops=2 * prod(batch) * m * n * k,
        nbytes=dtype.itemsize * (prod(out.shape) + prod(batch) * k * (m + n)),
        after=after, after_word=AFTER,
    )  # fmt: skip


def place(view: View) -> Place:
    """Where a view begins."""
    return Place(view.node, view.offset * view.node.dtype.itemsize)


Steps = tuple[int, int, int]


def _batch(shape: Sequence[int], *strides: Sequence[int]) -> tuple[Steps, Steps, Steps] | None:
    """Axes of a batch as three, those merged that lie regularly in both operands; None when more
    are left."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        here = [s[axis] for s in strides]
        if sizes and all(old[-1] == n * new for old, new in zip(steps, here, strict=True)):
            sizes[-1] *= n
            for old, new in zip(steps, here, strict=True):
                old[-1] = new
            continue
        sizes.append(n)
        for old, new in zip(steps, here, strict=True):
            old.append(new)
    if len(sizes) > 3:
        return None
    lack = 3 - len(sizes)
    a, b = ((*(0,) * lack, *found) for found in steps)
    found = (*(1,) * lack, *sizes)
    return (found[0], found[1], found[2]), (a[0], a[1], a[2]), (b[0], b[1], b[2])


def packed_b(b: View) -> tuple[Kernel, Node] | None:
    """A kernel that packs a matrix b (k, n) into panels, and their buffer: for products of one b
    with many a, as in a loop; ``dot_packed`` reads them."""
    if not can_multiply(b.node.dtype) or 0 in b.shape or len(b.shape) != 2:
        return None
    dtype, (k, n) = b.node.dtype, b.shape
    panels = buffer((packed_size(dtype, n, k, False),), float32 if dtype.bits == 16 else dtype)
    plan = packing_plan(
        dtype, (1, 1, 1), n, k, Operand((0, 0, 0), b.strides[0], b.strides[1]), False
    )
    kernel = Kernel(
        f"pack {k}x{n} {dtype.name}", key_of(dtype, dtype), writer_of(dtype, dtype),
        (place(b), place(b)), (Place(panels),), plan.words, extent=plan.jobs,
        nbytes=2 * dtype.itemsize * k * n,
    )  # fmt: skip
    return kernel, panels


def dot_packed(a: View, panels: Node, out: Node, after: Kernel | None = None) -> Kernel | None:
    """``out`` (m, n) = a (m, k) @ b with b as ``packed_b`` left it in ``panels``."""
    dtype, (m, k), n = out.dtype, a.shape, out.shape[1]
    nothing = (0, 0, 0)
    plan = plan_for(
        dtype, dtype, (1, 1, 1), m, n, k, Operand(nothing, a.strides[0], a.strides[1]),
        Operand(nothing, 0, 0, packed=True), Operand(nothing, n, 1), get_num_threads(),
    )  # fmt: skip
    return Kernel(
        f"dot {m}x{k}x{n} {dtype.name}, packed", key_of(dtype, dtype), writer_of(dtype, dtype),
        (place(a), Place(panels)), (Place(out),), plan.words, extent=plan.jobs,
        scratch=plan.scratch, flops=2 * m * n * k, nbytes=dtype.itemsize * (m * n + k * (m + n)),
        after=after, after_word=AFTER,
    )  # fmt: skip
