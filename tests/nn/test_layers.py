"""How layers start, what they refuse, and what they do beyond the table of ``nn_cases``."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import ArgumentError, IndexingError, RecordingError, ShapeError

CLASSES = np.array([0, 2, 1, 2])


def twins(name: str, arguments: Any, options: Any, dtype: str) -> tuple[nn.Module, torch.nn.Module]:
    ours = getattr(nn, name)(*arguments, **options).to(dtype)
    theirs = getattr(torch.nn, name)(*arguments, **options).to(getattr(torch, dtype))
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours.eval(), theirs.eval()


@pytest.mark.feature("M5")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MSELoss", {}), ("L1Loss", {"reduction": "sum"}), ("SmoothL1Loss", {"beta": 0.5}),
        ("HuberLoss", {"delta": 0.5}), ("BCEWithLogitsLoss", {}), ("BCELoss", {}),
        ("CrossEntropyLoss", {"label_smoothing": 0.1}), ("NLLLoss", {"ignore_index": 1}),
        ("KLDivLoss", {"reduction": "batchmean"}), ("PoissonNLLLoss", {}),
    ],
)  # fmt: skip
def test_losses(name: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.uniform(0.1, 0.9, (4, 3))
    if name == "BCELoss":
        x = rng.uniform(0.1, 0.9, (4, 3))
    target: np.ndarray = CLASSES if name in ("CrossEntropyLoss", "NLLLoss") else y
    ours = getattr(nn, name)(**options)(ad.tensor(x), ad.tensor(target))
    theirs = getattr(torch.nn, name)(**options)(torch.tensor(x), torch.tensor(target))
    assert ours.shape == () and ours.item() == pytest.approx(theirs.item(), rel=1e-10)


@pytest.mark.feature("O31")
def test_embedding() -> None:
    ours, theirs = nn.Embedding(10, 4, padding_idx=-1), torch.nn.Embedding(10, 4, padding_idx=-1)
    assert (ours.weight[9] == 0).all() and repr(ours) == repr(theirs)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    index = np.array([[1, 1, 9], [0, 1, 2]])
    out, twin = ours(ad.tensor(index)), theirs(torch.tensor(index))
    np.testing.assert_array_equal(out.detach().numpy(), twin.detach().numpy())
    (out * ad.arange(24).reshape(2, 3, 4)).sum().backward()
    (twin * torch.arange(24).reshape(2, 3, 4)).sum().backward()
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy())
    assert (ours.weight.grad[3:] == 0).all()  # untouched rows and the padding, exactly
    with pytest.raises(IndexingError):
        ours(ad.tensor([10]))
    with pytest.raises(IndexingError, match="padding_idx"):
        nn.Embedding(10, 4, padding_idx=10)
    table = ad.randn(5, 3)
    fixed = nn.Embedding.from_pretrained(table)
    assert not fixed.weight.requires_grad and (fixed(ad.tensor([2])) == table[2]).all()


@pytest.mark.parametrize(
    ("layer", "fan"),
    [
        (lambda: nn.Linear(50, 400), 50), (lambda: nn.Conv2d(8, 64, 5), 200),
        (lambda: nn.Conv1d(8, 200, 3, groups=2), 12), (lambda: nn.ConvTranspose2d(16, 30, 4), 480),
        (lambda: nn.Bilinear(30, 20, 40), 30),
    ],
    ids=["Linear", "Conv2d", "grouped", "transposed", "Bilinear"],
)  # fmt: skip
def test_layers_start_as_pytorchs(layer: Any, fan: int) -> None:
    """Weight and bias are uniform in +-1 / sqrt(fan_in): a Kolmogorov-Smirnov test of many."""
    ad.manual_seed(1)
    bound = 1 / sqrt(fan)
    made = [layer() for _ in range(6)]
    for name in ("weight", "bias"):
        values = np.concatenate([getattr(m, name).detach().numpy().ravel() for m in made])
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        assert scipy.stats.kstest(values, "uniform", (-bound, 2 * bound)).pvalue > 1e-3
    ad.manual_seed(1)
    assert (layer().weight == made[0].weight).all()


def test_embedding_starts_normal() -> None:
    ad.manual_seed(0)
    values = nn.Embedding(200, 50).weight.detach().numpy().ravel()
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-3


@pytest.mark.feature("M4")
def test_linear_is_a_product_and_a_sum() -> None:
    layer, x = nn.Linear(5, 3), ad.randn(4, 5)
    wanted = x.numpy() @ layer.weight.detach().numpy().T
    np.testing.assert_allclose(
        layer(x).detach().numpy(), wanted + layer.bias.detach().numpy(), atol=1e-6
    )
    bare = nn.Linear(5, 3, bias=False)
    assert bare.bias is None and list(bare.state_dict()) == ["weight"]
    with pytest.raises(ShapeError, match=r"in Linear.*\n.*4 features, the weight takes 5"):
        layer(ad.randn(2, 4))


@pytest.mark.feature("M9")
def test_one_convolution_takes_images_of_any_size() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, stride=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    for size in ((28, 28), (57, 33), (512, 512)):
        assert net(ad.zeros(1, 3, *size)).shape == (1, 4)
    assert all((v.numpy() == before[k]).all() for k, v in net.state_dict().items())


@pytest.mark.feature("M7")
def test_eval_switches_every_dropout_and_is_repeatable() -> None:
    inner = nn.Sequential(nn.Dropout(0.5), nn.Linear(20, 20), nn.Dropout1d(0.5))
    net = nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.5), inner)
    x = ad.randn(8, 20)
    assert (net(x) != net(x)).any()
    net.eval()
    assert (net(x) == net(x)).all()
    inner.train()  # only this part
    assert (net(x) != net(x)).any()


@pytest.mark.feature("T42")
def test_layers_on_meta_have_shapes_and_no_memory() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 2**14, 3, device="meta"), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(2**14 * 9, 2**20, device="meta"), nn.LogSoftmax(1),
    )  # fmt: skip
    assert net(ad.zeros(2, 3, 8, 8, device="meta")).shape == (2, 2**20)
    assert sum(p.numel() for p in net.parameters()) > 10**11
    with pytest.raises(RecordingError, match="meta"):
        net[0].weight.tolist()
    assert nn.Embedding(10**9, 512, device="meta").weight.shape == (10**9, 512)
    assert nn.Linear(3, 4, dtype=ad.float64).weight.dtype is ad.float64


def test_transposed_convolution_to_a_given_size() -> None:
    ours, theirs = twins("ConvTranspose2d", (2, 3, 3), {"stride": 2, "padding": 1}, "float64")
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 5))
    for size in ((7, 9), (8, 10)):
        out = ours(ad.tensor(x), output_size=size)
        twin = theirs(torch.tensor(x), output_size=size)
        np.testing.assert_allclose(out.detach().numpy(), twin.detach().numpy(), atol=1e-12)
    with pytest.raises(ArgumentError, match=r"not in \(7, 9\) .. \(8, 10\)"):
        ours(ad.tensor(x), output_size=(9, 9))


def test_unpooling_layer_and_fold() -> None:
    x = ad.randn(2, 3, 6, 6)
    out, places = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(out, places)
    assert back.shape == x.shape and (nn.MaxPool2d(2)(back) >= 0).all()
    columns = nn.Unfold(2, stride=2)(x)
    assert (nn.Fold((6, 6), 2, stride=2)(columns) == x).all()


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="reflect"):
        nn.Conv2d(1, 1, 3, padding_mode="refelct")
    with pytest.raises(ArgumentError, match="groups"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ArgumentError, match="kernel_size"):
        nn.Conv2d(3, 4, (3, 3, 3))
    with pytest.raises(ArgumentError, match="same"):
        nn.Conv2d(3, 4, 3, padding="smae")
    with pytest.raises(ArgumentError, match="mean"):
        nn.MSELoss("maen")
    with pytest.raises(ShapeError, match="negative"):
        nn.Linear(-1, 3)


@pytest.mark.feature("M1")
def test_modules_in_a_plain_list_are_noticed() -> None:
    class Net(nn.Module):
        def __init__(self, container: Any) -> None:
            super().__init__()
            self.blocks = container

    layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
    for container in (layers, {"a": layers[0]}, [nn.Parameter(ad.ones(2))]):
        with pytest.warns(UserWarning, match=r"Net.inner.blocks is a plain .*ModuleList"):
            outer = nn.Module()
            outer.__class__ = type("Net", (nn.Module,), {})
            outer.inner = Net(container)
            list(outer.parameters())
    assert len(list(Net(nn.ModuleList(layers)).parameters())) == 4
    assert list(Net(tuple(layers)).parameters()) == []  # hidden on purpose
    both = Net(layers)
    both.net = nn.Sequential(*layers)  # found by another way
    assert len(list(both.parameters())) == 4
