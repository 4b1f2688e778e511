"""`fit` is the loop one would have written by hand, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import inspect
import io
import math
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from adjoint import nn, optim
from adjoint.data import DataLoader, TensorDataset, load_mnist
from adjoint.nn.functional import cross_entropy
from adjoint.tensors.creation import from_numpy
from adjoint.tensors.generator import manual_seed
from adjoint.tensors.tensor import Tensor
from adjoint.train import ConfusionMatrix, Epoch, cosine_decay, evaluate, fit, train_epoch

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(90, 4)).astype(np.float32)
LABELS = (POINTS @ RNG.normal(size=(4, 3))).argmax(1)


def parts(batch: int = 16) -> tuple[nn.Sequential, DataLoader, DataLoader]:
    manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
    train = DataLoader(TensorDataset(POINTS[:70], LABELS[:70]), batch, shuffle=True, seed=0)
    return model, train, DataLoader(TensorDataset(POINTS[70:], LABELS[70:]), 7)


def weights(model: nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


@pytest.mark.feature("L1")
@pytest.mark.slow
def test_twenty_lines_train_mnist(mnist_dir: Path) -> None:
    assert len(inspect.getsource(twenty_lines).splitlines()) <= 20
    assert twenty_lines(mnist_dir) >= 0.97


def twenty_lines(folder: Path) -> float:
    """The bare pipeline: initialise, forward, backward, update."""
    images, labels = load_mnist(folder)
    manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.Adam(model.parameters(), lr=0.002)
    batches = DataLoader(TensorDataset(images, labels), 128, shuffle=True, seed=0)
    for _ in range(4):
        for x, y in batches:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
    x, y = map(from_numpy, load_mnist(folder, "test"))
    return float((model(x).argmax(dim=1) == y).float().mean())


@pytest.mark.feature("L1")
def test_a_loop_by_hand_gives_the_same_weights() -> None:
    model, train, test = parts()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    history = fit(model, train, test, optimizer, nn.CrossEntropyLoss(), 3, report=None)

    by_hand, train, _ = parts()
    optimizer = optim.Adam(by_hand.parameters(), lr=0.01)
    for _ in range(3):
        by_hand.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = cross_entropy(by_hand(x), y)
            loss.backward()
            optimizer.step()
    assert weights(by_hand) == weights(model)
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3]
    assert not history.interrupted
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


def test_evaluation_is_over_samples_and_restores_the_mode() -> None:
    model, _, test = parts()
    matrix = ConfusionMatrix(3)
    for mode in (True, False):
        model.train(mode)
        scores = evaluate(model, test, nn.CrossEntropyLoss(), matrix)
        assert model.training is mode
        assert model[2].training is mode
    model.eval()
    whole = model(from_numpy(POINTS[70:]))
    wanted = cross_entropy(whole, from_numpy(LABELS[70:])).item()
    assert scores.loss == pytest.approx(wanted, rel=1e-6)
    assert scores.accuracy == (whole.detach().numpy().argmax(1) == LABELS[70:]).mean()
    assert matrix.compute().sum() == 2 * 20


def test_the_mode_comes_back_after_an_error() -> None:
    model, _, test = parts()

    def fail(scores: Tensor, labels: Tensor) -> Tensor:
        raise RuntimeError("bad loss")

    with pytest.raises(RuntimeError, match="bad loss"):
        evaluate(model, test, fail)
    assert model.training


def test_the_learning_rate_of_each_epoch() -> None:
    model, train, test = parts()
    optimizer = optim.SGD(model.parameters(), lr=9.0)
    seen: list[float] = []
    rate = cosine_decay(0.1, 4)
    fit(
        model, train, test, optimizer, nn.CrossEntropyLoss(), 4, learning_rate=rate,
        report=lambda _: seen.append(optimizer.param_groups[0]["lr"]),
    )  # fmt: skip
    assert seen == [rate(epoch) for epoch in (1, 2, 3, 4)]
    wanted = [0.05 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    assert seen == pytest.approx(wanted)


def test_ctrl_c_ends_between_two_steps() -> None:
    model, train, test = parts()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    steps: list[int] = []
    inner = optimizer.step

    def step() -> None:
        inner()
        steps.append(1)
        if len(steps) == 7:  # in the second epoch, which has five steps as the first
            signal.raise_signal(signal.SIGINT)

    optimizer.step = step  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGINT)
    history = fit(model, train, test, optimizer, nn.CrossEntropyLoss(), 9, report=None)
    assert len(steps) == 7
    assert history.interrupted
    assert [epoch.number for epoch in history.epochs] == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_plain_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    model, train, test = parts()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    fit(model, train, test, optimizer, nn.CrossEntropyLoss(), 2)
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1"], ["epoch", "2"]]
    assert shown.err == ""


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    model, train, _ = parts()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train_epoch(model, train, optimizer, nn.CrossEntropyLoss(), label="epoch 1/1")
    assert "epoch 1/1" in terminal.getvalue()
    assert "0/5" in terminal.getvalue()


def test_an_epoch_is_one_line_and_plain_data() -> None:
    epoch = Epoch(3, 0.5, 0.25, 0.625, 0.875, 1.26)
    line = " ".join(str(epoch).split())
    assert line == "epoch 3 loss 0.5000 train accuracy 25.00% test accuracy 87.50% 1.3 s"
    assert dataclasses.asdict(epoch)["test_accuracy"] == 0.875
