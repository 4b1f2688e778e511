"""Recurrent layers: packed sequences, gradients through time, what gates let through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import rnn as torch_rnn

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.nn.utils import rnn
from adjoint.testing import gradcheck

KINDS = ("RNN", "LSTM", "GRU")
LENGTHS = [3, 5, 1, 5]


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def twins(kind: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(*sizes, **options).double()
    ours = getattr(nn, kind)(*sizes, **options).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def states(found: Any) -> list[Any]:
    return list(found) if isinstance(found, tuple) else [found]


def close(mine: Any, other: Any, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(
        mine.detach().numpy(), other.detach().numpy(), rtol=tolerance, atol=tolerance
    )


@pytest.mark.feature("Q1", "Q4", "Q5")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [False, True], ids=["from zero", "from given states"])
def test_packed_sequences(kind: str, given: bool) -> None:
    """Lengths in any order, both directions, two layers: outputs, last states, all gradients."""
    ours, theirs = twins(kind, 3, 4, num_layers=2, bidirectional=True, batch_first=True)
    values, start = normal(4, 5, 3), normal(4, 4, 4, seed=1)
    x, t = ad.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    packed = rnn.pack_padded_sequence(x, ad.tensor(LENGTHS), True, enforce_sorted=False)
    twin = torch_rnn.pack_padded_sequence(t, torch.tensor(LENGTHS), True, enforce_sorted=False)
    hx, tx = None, None
    if given:
        a, b = ad.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
        hx, tx = ((a, a * 0.5), (b, b * 0.5)) if kind == "LSTM" else (a, b)
    out, last = ours(packed, hx)
    other, other_last = theirs(twin, tx)
    for mine, his in zip(out, other, strict=True):
        close(mine, his)
    for mine, his in zip(states(last), states(other_last), strict=True):
        close(mine, his)
    filled, lengths = rnn.pad_packed_sequence(out, True, padding_value=-7.0, total_length=6)
    wanted, _ = torch_rnn.pad_packed_sequence(other, True, padding_value=-7.0, total_length=6)
    close(filled, wanted)
    assert lengths.tolist() == LENGTHS
    (filled.cos().sum() + sum((s * s).sum() for s in states(last))).backward()
    (wanted.cos().sum() + sum((s * s).sum() for s in states(other_last))).backward()
    pairs = [(x, t), *zip(ours.parameters(), theirs.parameters(), strict=True)]
    for mine, his in [*pairs, *([(a, b)] if given else [])]:
        close(mine.grad, his.grad)
    assert (x.grad[2, 1:] == 0).all()  # what lies beyond a sequence changes nothing


def test_packing_and_padding_as_pytorch() -> None:
    values = [normal(n, 2, seed=n) for n in (4, 2, 2)]
    mine, other = [ad.tensor(v) for v in values], [torch.tensor(v) for v in values]
    for options in ({}, {"batch_first": True, "padding_value": 9.0}, {"padding_side": "left"}):
        close(rnn.pad_sequence(mine, **options), torch_rnn.pad_sequence(other, **options))
    for one, two in zip(rnn.pack_sequence(mine), torch_rnn.pack_sequence(other), strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            close(one, two)
    back = rnn.unpack_sequence(rnn.pack_sequence(mine[::-1], enforce_sorted=False))
    assert [x.tolist() for x in back] == [v.tolist() for v in values[::-1]]
    parts = rnn.unpad_sequence(rnn.pad_sequence(mine), [4, 2, 2])
    assert [x.tolist() for x in parts] == [v.tolist() for v in values]


@pytest.mark.feature("Q2")
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_through_200_steps(kind: str) -> None:
    ours, theirs = twins(kind, 2, 3)
    values = normal(200, 1, 2)
    x, t = ad.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    ours(x)[0].square().sum().backward()
    theirs(t)[0].square().sum().backward()
    close(x.grad, t.grad, 1e-8)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(mine.grad, other.grad, 1e-8)


@pytest.mark.feature("Q2", "T16")
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind: str) -> None:
    ours, _ = twins(kind, 2, 3)
    x = ad.tensor(normal(3, 2, 2), requires_grad=True)
    assert gradcheck(lambda x: ours(x)[0], (x,), order=2)


@pytest.mark.feature("Q3")
@pytest.mark.parametrize("kind", KINDS)
def test_truncated_backpropagation(kind: str) -> None:
    """Carried states, detached every 4 steps: the outputs are those of one long run, the gradient
    reaches the steps since the last cut and nothing before."""
    ours, _ = twins(kind, 2, 3)
    values = normal(12, 2, 2)
    whole = ours(ad.tensor(values))[0]
    x = ad.tensor(values, requires_grad=True)
    carried, outs = None, []
    for start in range(0, 12, 4):
        if carried is not None:
            carried = tuple(s.detach() for s in carried) if kind == "LSTM" else carried.detach()
        out, carried = ours(x[start : start + 4], carried)
        outs.append(out)
    close(ad.cat(outs), whole, 1e-12)
    outs[-1].square().sum().backward()
    assert (x.grad[:8] == 0).all() and (x.grad[8:] != 0).any((1, 2)).all()
    _, before = ours(ad.tensor(values[:8]))
    before = tuple(s.detach() for s in before) if kind == "LSTM" else before.detach()
    last = ad.tensor(values[8:], requires_grad=True)
    ours(last, before)[0].square().sum().backward()
    close(x.grad[8:], last.grad, 1e-12)


@pytest.mark.feature("Q6")
def test_open_and_shut_gates_of_an_lstm() -> None:
    """forget = 1 and input = 0: the cell stays to the bit for 1 000 steps, and so does the
    gradient; an output gate of 0 lets exactly nothing through."""
    cell = nn.LSTM(1, 2).double()
    with ad.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.bias_ih_l0.copy_(ad.tensor([-1e3, -1e3, 1e3, 1e3, 0.3, 0.3, -1e3, -1e3]))
    c = ad.tensor(normal(1, 1, 2), requires_grad=True)
    out, (_, last) = cell(ad.zeros(1000, 1, 1, dtype="float64"), (ad.zeros_like(c), c))
    assert (last == c).all() and (out == 0).all()
    last.sum().backward()
    assert (c.grad == 1).all()


@pytest.mark.feature("Q5")
def test_both_ways_to_reset_a_gru() -> None:
    """``reset_after=False`` against the formula written out."""
    layer = nn.GRU(2, 3, reset_after=False).double()
    x, h = normal(4, 2, 2), np.zeros((2, 3))
    w, u, b, d = (p.detach().numpy() for p in layer.parameters())

    def sigmoid(v: Any) -> Any:
        return 1 / (1 + np.exp(-v))

    wanted = []
    for step in x:
        given = step @ w.T + b
        r, z = np.split(sigmoid(given[:, :6] + h @ u[:6].T + d[:6]), 2, axis=1)
        n = np.tanh(given[:, 6:] + (r * h) @ u[6:].T + d[6:])
        h = (1 - z) * n + z * h
        wanted.append(h)
    given = ad.tensor(x, requires_grad=True)
    np.testing.assert_allclose(layer(given)[0].detach().numpy(), wanted, atol=1e-12)
    assert gradcheck(lambda x: layer(x)[0], (given,))
    other = nn.GRU(2, 3).double()
    other.load_state_dict(layer.state_dict())
    assert ((layer(given)[0] - other(given)[0]).abs() > 1e-3).any()


@pytest.mark.feature("Q4")
def test_the_recurrence_is_one_loop_whatever_its_length() -> None:
    """A recording holds as many nodes for 5 steps as for 50."""
    layer = nn.LSTM(3, 4)

    def step(x: ad.Tensor) -> ad.Tensor:
        layer.zero_grad()
        layer(x)[0].sum().backward()
        return layer.weight_hh_l0.grad

    sizes = []
    for length in (5, 50):
        run = ad.jit(step)
        run(ad.randn(length, 2, 3))
        sizes.append(len(run.graph.nodes))
    assert sizes[0] == sizes[1]


def test_dropout_between_layers_and_half_precision() -> None:
    layer = nn.GRU(3, 4, num_layers=2, dropout=0.5)
    x = ad.randn(5, 2, 3)
    assert (layer(x)[0] != layer(x)[0]).any()
    layer.eval()
    assert (layer(x)[0] == layer(x)[0]).all()
    half = nn.GRU(3, 4, num_layers=2).half().eval()
    half.load_state_dict(layer.state_dict())
    out, last = half(x.half())
    assert out.dtype is ad.float16 and last.dtype is ad.float16
    assert (out.float() - layer(x)[0]).abs().max() < 5e-3
    with pytest.warns(UserWarning, match="there is one layer"):
        nn.LSTM(3, 4, dropout=0.5)


def test_layers_on_meta() -> None:
    layer = nn.LSTM(3, 2**20, device="meta")
    out, (h, _) = layer(ad.zeros(5, 2, 3, device="meta"))
    assert out.shape == (5, 2, 2**20) and h.shape == (1, 2, 2**20)


def test_wrong_arguments() -> None:
    layer = nn.LSTM(3, 4)
    with pytest.raises(ShapeError, match="5 features, the layer takes 3"):
        layer(ad.zeros(2, 1, 5))
    with pytest.raises(ShapeError, match=r"must be \(1, 2, 4\)"):
        layer(ad.zeros(5, 2, 3), (ad.zeros(1, 1, 4), ad.zeros(1, 1, 4)))
    with pytest.raises(ArgumentError, match="needs 2 states, got 1"):
        layer(ad.zeros(5, 2, 3), ad.zeros(1, 2, 4))
    with pytest.raises(DTypeError, match="different dtypes"):
        nn.GRU(3, 4)(ad.zeros(5, 2, 3), ad.zeros(1, 2, 4).double())
    with pytest.raises(ShapeError, match="has no steps"):
        layer(ad.zeros(0, 2, 3))
    with pytest.raises(ShapeError, match="2 or 3 dimensions"):
        layer(ad.zeros(3))
    with pytest.raises(ArgumentError, match="smaller than hidden_size"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.raises(ArgumentError, match="relu"):
        nn.RNN(3, 4, nonlinearity="rule")
    with pytest.raises(ShapeError, match="one step of the sequence"):
        nn.GRUCell(3, 4)(ad.zeros(5, 2, 3))
    with pytest.raises(ArgumentError, match="not from long to short"):
        rnn.pack_padded_sequence(ad.zeros(5, 2, 3), [2, 5])
    with pytest.raises(ArgumentError, match="between 1 and 5, got 0 to 5"):
        rnn.pack_padded_sequence(ad.zeros(5, 2, 3), [5, 0])
    with pytest.raises(ArgumentError, match="one integer length"):
        rnn.pack_padded_sequence(ad.zeros(5, 2, 3), [5, 4, 1])
    with pytest.raises(ShapeError, match="all but the first axis"):
        rnn.pad_sequence([ad.zeros(3, 2), ad.zeros(3, 4)])
