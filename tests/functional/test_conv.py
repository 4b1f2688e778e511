"""Convolutions: PyTorch, SciPy, the adjoint identity, and how much they multiply."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.nn import functional as F
from adjoint.ops import correlate as kernels
from tests.tensors.twins import floats, maps, smooth

TF = torch.nn.functional
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_T = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
THEIRS = {1: TF.conv1d, 2: TF.conv2d, 3: TF.conv3d}
THEIRS_T = {1: TF.conv_transpose1d, 2: TF.conv_transpose2d, 3: TF.conv_transpose3d}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's threads wait for each other longer than these sizes take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def configurations(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Random sizes: axes, kernel, stride, padding, dilation, groups and an image that fits."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        axes = int(rng.integers(1, 4))
        groups = int(rng.choice([1, 1, 2, 3]))
        kernel = tuple(int(k) for k in rng.integers(1, [8, 5, 4][axes - 1], axes))
        stride = tuple(int(s) for s in rng.integers(1, 4, axes))
        dilation = tuple(int(d) for d in rng.integers(1, 4, axes))
        padding = tuple(int(p) for p in rng.integers(0, 4, axes))
        least = [
            max(d * (k - 1) + 1 - 2 * p, 1)
            for k, d, p in zip(kernel, dilation, padding, strict=True)
        ]
        image = tuple(int(n + rng.integers(0, 7)) for n in least)
        depthwise = rng.random() < 0.15
        yield {
            "axes": axes, "groups": 4 if depthwise else groups, "kernel": kernel, "stride": stride,
            "dilation": dilation, "padding": padding, "image": image,
            "batch": int(rng.integers(1, 4)),
            "ins": 1 if depthwise else int(rng.integers(1, 4)), "outs": int(rng.integers(1, 4)),
            "bias": bool(rng.integers(0, 2)), "rng": rng,
        }  # fmt: skip


def run(c: dict[str, Any], dtype: Any, transposed: bool = False) -> tuple[list[Any], list[Any]]:
    """Output and all gradients: ours, PyTorch's."""
    rng, g, axes = c["rng"], c["groups"], c["axes"]
    x = rng.normal(size=(c["batch"], c["ins"] * g, *c["image"])).astype(dtype)
    channels = (c["ins"] * g, c["outs"]) if transposed else (c["outs"] * g, c["ins"])
    w = rng.normal(size=(*channels, *c["kernel"])).astype(dtype)
    b = rng.normal(size=c["outs"] * g).astype(dtype) if c["bias"] else None
    if transposed:
        extra = tuple(max(s, d) - 1 for s, d in zip(c["stride"], c["dilation"], strict=True))
        rest: tuple[Any, ...] = (c["stride"], 0, extra, g, c["dilation"])
    else:
        rest = (c["stride"], c["padding"], c["dilation"], g)
    results: list[list[Any]] = []
    for library, function in (
        (ad, (CONV_T if transposed else CONV)[axes]),
        (torch, (THEIRS_T if transposed else THEIRS)[axes]),
    ):
        arrays = [a for a in (x, w, b) if a is not None]
        leaves = [library.tensor(a, requires_grad=True) for a in arrays]
        bias = leaves[2] if b is not None else None
        out = function(leaves[0], leaves[1], bias, *rest)
        weight = np.random.default_rng(7).normal(size=tuple(out.shape)).astype(dtype)
        (out * library.tensor(weight)).sum().backward()
        results.append([out.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)])
    return results[0], results[1]


@pytest.mark.feature("O18")
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_random_configurations_are_pytorchs(dtype: Any, tolerance: float) -> None:
    for c in configurations(300, seed=0):
        for ours, theirs in zip(*run(c, dtype), strict=True):
            assert ours.shape == theirs.shape, c
            scale = max(1.0, float(np.abs(theirs).max(initial=0)))
            np.testing.assert_allclose(ours, theirs, atol=tolerance * scale, err_msg=str(c))


@pytest.mark.feature("O18")
def test_the_five_ways_and_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path of the NumPy kernel, also where work is cut into pieces of one image."""
    taken: set[str] = set()
    for name in ("_gather", "_gather_wide", "_tap_by_tap", "_scatter", "_mixed"):
        way = getattr(kernels, name)

        def spy(*args: Any, way: Any = way, name: str = name) -> Any:
            taken.add(name)
            return way(*args)

        monkeypatch.setattr(kernels, name, spy)
    for buffer, narrow, seed in ((1, 64, 1), (3000, 1, 2), (1 << 22, 1, 3)):
        monkeypatch.setattr(kernels, "BUFFER", buffer)
        monkeypatch.setattr(kernels, "NARROW", narrow)
        for c in configurations(60, seed):
            for transposed in (False, True):
                for ours, theirs in zip(*run(c, np.float64, transposed), strict=True):
                    np.testing.assert_allclose(ours, theirs, atol=1e-9, err_msg=str(c))
    assert taken == {"_gather", "_gather_wide", "_tap_by_tap", "_scatter", "_mixed"}


@pytest.mark.feature("O18")
def test_derivatives_of_both_orders_and_batching() -> None:
    x, w, b = floats(2, 4, 6, 5), floats(4, 2, 3, 2, seed=1), floats(4, seed=2)
    smooth(lambda *a: F.conv2d(*a, stride=(2, 1), padding=1, groups=2), x, w, b)
    smooth(lambda *a: F.conv_transpose2d(*a, stride=2, padding=1, groups=2), x, w, floats(4))
    batch = [np.stack([a] * 3) + np.arange(3).reshape(-1, *(1,) * a.ndim) for a in (x, w, b)]
    for shared in ((), (1, 2), (0, 2), (2,)):
        arrays = [
            a if i in shared else v for i, (a, v) in enumerate(zip((x, w, b), batch, strict=True))
        ]
        maps(lambda *a: F.conv2d(*a, stride=2, padding=1, groups=2), *arrays, shared=shared)


@pytest.mark.feature("O18")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_padding_words_and_single_images(axes: int) -> None:
    x, w = floats(2, 3, *(7, 8, 6)[:axes]), floats(4, 3, *(4, 3, 2)[:axes], seed=1)
    for dtype in (np.float64, np.float32):
        a, k = ad.tensor(x.astype(dtype)), ad.tensor(w.astype(dtype))
        ta, tk = torch.tensor(x.astype(dtype)), torch.tensor(w.astype(dtype))
        for options in (
            {"padding": "valid"},
            {"padding": "same"},
            {"padding": "same", "dilation": 2},
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch copies for an even kernel, and says so
                theirs = THEIRS[axes](ta, tk, **options).numpy()
            ours = CONV[axes](a, k, **options)
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4)
            single = CONV[axes](a[0], k, **options)
            np.testing.assert_allclose(single.numpy(), theirs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.feature("O30")
def test_transposed_convolution_is_the_adjoint() -> None:
    """<conv x, y> = <x, conv^T y>, and the values are PyTorch's."""
    for c in configurations(100, seed=4):
        g, axes, rng = c["groups"], c["axes"], c["rng"]
        x = ad.tensor(rng.normal(size=(c["batch"], c["ins"] * g, *c["image"])))
        w = ad.tensor(rng.normal(size=(c["outs"] * g, c["ins"], *c["kernel"])))
        out = CONV[axes](x, w, None, c["stride"], c["padding"], c["dilation"], g)
        y = ad.tensor(rng.normal(size=out.shape))
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                out.shape[2:], c["stride"], c["padding"], c["dilation"], c["kernel"], strict=True
            )
        ]
        extra = tuple(n - m for n, m in zip(c["image"], least, strict=True))
        back = CONV_T[axes](y, w, None, c["stride"], c["padding"], extra, g, c["dilation"])
        left, right = (out * y).sum().item(), (x * back).sum().item()
        assert left == pytest.approx(right, abs=1e-10 * max(1, abs(left))), c
        for ours, theirs in zip(*run(c, np.float64, transposed=True), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-10, err_msg=str(c))


@pytest.mark.feature("O30")
def test_transposed_convolution_is_a_convolution_of_the_spread_input() -> None:
    x, w = floats(2, 3, 4, 5), floats(3, 2, 3, 3, seed=1)
    spread = np.zeros((2, 3, 7, 9))
    spread[:, :, ::2, ::2] = x
    kernel = np.ascontiguousarray(w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
    wanted = F.conv2d(ad.tensor(spread), ad.tensor(kernel), padding=2)
    ours = F.conv_transpose2d(ad.tensor(x), ad.tensor(w), stride=2)
    np.testing.assert_allclose(ours.numpy(), wanted.numpy(), atol=1e-12)


@pytest.mark.feature("O17")
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolve_and_correlate_are_scipys(mode: str) -> None:
    rng = np.random.default_rng(0)
    for shape, kernel in (((9, 8), (3, 3)), ((9, 8), (4, 2)), ((5, 6), (5, 1)), ((6, 7), (2, 5))):
        x, k = rng.normal(size=shape), rng.normal(size=kernel)
        ours = F.convolve(ad.tensor(x), ad.tensor(k), mode).numpy()
        np.testing.assert_allclose(ours, signal.convolve2d(x, k, mode), atol=1e-10)
        ours = F.correlate(ad.tensor(x), ad.tensor(k), mode).numpy()
        np.testing.assert_allclose(ours, signal.correlate2d(x, k, mode), atol=1e-10)
    for n, m in ((9, 4), (8, 3), (5, 5)):
        x, k = rng.normal(size=n), rng.normal(size=m)
        if mode == "same" and m % 2 == 0:
            continue  # SciPy's two correlations differ here; ours is that of two dimensions
        np.testing.assert_allclose(
            F.convolve(ad.tensor(x), ad.tensor(k), mode).numpy(), signal.convolve(x, k, mode),
            atol=1e-10,
        )  # fmt: skip
        np.testing.assert_allclose(
            F.correlate(ad.tensor(x), ad.tensor(k), mode).numpy(), signal.correlate(x, k, mode),
            atol=1e-10,
        )  # fmt: skip
    x, k = rng.normal(size=(4, 5, 6)), rng.normal(size=(2, 3, 3))
    np.testing.assert_allclose(
        F.convolve(ad.tensor(x), ad.tensor(k), mode).numpy(),
        signal.convolve(x, k, mode),
        atol=1e-10,
    )


@pytest.mark.feature("O17")
def test_an_asymmetric_kernel_tells_them_apart() -> None:
    x, k = ad.zeros(5, 5), ad.tensor([[1.0, 2.0], [3.0, 4.0]])
    x[2, 2] = 1.0
    point = ad.ones(1, 1)
    assert F.convolve(point, k).tolist() == [[1, 2], [3, 4]]
    assert F.correlate(point, k).tolist() == [[4, 3], [2, 1]]
    layer = F.conv2d(x[None, None], k[None, None])[0, 0]
    assert (layer == F.correlate(x, k, "valid")).all()  # the layers are cross-correlations
    smooth(lambda a, b: F.convolve(a, b, "same"), floats(5, 4), floats(3, 2))
    with pytest.raises(ShapeError, match="valid"):
        F.convolve(k, ad.ones(3, 3), "valid")
    with pytest.raises(ShapeError, match="same rank"):
        F.convolve(k, ad.ones(3))
    with pytest.raises(ArgumentError, match="full"):
        F.convolve(k, k, "ful")


@pytest.mark.feature("O19")
@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_centred_one_is_the_identity(size: int, dtype: Any) -> None:
    x = floats(2, 1, 9, 11).astype(dtype)
    k = np.zeros((1, 1, size, size), dtype)
    k[0, 0, size // 2, size // 2] = 1
    out = F.conv2d(ad.tensor(x), ad.tensor(k), padding=size // 2).numpy()
    np.testing.assert_array_equal(out, x)


@pytest.mark.feature("O19")
def test_zeros_round_a_kernel_change_nothing() -> None:
    x, k = floats(2, 3, 9, 9), floats(4, 3, 3, 3, seed=1)
    wide = np.zeros((4, 3, 7, 7))
    wide[:, :, 2:5, 2:5] = k
    small = F.conv2d(ad.tensor(x), ad.tensor(k), padding=1).numpy()
    large = F.conv2d(ad.tensor(x), ad.tensor(wide), padding=3).numpy()
    np.testing.assert_allclose(small, large, atol=1e-12)


@pytest.mark.feature("O22")
def test_one_by_one_mixes_channels_never_pixels() -> None:
    x, w = floats(2, 5, 4, 3), floats(6, 5, 1, 1, seed=1)
    out = F.conv2d(ad.tensor(x), ad.tensor(w)).numpy()
    wanted = np.einsum("oc,nchw->nohw", w[:, :, 0, 0], x)
    np.testing.assert_allclose(out, wanted, atol=1e-6)
    jacobian = ad.jacrev(lambda a: F.conv2d(a, ad.tensor(w)))(ad.tensor(x[:1]))
    j = jacobian.numpy().reshape(6, 12, 5, 12)
    for p in range(12):
        for q in range(12):
            if p != q:
                assert (j[:, p, :, q] == 0).all()


class Counter:
    """Stands for the matrix product of the kernels and adds up its multiply-adds."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, a: Any, b: Any, out: Any = None) -> Any:
        found = np.matmul(a, b, out=out)
        self.count += found.size * a.shape[-1]
        return found


@pytest.mark.feature("O28")
@pytest.mark.parametrize("m", [2, 3, 4])
def test_a_stride_skips_the_work(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 12 * m + 2  # so that m divides the number of places
    x = ad.tensor(floats(2, 3, size, size))
    w = ad.tensor(floats(8, 3, 3, 3, seed=1))
    counts: list[int] = []
    outs: list[np.ndarray] = []
    for stride in (1, m):
        counter = Counter()
        monkeypatch.setattr(kernels, "matmul", counter)
        outs.append(F.conv2d(x, w, stride=stride).numpy())
        counts.append(counter.count)
    np.testing.assert_allclose(outs[1], outs[0][:, :, ::m, ::m], atol=1e-6)
    assert counts[1] == 2 * 8 * 27 * 12 * 12  # exactly what the output needs
    assert counts[1] <= counts[0] / m**2


@pytest.mark.feature("O28")
def test_gradients_of_a_stride_do_not_multiply_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    x = ad.tensor(floats(2, 8, 17, 17), requires_grad=True)
    w = ad.tensor(floats(4, 8, 3, 3, seed=1), requires_grad=True)
    counter = Counter()
    monkeypatch.setattr(kernels, "matmul", counter)
    out = F.conv2d(x, w, stride=2)
    forward = counter.count
    out.sum().backward()
    assert forward == 2 * 4 * 72 * 8 * 8
    assert counter.count <= 3 * forward


@pytest.mark.feature("O33")
def test_causal_dilated_convolutions_see_only_the_past() -> None:
    layers = 5
    rng = np.random.default_rng(0)
    weights = [ad.tensor(rng.uniform(0.5, 1, (1, 1, 2))) for _ in range(layers)]

    def net(x: Any) -> Any:
        for depth, w in enumerate(weights):
            x = F.conv1d(F.pad(x, (2**depth, 0)), w, dilation=2**depth)
        return x

    time = 40
    jacobian = ad.jacrev(net)(ad.tensor(rng.normal(size=(1, 1, time)))).numpy().reshape(time, time)
    reach = 2**layers  # 1 + sum of 2^k
    for t in range(time):
        assert (jacobian[t, t + 1 :] == 0).all()
        seen = np.flatnonzero(jacobian[t])
        assert seen.min() == max(t - reach + 1, 0) and seen.max() == t
        assert len(seen) == min(t + 1, reach)


@pytest.mark.feature("O34")
def test_depthwise_and_separable(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = 6
    x, w = floats(2, channels, 8, 7), floats(channels, 1, 3, 3, seed=1)
    out = F.conv2d(ad.tensor(x), ad.tensor(w), padding=1, groups=channels).numpy()
    for c in range(channels):
        one = F.conv2d(ad.tensor(x[:, c : c + 1]), ad.tensor(w[c : c + 1]), padding=1).numpy()
        np.testing.assert_allclose(out[:, c : c + 1], one, atol=1e-6)
    two = F.conv2d(
        ad.tensor(x), ad.tensor(floats(2 * channels, 1, 3, 3)), padding=1, groups=channels
    )
    theirs = TF.conv2d(
        torch.tensor(x), torch.tensor(floats(2 * channels, 1, 3, 3)), padding=1, groups=channels
    )
    np.testing.assert_allclose(two.numpy(), theirs.numpy(), atol=1e-10)
    # groups of two channels: half the multiply-adds per group, and so on down to depthwise
    counts: list[int] = []
    for groups in (1, 3):
        counter = Counter()
        monkeypatch.setattr(kernels, "matmul", counter)
        weight = ad.tensor(floats(channels, channels // groups, 3, 3))
        F.conv2d(ad.tensor(x), weight, padding=1, groups=groups)
        counts.append(counter.count)
    assert counts[0] == 3 * counts[1]
    counter = Counter()
    monkeypatch.setattr(kernels, "matmul", counter)
    F.conv2d(ad.tensor(x), ad.tensor(w), padding=1, groups=channels)
    assert counter.count == 0  # tap by tap: one multiplication per tap and pixel, C times fewer


def test_layouts_dtypes_and_empty_batches() -> None:
    x, w = floats(2, 3, 6, 5), floats(4, 3, 3, 3, seed=1)
    wanted = TF.conv2d(torch.tensor(x), torch.tensor(w)).numpy()
    turned = ad.tensor(np.ascontiguousarray(np.moveaxis(x, 1, -1))).movedim(-1, 1)
    np.testing.assert_allclose(F.conv2d(turned, ad.tensor(w)).numpy(), wanted, atol=1e-10)
    backwards = ad.tensor(x[:, :, ::-1, ::-1].copy()).flip(2, 3)
    np.testing.assert_allclose(F.conv2d(backwards, ad.tensor(w)).numpy(), wanted, atol=1e-10)
    for dtype in (ad.float16, ad.bfloat16):
        out = F.conv2d(ad.tensor(x, dtype=dtype), ad.tensor(w, dtype=dtype))
        assert out.dtype is dtype
        np.testing.assert_allclose(out.float().numpy(), wanted, rtol=0.05, atol=0.1)
    counts = F.conv2d(ad.ones(1, 1, 3, 3, dtype=ad.int64), ad.ones(1, 1, 2, 2, dtype=ad.int64))
    assert counts.tolist() == [[[[4, 4], [4, 4]]]]
    assert F.conv2d(ad.zeros(0, 3, 6, 5), ad.tensor(w).float()).shape == (0, 4, 4, 3)
    meta = F.conv2d(
        ad.empty(2, 3, 6, 5, device="meta"), ad.empty(4, 3, 3, 3, device="meta"), stride=2
    )
    assert meta.shape == (2, 4, 2, 2)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: F.conv2d(ad.ones(1, 1, 3, 3), ad.ones(1, 1, 5, 5)), ShapeError, "does not fit"),
        (lambda: F.conv2d(ad.ones(1, 3, 8, 8), ad.ones(4, 1, 3, 3)), ShapeError, "3 channels"),
        (lambda: F.conv2d(ad.ones(1, 8, 8, 3), ad.ones(4, 3, 3, 3)), ShapeError, "movedim"),
        (lambda: F.conv2d(ad.ones(1, 3, 8, 8), ad.ones(4, 1, 3, 3), groups=2), ShapeError,
         "2 groups"),
        (lambda: F.conv2d(ad.ones(8, 8), ad.ones(4, 1, 3, 3)), ShapeError, "unsqueeze"),
        (lambda: F.conv2d(ad.ones(1, 1, 8, 8), ad.ones(4, 1, 3)), ShapeError, "4 dimensions"),
        (lambda: F.conv2d(ad.ones(1, 1, 8, 8), ad.ones(1, 1, 3, 3, dtype=ad.float64)), DTypeError,
         "different dtypes"),
        (lambda: F.conv2d(ad.ones(1, 1, 8, 8), ad.ones(1, 1, 3, 3), stride=0), ArgumentError,
         "stride"),
        (lambda: F.conv2d(ad.ones(1, 1, 8, 8), ad.ones(1, 1, 3, 3), padding="sane"), ArgumentError,
         "same"),
        (lambda: F.conv2d(ad.ones(1, 1, 8, 8), ad.ones(1, 1, 3, 3), stride=2, padding="same"),
         ArgumentError, "stride 1"),
        (lambda: F.conv2d(ad.ones(1, 1, 8, 8), ad.ones(1, 1, 3, 3), ad.ones(2)), ShapeError,
         "bias"),
        (lambda: F.conv_transpose2d(ad.ones(1, 1, 2, 2), ad.ones(1, 1, 2, 2), padding=3),
         ShapeError, "leaves nothing"),
        (lambda: F.conv_transpose2d(ad.ones(1, 1, 2, 2), ad.ones(1, 1, 2, 2), output_padding=1),
         ArgumentError, "output_padding"),
        (lambda: F.conv_transpose2d(ad.ones(1, 2, 2, 2), ad.ones(1, 1, 2, 2)), ShapeError,
         "channels"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_explained(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
