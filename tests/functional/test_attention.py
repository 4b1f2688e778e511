"""Attention functions against PyTorch, loops written out, and each other."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
import adjoint.nn.functional as F
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.testing import gradcheck

TOLERANCE = {"float64": 1e-11, "float32": 2e-5}


def normal(*shape: int, seed: int = 0, dtype: str = "float64") -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def mask(*shape: int) -> Any:
    found = np.random.default_rng(5).random(shape) < 0.6
    found[..., 1, :] = False  # a query that may attend to nothing
    return found


CASES: list[tuple[Any, Any, Any, Any, dict[str, Any]]] = [
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), None, {}),
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), None, {"is_causal": True}),
    ((2, 3, 7, 4), (2, 3, 5, 4), (2, 3, 5, 6), None, {"is_causal": True, "scale": 0.3}),
    ((5, 4), (7, 4), (7, 6), None, {}), ((3, 5, 4), (3, 7, 4), (3, 7, 6), None, {}),
    ((2, 2, 3, 5, 4), (2, 2, 3, 7, 4), (2, 2, 3, 7, 6), mask(1, 2, 3, 5, 7), {}),
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), mask(5, 7), {}),
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), mask(2, 1, 5, 7), {}),
    ((3, 5, 4), (3, 7, 4), (3, 7, 6), mask(3, 5, 7), {}),
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), normal(5, 7), {}),
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), normal(3, 1, 7), {}),
    ((2, 6, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), None, {"enable_gqa": True}),
    ((1, 2, 1, 1), (1, 2, 1, 1), (1, 2, 1, 1), None, {}),
    ((1, 512, 8), (1, 512, 8), (1, 512, 8), None, {"is_causal": True}),
]  # fmt: skip


@pytest.mark.feature("A1", "A5", "A9")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("qs", "ks", "vs", "given", "options"), CASES)
def test_as_pytorch(qs: Any, ks: Any, vs: Any, given: Any, options: Any, dtype: str) -> None:
    """Outputs and all gradients, that of a float mask too."""
    tolerance = TOLERANCE[dtype]
    arrays = [normal(*s, seed=k, dtype=dtype) for k, s in enumerate((qs, ks, vs))]
    mine = [ad.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours, theirs = dict(options), dict(options)
    if given is not None:
        values = given.astype(dtype) if given.dtype.kind == "f" else given
        is_float = values.dtype.kind == "f"
        ours["attn_mask"] = ad.tensor(values, requires_grad=is_float)
        theirs["attn_mask"] = torch.tensor(values, requires_grad=is_float)
        if is_float:
            mine.append(ours["attn_mask"])
            other.append(theirs["attn_mask"])
    out = F.scaled_dot_product_attention(*mine[:3], **ours)
    twin = torch.nn.functional.scaled_dot_product_attention(*other[:3], **theirs)
    np.testing.assert_allclose(out.detach().numpy(), twin.detach().numpy(), tolerance, tolerance)
    weight = normal(*twin.shape, seed=9, dtype=dtype)
    (out * ad.tensor(weight)).sum().backward()
    (twin * torch.tensor(weight)).sum().backward()
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), tolerance, 10 * tolerance)


@pytest.mark.feature("A1")
def test_weights_written_out() -> None:
    q, k, v = normal(3, 4), normal(5, 4, seed=1), normal(5, 2, seed=2)
    allowed = np.random.default_rng(0).random((3, 5)) < 0.7
    wanted = np.zeros((3, 2))
    for t in range(3):
        weights = np.array([np.exp(q[t] @ k[s] / 2) if allowed[t, s] else 0.0 for s in range(5)])
        weights /= weights.sum()
        wanted[t] = sum(w * x for w, x in zip(weights, v, strict=True))
    found = F.scaled_dot_product_attention(*(ad.tensor(x) for x in (q, k, v, allowed)))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)


@pytest.mark.feature("A1", "T16")
def test_second_derivatives() -> None:
    q, k, v = (ad.tensor(normal(1, 2, 3, 2, seed=s), requires_grad=True) for s in range(3))
    assert gradcheck(
        lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), (q, k, v), order=2
    )


@pytest.mark.feature("A5")
def test_causal_attention_sees_nothing_of_the_future() -> None:
    q, k, v = (ad.tensor(normal(6, 4, seed=s)) for s in range(3))
    jacobian = ad.jacrev(lambda v: F.scaled_dot_product_attention(q, k, v, is_causal=True))(v)
    later = np.triu(np.ones((6, 6), bool), 1)
    assert (np.abs(jacobian.numpy()).max((1, 3))[later] == 0).all()


@pytest.mark.feature("A1")
def test_weights_are_dropped() -> None:
    q = k = v = ad.ones(1, 1, 64, 4)
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    assert (out != out[..., :1, :1]).any() and abs(out.mean().item() - 1) < 0.1
    exact = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)
    assert (exact - 1).abs().max() < 1e-6


@pytest.mark.feature("A1", "Z1")
def test_half_precision_and_large_scores() -> None:
    for name in ("float16", "bfloat16"):
        x = ad.tensor(normal(2, 300, 8, dtype="float32"))
        wide = F.scaled_dot_product_attention(x, x, x)
        narrow = F.scaled_dot_product_attention(*(x.to(name),) * 3)
        assert narrow.dtype.name == name and (narrow.float() - wide).abs().max() < 0.02
    big = ad.tensor(normal(4, 8, dtype="float32") * 1e4, requires_grad=True)
    out = F.scaled_dot_product_attention(big, big, big)
    out.sum().backward()
    assert out.isfinite().all() and big.grad.isfinite().all()


@pytest.mark.feature("A9")
@pytest.mark.slow
def test_memory_grows_with_the_length_alone() -> None:
    """16 384 steps, forward and backward: the T x T matrix alone would be 1 GB twice."""
    code = """
import resource, adjoint as ad
from adjoint.nn import functional as F
x = ad.randn(1, 1, 16384, 32, requires_grad=True)
F.scaled_dot_product_attention(x, x, x, is_causal=True).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 700_000  # kilobytes


@pytest.mark.feature("A7")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("length", "window"), [(13, 4), (8, 4), (5, 1), (7, 7), (6, 20)])
def test_a_sliding_window_is_a_mask(length: int, window: int, causal: bool) -> None:
    arrays = [normal(2, 3, length, 4, seed=s) for s in range(3)]
    one = [ad.tensor(a, requires_grad=True) for a in arrays]
    two = [ad.tensor(a, requires_grad=True) for a in arrays]
    found = F.sliding_window_attention(*one, window, causal)
    places = np.arange(length)
    distance = places[:, None] - places
    allowed = (distance < window) & (distance >= 0 if causal else distance > -window)
    allowed_here = F.sliding_window_mask(length, length, window, causal)
    np.testing.assert_array_equal(allowed_here.numpy(), allowed)
    wanted = F.scaled_dot_product_attention(*two, ad.tensor(allowed))
    np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), atol=1e-12)
    (found * found).sum().backward()
    (wanted * wanted).sum().backward()
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-11)


@pytest.mark.feature("A7")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [5, 64, 150])
def test_linear_attention_written_out(length: int, causal: bool) -> None:
    q, k, v = (normal(2, length, 3, seed=s) for s in range(3))
    f, g = (np.where(x > 0, x + 1, np.exp(x)) for x in (q, k))
    scores = f @ g.swapaxes(1, 2)
    scores = np.tril(scores) if causal else scores
    wanted = scores @ v / (scores.sum(-1, keepdims=True) + 1e-6)
    found = F.linear_attention(*(ad.tensor(x) for x in (q, k, v)), is_causal=causal)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-10)


@pytest.mark.feature("A7")
def test_linear_attention_is_differentiated_through_its_chunks() -> None:
    q, k, v = (ad.tensor(normal(1, 70, 2, seed=s), requires_grad=True) for s in range(3))
    for causal in (True, False):
        F.linear_attention(q, k, v, causal).square().sum().backward()
    before = [x.grad.clone() for x in (q, k, v)]
    for x in (q, k, v):
        x.grad = None
    for causal in (True, False):
        scores = (F.elu(q) + 1.0) @ (F.elu(k) + 1.0).mT
        scores = scores.tril() if causal else scores
        out = scores @ v / (scores.sum(-1, keepdim=True) + 1e-6)
        out.square().sum().backward()
    for x, other in zip((q, k, v), before, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), other.numpy(), atol=1e-10)


def test_wrong_arguments() -> None:
    q, k = ad.zeros(2, 3, 4), ad.zeros(2, 5, 4)
    with pytest.raises(ArgumentError, match="exclude each other"):
        F.scaled_dot_product_attention(q, k, k, ad.ones(3, 5).bool(), is_causal=True)
    with pytest.raises(ShapeError, match="differ in their last size"):
        F.scaled_dot_product_attention(q, ad.zeros(2, 5, 3), k)
    with pytest.raises(ShapeError, match="one value for each key"):
        F.scaled_dot_product_attention(q, k, q)
    with pytest.raises(ShapeError, match="does not broadcast"):
        F.scaled_dot_product_attention(q, k, k, ad.ones(3, 4).bool())
    with pytest.raises(DTypeError, match="a mask of bool or float"):
        F.scaled_dot_product_attention(q, k, k, ad.ones(3, 5).long())
    with pytest.raises(DTypeError, match="different dtypes"):
        F.scaled_dot_product_attention(q, k.double(), k)
    with pytest.raises(DTypeError, match="a float dtype"):
        F.scaled_dot_product_attention(q.long(), k, k)
    with pytest.raises(ShapeError, match="need axes"):
        F.scaled_dot_product_attention(ad.zeros(4), k, k)
    with pytest.raises(ShapeError, match="multiple of the key heads"):
        F.scaled_dot_product_attention(q[None], k[None, :1].expand(1, 3, 5, 4), k, enable_gqa=True)
    with pytest.raises(ShapeError, match="of one length"):
        F.sliding_window_attention(q, k, k, 2)
    with pytest.raises(ArgumentError, match="at least one key"):
        F.sliding_window_attention(q, q, q, 0)
