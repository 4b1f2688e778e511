"""The loop: forward, loss, backward, update; and the same without the update to evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

from adjoint.base.arguments import as_integer
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor
from adjoint.train.accumulation import Accumulation
from adjoint.train.interrupt import StopRequest, stop_on_signal
from adjoint.train.metrics import Accuracy, ConfusionMatrix, Mean
from adjoint.train.progress import track

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


class Model(Protocol):
    """What the loop needs of an ``nn.Module``."""

    training: bool

    def __call__(self, x: Tensor, /) -> Tensor: ...

    def train(self, mode: bool = True) -> Any: ...


class Optimizer(Protocol):
    """What the loop needs of an optimiser."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None: ...

    def step(self) -> Any: ...


class Scores(NamedTuple):
    """Mean loss and accuracy over samples."""

    loss: float
    accuracy: float


@dataclass
class Epoch:
    """What one pass over the training set gave; the training numbers are means over that pass."""

    number: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"epoch {self.number:3}   loss {self.train_loss:.4f}   "
            f"train accuracy {self.train_accuracy:7.2%}   test accuracy {self.test_accuracy:7.2%}"
            f"   {self.seconds:.1f} s"
        )


@dataclass
class History:
    """The epochs that were finished, and whether the run was stopped before its end."""

    epochs: list[Epoch] = field(default_factory=list)
    interrupted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The same as plain dicts and lists, for a JSON file."""
        return asdict(self)


def fit(
    model: Model,
    train: Batches,
    test: Batches,
    optimizer: Optimizer,
    loss_function: Loss,
    epochs: int,
    *,
    learning_rate: Callable[[int], float] | None = None,
    accumulate: int = 1,
    report: Callable[[Epoch], object] | None = print,
    progress: bool = True,
) -> History:
    """Train a classifier for ``epochs`` passes over ``train``, with a look at ``test`` after each.

    It does what the loop of `train_epoch` does and nothing else, so that a loop written by hand
    gives the same weights, bit by bit. ``learning_rate`` gives that of epochs 1, 2, ...; without
    it the optimiser keeps its own. ``accumulate``: the batches that make one step (see
    `Accumulation`; the last step of an epoch may have fewer). ``report`` gets each finished epoch.
    Ctrl-C ends the run after the step in progress and returns what there is, with ``interrupted``
    set.
    """
    history = History()
    with stop_on_signal() as stop:
        for number in range(1, epochs + 1):
            start = time.perf_counter()
            label = f"epoch {number}/{epochs}"
            if learning_rate is not None:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(number)
            learned = train_epoch(
                model, train, optimizer, loss_function, label=label, progress=progress, stop=stop,
                accumulate=accumulate,
            )  # fmt: skip
            if learned is None:
                break
            seen = evaluate(model, test, loss_function)
            epoch = Epoch(number, *learned, *seen, time.perf_counter() - start)
            history.epochs.append(epoch)
            if report is not None:
                report(epoch)
        history.interrupted = stop.asked and len(history.epochs) < epochs
    return history


def train_epoch(
    model: Model,
    batches: Batches,
    optimizer: Optimizer,
    loss_function: Loss,
    *,
    label: str = "training",
    progress: bool = True,
    stop: StopRequest | None = None,
    accumulate: int = 1,
) -> Scores | None:
    """One pass of gradient steps, each of ``accumulate`` batches; None when ``stop`` was asked for
    on the way.

    The loss and the accuracy are those of each batch before its step.
    """
    model.train()
    mean_loss, accuracy = Mean(), Accuracy()
    window = Accumulation(optimizer) if as_integer("train", "accumulate", accumulate) > 1 else None
    for number, (x, y) in enumerate(track(batches, label, progress), 1):
        if stop is not None and stop.asked:
            return None
        if window is None:
            optimizer.zero_grad()
        scores = model(x)
        loss = loss_function(scores, y)
        if window is None:
            loss.backward()
            optimizer.step()
        else:
            window.backward(loss, len(y))
            if number % accumulate == 0:
                window.step()
        mean_loss.update(loss.item(), len(y))
        accuracy.update(scores, y)
    if window is not None:
        window.step()
    return Scores(mean_loss.compute(), accuracy.compute())


def evaluate(
    model: Model,
    batches: Batches,
    loss_function: Loss,
    confusion: ConfusionMatrix | None = None,
) -> Scores:
    """Mean loss and accuracy in evaluation mode, without gradients; ``confusion`` is filled too.

    The model's own mode is put back afterwards, also after an error.
    """
    mean_loss, accuracy = Mean(), Accuracy()
    mode = model.training
    model.train(False)
    try:
        with no_grad():
            for x, y in batches:
                scores = model(x)
                mean_loss.update(loss_function(scores, y).item(), len(y))
                accuracy.update(scores, y)
                if confusion is not None:
                    confusion.update(scores, y)
    finally:
        model.train(mode)
    return Scores(mean_loss.compute(), accuracy.compute())
