"""The compiled convolution: values and both gradients against torch, and its threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.compile import convolutions
from adjoint.ops import correlate
from adjoint.ops.contract import conv
from adjoint.runtime.device import CPU
from adjoint.runtime.threads import get_num_threads, set_num_threads
from adjoint.tensors.handle import wrap

Array = np.ndarray[Any, np.dtype[Any]]
FUNCTIONS = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}
CASES = [  # images, channels, outputs, sizes, kernel, stride, dilation, padding, groups
    (2, 3, 8, (10, 11), (3, 3), 1, 1, 1, 1),
    (3, 8, 16, (14, 14), (3, 3), 2, 1, 1, 1),
    (2, 8, 16, (9, 40), (3, 5), 1, 2, 2, 2),
    (1, 4, 8, (40, 40), (5, 5), 1, 1, 0, 1),
    (4, 16, 32, (4, 4), (3, 3), 1, 1, 1, 1),
    (2, 6, 9, (7, 7), (7, 7), 1, 1, 3, 3),
    (2, 16, 40, (33, 35), (1, 1), 1, 1, 0, 1),
    (2, 16, 40, (33, 35), (1, 1), 2, 1, 0, 1),
    (1, 3, 64, (50, 50), (7, 7), 2, 1, 3, 1),
    (2, 24, 32, (20, 20), (3, 3), 3, 1, 1, 1),
    (2, 5, 9, (70,), (9,), 1, 2, 4, 1),
    (2, 3, 10, (9, 10, 11), (3, 2, 3), 1, 1, 1, 1),
    (2, 3, 10, (9, 10, 11), (3, 2, 3), 2, 1, 1, 1),
]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sends every convolution to the compiled kernel, and lists the shapes that went there."""
    seen: list[tuple[int, ...]] = []

    def counted(x: Array, w: Array, *rest: Any) -> Array | None:
        seen.append((*x.shape, *w.shape))
        return convolutions.conv(x, w, *rest)

    monkeypatch.setitem(CPU.kernels, "conv", counted)
    monkeypatch.setattr(correlate, "LARGE", 0)
    return seen


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads."""
    before = get_num_threads()
    yield
    set_num_threads(before)


def random(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def same(value: int, rank: int) -> tuple[int, ...]:
    return (value,) * rank


@pytest.mark.feature("O22")
@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients(case: Any, dtype: str, always: list[tuple[int, ...]]) -> None:
    n, c, o, sizes, kernel, stride, dilation, pad, groups = case
    rank = len(sizes)
    arrays = random((n, c, *sizes), dtype, 0), random((o, c // groups, *kernel), dtype, 1)
    x, w = (ad.tensor(array, requires_grad=True) for array in arrays)
    found = wrap(
        conv(
            x.node, w.node, stride=same(stride, rank), padding=((pad, pad),) * rank,
            dilation=same(dilation, rank), inner=same(1, rank), groups=groups,
        )
    )  # fmt: skip
    ct = random(tuple(found.shape), dtype, 2)
    (found * ad.tensor(ct)).sum().backward()
    tx, tw = (torch.from_numpy(array).requires_grad_() for array in arrays)
    expected = FUNCTIONS[rank](tx, tw, stride=stride, padding=pad, dilation=dilation, groups=groups)
    (expected * torch.from_numpy(ct)).sum().backward()
    assert len(always) >= 2
    for ours, theirs in ((found, expected), (x.grad, tx.grad), (w.grad, tw.grad)):
        assert ours is not None and theirs is not None
        difference = abs(ours.detach().numpy() - theirs.detach().numpy())
        limit = {"f": 2e-6, "d": 1e-14}[dtype] * abs(theirs.detach().numpy()).max()
        assert difference.max() <= limit


def test_images_whose_memory_is_permuted(always: list[tuple[int, ...]]) -> None:
    x = random((9, 3, 12, 13), "f", 0).transpose(1, 0, 2, 3)
    w = random((9, 16, 3, 3), "f", 1).transpose(1, 0, 3, 2)
    found = correlate.correlate(x, w, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1)
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w))
    assert len(always) == 1
    assert np.allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_images_at_odd_addresses(always: list[tuple[int, ...]]) -> None:
    records = np.zeros(4, np.dtype([("tag", "i1"), ("image", "f4", (3, 12, 13))]))
    x = records["image"]
    x[...] = random((4, 3, 12, 13), "f", 0)
    w = random((16, 3, 3, 3), "f", 1)
    found = correlate.correlate(x, w, (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1)
    expected = torch.nn.functional.conv2d(torch.from_numpy(x.copy()), torch.from_numpy(w))
    assert len(always) == 1
    assert np.allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_the_bits_do_not_depend_on_the_threads(
    threads: None, always: list[tuple[int, ...]]
) -> None:
    x, w = random((5, 16, 20, 22), "f", 0), random((24, 16, 3, 3), "f", 1)
    results: list[Array] = []
    for count in (1, 2, 3, 7):
        set_num_threads(count)
        results += [
            correlate.correlate(x, w, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1) for _ in range(3)
        ]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_small_ones_stay_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setitem(CPU.kernels, "conv", lambda *args: seen.append(1))
    pads, ones = ((1, 1), (1, 1)), (1, 1)
    correlate.correlate(
        random((1, 4, 8, 8), "f", 0), random((4, 4, 3, 3), "f", 1), ones, pads, ones, ones, 1
    )
    assert seen == []


@pytest.mark.parametrize("channels", [1, 2])
def test_depthwise(channels: int, always: list[tuple[int, ...]]) -> None:
    x = random((3, 12, 14, 17), "f", 0)
    w = random((12, channels, 3, 3), "f", 1)
    groups = 12 // channels
    found = correlate.correlate(x, w, (1, 1), ((1, 1), (0, 2)), (1, 1), (1, 1), groups)
    padded = torch.nn.functional.pad(torch.from_numpy(x), (0, 2, 1, 1))
    expected = torch.nn.functional.conv2d(padded, torch.from_numpy(w), groups=groups)
    assert len(always) == 1
    assert np.allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 4])
def test_transposed(kernel: int, dilation: int, always: list[tuple[int, ...]]) -> None:
    """An input spread by zeros: one product per phase, zeros where no tap meets one."""
    x, w = random((2, 5, 7, 6), "f", 0), random((5, 9, kernel, kernel), "f", 1)
    reach = (kernel - 1) * dilation
    pads = ((reach, reach + 1), (reach, reach + 1))
    turned = w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    found = correlate.correlate(x, turned, (1, 1), pads, (dilation,) * 2, (2, 2), 1)
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(w), stride=2, dilation=dilation, output_padding=1
    )
    assert len(always) == 1
    assert np.allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
