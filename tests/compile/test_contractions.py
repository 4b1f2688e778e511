"""``dot`` and ``conv`` as kernels of programs: views, dtypes, batches, what follows a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ctypes import CFUNCTYPE, c_int64, c_void_p, cast
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adjoint.base.dtype import (
    OF_NUMPY,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int64,
    uint32,
)
from adjoint.compile import contractions, frames, spread
from adjoint.compile.contractions import (
    Conv,
    conv_kernels,
    dot_kernel,
    dot_packed,
    packed_b,
)
from adjoint.compile.eager import Sequel
from adjoint.compile.kernel import Kernel
from adjoint.compile.lower import TEMPLATES, buffer
from adjoint.compile.views import View, seen_through, whole
from adjoint.ir.graph import recording
from adjoint.ir.node import Node
from adjoint.ops import contract
from adjoint.runtime.threads import get_num_threads, set_num_threads

Array = np.ndarray[Any, np.dtype[Any]]
FLOATS = (float32, float64, float16, bfloat16)
CLOSE = {float32: 3e-6, float64: 1e-14, float16: 2e-3, bfloat16: 1e-2}
TORCH = {float32: torch.float32, float64: torch.float64}
FUNCTIONS = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d}
FUNCTIONS[3] = torch.nn.functional.conv3d


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads."""
    before = get_num_threads()
    yield
    set_num_threads(before)


def random(shape: Sequence[int], dtype: DType, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype.numpy)


def view_of(base: Array, view: Array) -> View:
    """``view``, which shows part of ``base``, as the compiler says it."""
    size = base.itemsize
    node = buffer(base.shape, OF_NUMPY[base.dtype])
    start = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return View(node, view.shape, tuple(s // size for s in view.strides), start // size)


def check_dot(a: tuple[Array, Array], b: tuple[Array, Array]) -> None:
    """The product of two views, each with its base, against NumPy in double precision."""
    dtype = OF_NUMPY[a[0].dtype]
    out = buffer((*a[1].shape[:-1], b[1].shape[-1]), dtype)
    left, right = view_of(*a), view_of(*b)
    kernel = dot_kernel(left, right, out)
    assert kernel is not None
    found = np.full(out.shape, np.nan, dtype.numpy)
    Sequel([kernel], (left.node, right.node, out))((a[0], b[0], found))
    wide = np.longdouble if dtype is float64 else np.float64
    x, y = a[1].astype(wide), b[1].astype(wide)
    tiny = np.finfo(np.float16).smallest_subnormal if dtype is float16 else 0
    limit = CLOSE[dtype] * np.matmul(abs(x), abs(y)) + tiny
    assert np.all(abs(found.astype(wide) - np.matmul(x, y)) <= limit)


@pytest.mark.feature("O2")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_heads_of_attention(dtype: DType) -> None:
    """(B, H) products from buffers (B, T, H, D), some transposed, none copied."""
    q, k = random((3, 9, 4, 8), dtype), random((3, 11, 4, 8), dtype, 1)
    check_dot((q, q.transpose(0, 2, 1, 3)), (k, k.transpose(0, 2, 3, 1)))
    p = random((3, 4, 9, 11), dtype, 2)
    check_dot((p, p), (k, k.transpose(0, 2, 1, 3)))
    check_dot((p, p.transpose(0, 1, 3, 2)), (q, q.transpose(0, 2, 1, 3)))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_broadcast_and_sliced_operands(dtype: DType) -> None:
    a, b = random((5, 33, 40), dtype), random((40, 45), dtype, 1)
    check_dot((a, a), (b, np.broadcast_to(b, (5, 40, 45))))
    check_dot((a, a[::-1, ::2, 3:]), (b, np.broadcast_to(b[:37, ::-1], (5, 37, 45))))
    check_dot((a, np.broadcast_to(a[:1, :1], (5, 20, 40))), (b, np.broadcast_to(b, (5, 40, 45))))


@st.composite
def operands(draw: st.DrawFn) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Two views of three axes, permuted and sliced in any way."""
    batch, m, n, k = (draw(st.integers(1, top)) for top in (4, 40, 50, 90))
    dtype = draw(st.sampled_from(FLOATS))
    found: list[tuple[Array, Array]] = []
    for i, shape in enumerate(((batch, m, k), (batch, k, n))):
        order = draw(st.permutations(range(3)))
        steps = [draw(st.sampled_from((-2, -1, 1, 1, 2))) for _ in range(3)]
        base = random([shape[axis] * abs(steps[axis]) for axis in order], dtype, i)
        turned = base.transpose(np.argsort(order))
        found.append((base, turned[tuple(slice(None, None, s) for s in steps)]))
    return found[0], found[1]


@given(operands())
@settings(max_examples=80, deadline=None)
def test_any_views(pair: tuple[tuple[Array, Array], tuple[Array, Array]]) -> None:
    check_dot(*pair)


@pytest.mark.parametrize("m,n,k", [(1, 64, 70), (1, 50, 300), (3, 20, 257), (50, 1, 64), (1, 1, 9)])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_vectors(m: int, n: int, k: int, dtype: DType) -> None:
    """Matrix times vector: k contiguous or not, in both operands."""
    for turned in range(4):
        a = random((k, m) if turned & 1 else (m, k), dtype)
        b = random((n, k) if turned & 2 else (k, n), dtype, 1)
        check_dot((a, a.T if turned & 1 else a), (b, b.T if turned & 2 else b))


@pytest.mark.parametrize("dtype", [int8, int64, uint32], ids=str)
def test_integers_wrap_around(dtype: DType) -> None:
    numbers = np.random.default_rng(0)
    a, b = (
        numbers.integers(0, 100, shape).astype(dtype.numpy) for shape in ((3, 9, 21), (3, 40, 21))
    )
    out = buffer((3, 9, 40), dtype)
    for turned in (b.transpose(0, 2, 1), np.ascontiguousarray(b.transpose(0, 2, 1))):
        base = b if turned.base is not None else turned
        left, right = view_of(a, a), view_of(base, turned)
        kernel = dot_kernel(left, right, out)
        assert kernel is not None
        found = np.zeros(out.shape, dtype.numpy)
        Sequel([kernel], (left.node, right.node, out))((a, base, found))
        assert np.array_equal(found, np.matmul(a, turned))


def test_what_the_template_does_not_do() -> None:
    a, b = whole(buffer((4, 5), bool_)), whole(buffer((5, 6), bool_))
    assert dot_kernel(a, b, buffer((4, 6), bool_)) is None
    empty = whole(buffer((0, 5), float32))
    assert dot_kernel(empty, whole(buffer((5, 6), float32)), buffer((0, 6), float32)) is None
    assert TEMPLATES["dot"] is contractions.lower_dot
    assert TEMPLATES["conv"] is contractions.lower_conv


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_a_packed_operand_is_packed_once(dtype: DType) -> None:
    w = random((70, 90), dtype, 1)
    right = view_of(w, w.T)
    found = packed_b(right)
    assert found is not None
    packing, panels = found
    memory = np.zeros(panels.shape, panels.dtype.numpy)
    Sequel([packing], (right.node, panels))((w, memory))
    for m in (1, 5, 32):
        a = random((m, 90), dtype)
        left, out = whole(buffer(a.shape, dtype)), buffer((m, 70), dtype)
        kernel = dot_packed(left, panels, out)
        assert kernel is not None
        result = np.empty((m, 70), dtype.numpy)
        Sequel([kernel], (left.node, panels, out))((a, memory, result))
        assert np.allclose(result, a @ w.T, rtol=1e-4, atol=1e-4)


def following(kernel: Kernel, calls: list[tuple[int, ...]]) -> Any:
    """Have Python called for each finished block; the function is to be kept."""

    def note(_: int, *block: int) -> None:
        calls.append(block)

    function = CFUNCTYPE(None, c_void_p, *[c_int64] * 4)(note)
    assert kernel.after_word >= 0
    at = kernel.after_word - len(kernel.reads) - len(kernel.writes)
    words = list(kernel.words)
    words[at] = cast(function, c_void_p).value or 0
    kernel.words = tuple(words)
    return function


def covered(calls: list[tuple[int, ...]], rows: int, columns: int) -> bool:
    """Whether every element of the result was finished exactly once."""
    count = np.zeros((rows, columns), np.int64)
    for top, bottom, left, right in calls:
        count[top:bottom, left:right] += 1
    return bool((count == 1).all())


def test_each_block_is_finished_once(threads: None) -> None:
    for shape in ((300, 70, 500), (3, 40, 50, 20)):
        *lead, m, n, k = shape
        a, b = whole(buffer((*lead, m, k), float32)), whole(buffer((*lead, k, n), float32))
        out = buffer((*lead, m, n), float32)
        set_num_threads(2)
        kernel = dot_kernel(a, b, out)
        assert kernel is not None
        calls: list[tuple[int, ...]] = []
        kept = following(kernel, calls)
        values = [random(node.shape, float32) for node in (a.node, b.node, out)]
        Sequel([kernel], (a.node, b.node, out))(values)
        assert kept is not None
        assert covered(calls, int(np.prod(lead)) * m, n)


def conv_takes_after(x: View, w: View, out: Node, conv: Conv) -> bool:
    """Whether the kernels of a convolution let another finish their blocks."""
    probe = Kernel("probe", "", lambda target: "", (), ())
    found = conv_kernels(x, w, out, conv, probe)
    return found is not None and any(kernel.after is probe for kernel in found)


@pytest.mark.parametrize("outs,groups", [(16, 1), (6, 1), (16, 8), (4, 2)])
def test_each_channel_of_a_convolution_is_finished_once(
    outs: int, groups: int, threads: None
) -> None:
    set_num_threads(2)
    x, w = whole(buffer((3, 8, 20, 17), float32)), whole(buffer((outs, 8 // groups, 3, 3), float32))
    out = buffer((3, outs, 20, 17), float32)
    ones = (1, 1)
    params = Conv(ones, ((1, 1),) * 2, ones, ones, groups)
    assert conv_takes_after(x, w, out, params)
    kernels = conv_kernels(x, w, out, params)
    assert kernels is not None
    calls: list[tuple[int, ...]] = []
    kept = following(kernels[-1], calls)
    values = [random(node.shape, float32) for node in (x.node, w.node, out)]
    Sequel(kernels, (x.node, w.node, out))(values)
    assert kept is not None
    assert covered(calls, 3 * outs, 20 * 17)


def test_results_that_no_kernel_can_finish() -> None:
    """Small images are one product, and phases are woven together at the end."""
    ones, none = (1, 1), ((0, 0),) * 2
    for size, inner in ((5, (1, 1)), (20, (2, 2))):
        x, w = whole(buffer((4, 16, size, size), float32)), whole(buffer((32, 16, 2, 2), float32))
        places = size - 1 if inner == ones else 2 * size - 2
        out = buffer((4, 32, places, places), float32)
        assert not conv_takes_after(x, w, out, Conv(ones, none, ones, inner, 1))


# --- convolutions -------------------------------------------------------------------------------


def resolved(node: Node, values: dict[Node, Array]) -> View:
    """The view that ``node`` is; computed where it is not affine."""
    if node in values:
        return whole(node)
    assert node.op is not None and node.args is not None
    found = seen_through(node, resolved(node.args[0], values))
    if found is None:
        inside = resolved(node.args[0], values)
        arg = np.lib.stride_tricks.as_strided(
            values[inside.node].reshape(-1)[inside.offset :],
            inside.shape,
            [s * inside.node.dtype.itemsize for s in inside.strides],
        )
        values[node] = np.ascontiguousarray(node.op.ref(arg, **node.params))
        return whole(node)
    return found


def computed(node: Node, values: dict[Node, Array]) -> Array:
    """A ``conv`` node, or a view of one, by the kernels."""
    assert node.op is not None and node.args is not None
    if node.op.name != "conv":
        return node.op.ref(computed(node.args[0], values), **node.params)
    x, w = (resolved(arg, values) for arg in node.args)
    kernels = conv_kernels(x, w, node, Conv(**node.params))
    assert kernels is not None
    out = np.full(node.shape, np.nan, node.dtype.numpy)
    Sequel(kernels, (x.node, w.node, node))((values[x.node], values[w.node], out))
    return out


Case = tuple[int, int, int, tuple[int, ...], tuple[int, ...], int, int, int, int]


def compare(case: Case, dtype: DType) -> None:
    """A convolution and both gradients against torch."""
    n, c, o, sizes, kernel, stride, pad, dilation, groups = case
    rank = len(sizes)
    params: dict[str, Any] = {
        "stride": (stride,) * rank, "padding": ((pad, pad),) * rank, "dilation": (dilation,) * rank,
        "inner": (1,) * rank, "groups": groups,
    }  # fmt: skip
    with recording():
        x, w = buffer((n, c, *sizes), dtype), buffer((o, c // groups, *kernel), dtype)
        y = contract.conv(x, w, **params)
        ct = buffer(y.shape, dtype)
        (dx, _) = contract.conv.vjp(ct, y, (True, False), (x, w), params)
        (_, dw) = contract.conv.vjp(ct, y, (False, True), (x, w), params)
    values = {node: random(node.shape, dtype, i) for i, node in enumerate((x, w, ct))}
    exact = [torch.from_numpy(values[node].astype(np.float64)) for node in (x, w, ct)]
    tx, tw = (t.requires_grad_() for t in exact[:2])
    expected = FUNCTIONS[rank](tx, tw, stride=stride, padding=pad, dilation=dilation, groups=groups)
    expected.backward(exact[2])
    for node, theirs in ((y, expected.detach()), (dx, tx.grad), (dw, tw.grad)):
        assert theirs is not None
        ours = computed(node, dict(values)).astype(np.float64)
        error = abs(ours - theirs.numpy()).max() / abs(theirs.numpy()).max()
        assert error <= 2 * CLOSE[dtype]


CASES: list[Case] = [
    (2, 3, 8, (10, 11), (3, 3), 1, 1, 1, 1),
    (3, 8, 16, (14, 14), (3, 3), 2, 1, 1, 1),
    (2, 8, 16, (9, 40), (3, 5), 1, 2, 2, 2),
    (4, 16, 32, (4, 4), (3, 3), 1, 1, 1, 1),
    (2, 6, 9, (7, 7), (7, 7), 1, 3, 1, 3),
    (2, 16, 40, (19, 21), (1, 1), 2, 0, 1, 1),
    (1, 3, 64, (30, 30), (7, 7), 2, 3, 1, 1),
    (2, 5, 9, (70,), (9,), 1, 4, 2, 1),
    (2, 3, 10, (9, 10, 11), (3, 2, 3), 2, 1, 1, 1),
    (2, 8, 8, (12, 13), (3, 3), 1, 1, 1, 8),
    (2, 8, 16, (12, 13), (3, 3), 2, 1, 1, 8),
    (33, 16, 16, (8, 8), (3, 3), 1, 1, 1, 1),
    (8, 1, 6, (28, 28), (5, 5), 1, 2, 1, 1),
    (2, 8, 4, (11, 11), (3, 3), 3, 1, 2, 1),
    (2, 4, 6, (12, 12), (3, 3), 1, -1, 1, 1),
]


@pytest.mark.feature("O22")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_gradients(case: Case, dtype: DType) -> None:
    if case[6] < 0:
        pytest.skip("torch does not crop") if dtype is not float32 else cropped(case)
    else:
        compare(case, dtype)


def cropped(case: Case) -> None:
    """Negative padding crops."""
    n, c, o, sizes, kernel, _, pad, _, _ = case
    x, w = random((n, c, *sizes), float32), random((o, c, *kernel), float32, 1)
    ones = (1, 1)
    views = [whole(buffer(array.shape, float32)) for array in (x, w)]
    places = tuple(s + 2 * pad - k + 1 for s, k in zip(sizes, kernel, strict=True))
    out = buffer((n, o, *places), float32)
    kernels = conv_kernels(views[0], views[1], out, Conv(ones, ((pad, pad),) * 2, ones, ones, 1))
    assert kernels is not None
    found = np.empty(out.shape, np.float32)
    Sequel(kernels, (*(v.node for v in views), out))((x, w, found))
    expected = FUNCTIONS[2](torch.from_numpy(x[:, :, 1:-1, 1:-1].copy()), torch.from_numpy(w))
    assert np.allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


@given(
    n=st.integers(1, 4), group=st.integers(1, 5), outs=st.integers(1, 9), groups=st.integers(1, 3),
    sizes=st.tuples(st.integers(5, 24), st.integers(5, 24)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.integers(1, 3),
    pad=st.integers(0, 3), dilation=st.integers(1, 2),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_random_convolutions(
    n: int, group: int, outs: int, groups: int, sizes: tuple[int, int], kernel: tuple[int, int],
    stride: int, pad: int, dilation: int,
) -> None:  # fmt: skip
    if all(s + 2 * pad > (k - 1) * dilation for s, k in zip(sizes, kernel, strict=True)):
        compare(
            (n, group * groups, outs * groups, sizes, kernel, stride, pad, dilation, groups),
            float32,
        )


@pytest.mark.parametrize("case", [CASES[i] for i in (0, 1, 3, 9, 11, 12)], ids=str)
def test_bits_do_not_depend_on_the_threads(case: Case, threads: None) -> None:
    n, c, o, sizes, kernel, stride, pad, dilation, groups = case
    params = Conv((stride,) * 2, ((pad, pad),) * 2, (dilation,) * 2, (1, 1), groups)
    x, w = random((n, c, *sizes), float32), random((o, c // groups, *kernel), float32, 1)
    places = tuple(
        (s + 2 * pad - (k - 1) * dilation - 1) // stride + 1
        for s, k in zip(sizes, kernel, strict=True)
    )
    results: list[Array] = []
    for count in (1, 2, 3, 5):
        set_num_threads(count)
        views = [whole(buffer(array.shape, float32)) for array in (x, w)]
        out = buffer((n, o, *places), float32)
        kernels = conv_kernels(views[0], views[1], out, params)
        assert kernels is not None
        found = np.empty(out.shape, np.float32)
        Sequel(kernels, (*(v.node for v in views), out))((x, w, found))
        results.append(found)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_rows_of_zeros_and_odd_steps() -> None:
    """Every third element, rows outside, and a step that has no vectors of its own."""
    x = random((2, 3, 10, 11), float32)
    view = whole(buffer(x.shape, float32))
    grid = frames.Grid(((-2, -1, 0), (-1, 0, 1)), ((0, 3, 6, 9), (0, 3, 6, 9)), (3, 3))
    kernel, source = frames.arranged(view, grid)
    found = np.full(source.view.node.shape, np.nan, np.float32)
    Sequel([kernel], (view.node, source.view.node))((x, found))
    offsets = source.taps[:, None] + source.places
    image, channel = source.view.strides[:2]
    padded = np.pad(x, ((0, 0), (0, 0), (2, 3), (1, 3)))
    for i in range(2):
        for j in range(3):
            ours = found[i * image + j * channel + offsets]
            rows = np.array([t + p for t in (0, 1, 2) for p in (0, 3, 6, 9)])
            theirs = padded[i, j][np.ix_(rows, rows)].reshape(3, 4, 3, 4).transpose(0, 2, 1, 3)
            assert np.array_equal(ours, theirs.reshape(9, 16))
    assert "step" in spread.ARRANGE
