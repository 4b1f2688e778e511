"""The same program on Adjoint and on torch: values, dtypes and gradients agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError, ArgumentError, DTypeError, IndexingError, ShapeError

# Each takes the library and x (3, 4), y (4,), both float64; returns a tensor.
PROGRAMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    # arithmetic
    "add with alpha": lambda m, x, y: m.add(x, y, alpha=2.5),
    "sub with alpha": lambda m, x, y: m.sub(x, y, alpha=3),
    "number minus tensor": lambda m, x, y: 2 - x,
    "number over tensor": lambda m, x, y: 2.0 / x,
    "number power": lambda m, x, y: 3.0**x,
    "div floor": lambda m, x, y: m.div(x, y, rounding_mode="floor") + x,
    "div trunc": lambda m, x, y: m.div(x, y, rounding_mode="trunc") + x,
    "remainder": lambda m, x, y: x % y,
    "fmod": lambda m, x, y: m.fmod(x, y),
    "fmod by a number": lambda m, x, y: m.fmod(x, 0.7),
    "where": lambda m, x, y: m.where(x > 0, x, y),
    "where with a number": lambda m, x, y: m.where(x > 0, x * 2, 0.0),
    "maximum of broadcast": lambda m, x, y: m.maximum(x, y),
    "neg, abs, positive": lambda m, x, y: +(-x).abs(),
    "comparison": lambda m, x, y: (x <= y) & ~(x == y) | (x > 1.0),
    "logical": lambda m, x, y: m.logical_xor(x > 0, y > 0) & m.logical_not(x > 1),
    # movement
    "reshape": lambda m, x, y: x.reshape(2, -1, 3),
    "view_as": lambda m, x, y: x.view_as(m.zeros(4, 3)),
    "flatten": lambda m, x, y: x.reshape(1, 3, 4, 1).flatten(1, 2),
    "unflatten": lambda m, x, y: x.unflatten(1, (2, -1)),
    "permute": lambda m, x, y: x.reshape(3, 2, 2).permute(2, 0, -2),
    "transposes": lambda m, x, y: x.T @ x + x.t() @ x.mT.T,
    "movedim": lambda m, x, y: x.reshape(3, 2, 2).movedim((0, 1), (-1, 0)),
    "squeeze": lambda m, x, y: x.reshape(3, 1, 4, 1).squeeze(1),
    "squeeze two": lambda m, x, y: x.reshape(3, 1, 4, 1).squeeze((1, 3)),
    "expand": lambda m, x, y: y.expand(2, 3, -1) * x,
    "broadcast_to": lambda m, x, y: m.broadcast_to(y, (3, 4)),
    "cat": lambda m, x, y: m.cat([x, y[None], x[:1]], 0),
    "cat of dtypes": lambda m, x, y: m.cat([x, m.ones(3, 4, dtype=m.float32)], 1),
    "stack": lambda m, x, y: m.stack((x, x * 2), -1),
    "hstack": lambda m, x, y: m.hstack([x, x]),
    "vstack": lambda m, x, y: m.vstack([x, y]),
    "split": lambda m, x, y: m.split(x, 3, 1)[1] + x.split([1, 2, 1], dim=1)[2],
    "chunk": lambda m, x, y: m.chunk(x, 3, 1)[0],
    "unbind": lambda m, x, y: x.unbind(1)[2],
    "narrow": lambda m, x, y: m.narrow(x, 1, -3, 2),
    "select": lambda m, x, y: m.select(x, 1, -1),
    "flip": lambda m, x, y: m.flip(x, (0, 1)),
    "fliplr": lambda m, x, y: m.fliplr(x) + m.flipud(x),
    "roll": lambda m, x, y: m.roll(x, (1, -2), (0, 1)),
    "roll over all": lambda m, x, y: m.roll(x, 5),
    "repeat": lambda m, x, y: x.repeat(2, 1, 3),
    "tile": lambda m, x, y: m.tile(x, (2,)),
    "repeat_interleave": lambda m, x, y: m.repeat_interleave(x, 2, 1),
    "repeat_interleave each": lambda m, x, y: x.repeat_interleave(m.tensor([0, 2, 1]), 0),
    "diagonal": lambda m, x, y: m.diagonal(x, 1),
    "diag of a matrix": lambda m, x, y: m.diag(x, -1),
    "diag of a vector": lambda m, x, y: m.diag(y, 1),
    "diag_embed": lambda m, x, y: m.diag_embed(x, -1),
    "tril": lambda m, x, y: x.tril(1) + x.triu(-1),
    "meshgrid ij": lambda m, x, y: m.meshgrid(y, x[:, 0], indexing="ij")[0],
    "meshgrid xy": lambda m, x, y: m.stack(m.meshgrid(y, x[:, 0], indexing="xy")),
    "clone": lambda m, x, y: x.clone().contiguous(),
    "unsqueeze": lambda m, x, y: x.unsqueeze(-2).unsqueeze(0),
    # reduction
    "sum": lambda m, x, y: x.sum(),
    "sum along": lambda m, x, y: x.sum(-1, keepdim=True) * x.sum((0, 1)),
    "sum in another dtype": lambda m, x, y: x.sum(0, dtype=m.float32),
    "mean": lambda m, x, y: x.mean() * x.mean(0),
    "var": lambda m, x, y: x.var() * x.var(1),
    "var with correction": lambda m, x, y: x.var(0, correction=0, keepdim=True),
    "std": lambda m, x, y: x.std(1) + x.std(0, unbiased=False)[:3],
    "var_mean": lambda m, x, y: m.var_mean(x, 1)[0] * m.std_mean(x, 1)[1],
    "prod": lambda m, x, y: x.prod() * x.prod(1),
    "prod with a zero": lambda m, x, y: (x * m.tensor([1.0, 0.0, 1.0, 1.0])).prod(1),
    "prod with two zeros": lambda m, x, y: (x * m.tensor([1.0, 0.0, 0.0, 1.0])).prod(1),
    "max": lambda m, x, y: x.max() * x.min(),
    "max along": lambda m, x, y: x.max(1).values * x.min(1, keepdim=True)[0],
    "amax": lambda m, x, y: x.amax(0) + x.amin(dim=(0, 1)),
    "amax of the first axis": lambda m, x, y: m.amax(x, 0) - m.amin(x, 0),
    "ties in amax": lambda m, x, y: (x * 0 + 1).amax(1) * x.sum(),
    "ties in max": lambda m, x, y: (x * 0 + y[0]).max(1)[0],
    "argmax": lambda m, x, y: x.argmax() + x.argmax(1) + x.argmin(1, keepdim=True),
    "any and all": lambda m, x, y: (x > 0).any(1) & (x > -9).all() | (x > 0).all(0)[:3],
    "count_nonzero": lambda m, x, y: m.count_nonzero(x > 0, 1),
    "nansum": lambda m, x, y: m.nansum(m.where(x > 0, x, math.nan), 1) + x.nansum(),
    "nanmean": lambda m, x, y: m.where(x > 0, x, math.nan).nanmean(),
    "fmax": lambda m, x, y: m.fmax(m.where(x > 0, x, math.nan), y) - m.fmin(y, x),
    "cumsum": lambda m, x, y: x.cumsum(1) * m.cumsum(x, 0),
    "cumsum of integers": lambda m, x, y: m.arange(4, dtype=m.int8).cumsum(0),
    # indexing
    "row": lambda m, x, y: x[1] * x[-1],
    "slices": lambda m, x, y: x[::2, 1:3],
    "new axes": lambda m, x, y: x[:, None, ..., 0, None],
    "mask": lambda m, x, y: x[x > 0],
    "row mask": lambda m, x, y: x[y[:3] > 0],
    "index arrays": lambda m, x, y: x[m.tensor([0, 2, 0]), m.tensor([1, 1, 3])],
    "index lists": lambda m, x, y: x[[2, 0]][:, [1, 1, 0]],
    "index array and slice": lambda m, x, y: x[:, m.tensor([[0, 3], [1, 1]])],
    "index arrays apart": lambda m, x, y: x.reshape(3, 2, 2)[m.tensor([0, 1]), :, m.tensor([1, 0])],
    "nonzero": lambda m, x, y: m.nonzero(x > 0),
    # creation
    "arange": lambda m, x, y: m.arange(1, 2.05, 0.25) + m.arange(5),
    "linspace": lambda m, x, y: m.linspace(-1, 2, 7),
    "logspace": lambda m, x, y: m.logspace(0, 2, 3),
    "eye": lambda m, x, y: m.eye(3, 4) * x,
    "full": lambda m, x, y: m.full((2,), 3) + m.full((2,), 1.5) + m.full((2,), True),
    "likes": lambda m, x, y: m.zeros_like(x) + m.ones_like(x) * m.full_like(x, 2),
    "new": lambda m, x, y: x.new_zeros(2) + x.new_ones(2) + x.new_full((2,), 3) + x.new_tensor(1),
    # dtypes
    "float": lambda m, x, y: x.float() * x.half().double(),
    "bfloat16": lambda m, x, y: x.bfloat16().float(),
    "to": lambda m, x, y: x.to(m.int32) + x.long() + x.to(m.uint8).int(),
    "type_as": lambda m, x, y: m.ones(4).type_as(y) * y,
    "bool": lambda m, x, y: x.bool(),
    "int plus float": lambda m, x, y: m.arange(4) + 1.5,
    "bool plus int": lambda m, x, y: (y > 0) + 1,
    "bool times bool": lambda m, x, y: (y > 0) * (y < 1) + (y > 0),
    "int8 plus int32": lambda m, x, y: m.ones(2, dtype=m.int8) + m.ones(2, dtype=m.int32),
    "uint8 plus int8": lambda m, x, y: m.ones(2, dtype=m.uint8) + m.ones(2, dtype=m.int8),
    "half plus bfloat16": lambda m, x, y: y.half() + y.bfloat16(),
    "int division": lambda m, x, y: m.arange(1, 4) / m.tensor([2, 2, 2]),
    "bits": lambda m, x, y: (m.arange(8) << 2 | 3) & 12 ^ 5 | m.arange(8) >> 1,
    "not": lambda m, x, y: ~m.arange(4) + ~m.arange(4, dtype=m.uint8),
    "sums of small integers": lambda m, x, y: m.ones(300, dtype=m.uint8).sum(),
    "sums of bools": lambda m, x, y: (x > 0).sum(0),
    "mean of half": lambda m, x, y: m.full((4096,), 100.0, dtype=m.float16).mean(),
    "var of half": lambda m, x, y: (m.arange(4096) % 2 * 100).half().var(),
}  # fmt: skip


@pytest.mark.feature("T6", "T13")
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_give_torchs_values_dtypes_and_gradients(name: str) -> None:
    rng = np.random.default_rng(1)
    arrays = rng.normal(size=(3, 4)) * 2, rng.uniform(0.5, 2.0, 4)
    ours = [ad.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    out, oracle = PROGRAMS[name](ad, *ours), PROGRAMS[name](torch, *theirs)
    assert out.shape == tuple(oracle.shape)
    assert f"torch.{out.dtype.name}" == str(oracle.dtype)
    tolerance = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-6}.get(out.dtype.name, 1e-12)
    wide = oracle.detach().to(torch.float64).numpy()
    np.testing.assert_allclose(out.detach().numpy().astype(np.float64), wide, rtol=tolerance)
    assert out.requires_grad == oracle.requires_grad
    if not oracle.requires_grad:
        return
    weight = rng.normal(size=oracle.shape)
    (out * ad.tensor(weight)).sum().backward()
    (oracle * torch.tensor(weight)).sum().backward()
    for x, t in zip(ours, theirs, strict=True):
        assert (x.grad is None) == (t.grad is None)
        if x.grad is not None:
            assert x.grad.shape == x.shape and x.grad.dtype is x.dtype
            np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-6, atol=1e-12)


MISTAKES: dict[str, tuple[type[AdjointError], Callable[[Any], Any]]] = {
    "shapes": (ShapeError, lambda x: x + ad.ones(3)),
    "reshape": (ShapeError, lambda x: x.reshape(5, 2)),
    "two unknown sizes": (ShapeError, lambda x: x.reshape(-1, -1)),
    "axis": (IndexingError, lambda x: x.sum(2)),
    "axis of a 0-d tensor": (IndexingError, lambda x: x.sum().argmax(0)),
    "repeated axis": (IndexingError, lambda x: x.sum((0, 0))),
    "float axis": (DTypeError, lambda x: x.sum(1.0)),
    "dim and axis": (ArgumentError, lambda x: x.sum(0, axis=1)),
    "maximum of nothing": (ShapeError, lambda x: x[:0].max()),
    "argmax of nothing": (ShapeError, lambda x: x[:, :0].argmax(1)),
    "mean of integers": (DTypeError, lambda x: ad.arange(3).mean()),
    "index": (IndexingError, lambda x: x[3]),
    "too many indices": (IndexingError, lambda x: x[0, 0, 0]),
    "mask with an axis too many": (IndexingError, lambda x: x[x > 0, :]),
    "mask of another shape": (IndexingError, lambda x: x[ad.ones(4, 3, dtype=bool)]),
    "float index": (DTypeError, lambda x: x[1.0]),
    "ragged index": (ShapeError, lambda x: x[[[0, 1], [1]]]),
    "cat of ranks": (ShapeError, lambda x: ad.cat([x, ad.ones(4)])),
    "cat of nothing": (ArgumentError, lambda x: ad.cat([])),
    "stack of shapes": (ShapeError, lambda x: ad.stack([x, x.T])),
    "split": (ArgumentError, lambda x: x.split([1, 1])),
    "expand": (ShapeError, lambda x: x.expand(3, 5)),
    "uint64 and int8": (DTypeError, lambda x: x.to(ad.uint64) + x.to(ad.int8)),
    "a number that does not fit": (ArgumentError, lambda x: ad.ones(1, dtype="int8") + 300),
    "bools subtracted": (DTypeError, lambda x: (x > 0) - (x > 1)),
    "bits of floats": (DTypeError, lambda x: x & 1),
    "an integer condition": (DTypeError, lambda x: ad.where(ad.ones(3, 4, dtype="int64"), x, x)),
    "ragged data": (ShapeError, lambda x: ad.tensor([[1], [1, 2]])),
    "text": (DTypeError, lambda x: ad.tensor(["a"])),
    "step of zero": (ArgumentError, lambda x: ad.arange(0, 1, 0)),
    "infinite range": (ArgumentError, lambda x: ad.arange(0, math.inf)),
    "negative size": (ShapeError, lambda x: ad.zeros(-1)),
    "too large": (ShapeError, lambda x: ad.zeros(10**9, 10**9)),
    "float size": (DTypeError, lambda x: ad.zeros(1.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str) -> None:
    kind, function = MISTAKES[name]
    with pytest.raises(kind):
        function(ad.zeros(3, 4))
