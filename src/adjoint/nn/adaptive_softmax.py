"""A softmax over many classes that spends little on rare ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_items
from adjoint.nn.containers import ModuleList, Sequential
from adjoint.nn.linear import Linear
from adjoint.nn.module import Module
from adjoint.tensors import functional as F
from adjoint.tensors.arithmetic import logical_and, where
from adjoint.tensors.elementwise import clamp
from adjoint.tensors.movement import cat
from adjoint.tensors.tensor import Tensor


class TargetLogProb(NamedTuple):
    """The log-probability of each target, and the loss: minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Classes in the order of their frequency, in clusters that begin at ``cutoffs``: the head has
    the frequent ones and one entry for each cluster of rare ones, whose own scores come through
    in_features / div_value^i hidden units.

    input (N, D) or (D,), target (N,) or 0-d. Gives (output, loss). All clusters are computed for
    all rows, so that the shapes do not depend on the targets. Source: Grave et al., ICML 2017.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
        head_bias: bool = False, device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        places = as_items(cutoffs) or []
        n_classes = as_integer("AdaptiveLogSoftmaxWithLoss", "n_classes", n_classes)
        rising = [as_integer("AdaptiveLogSoftmaxWithLoss", "cutoffs", c) for c in places]
        if (
            not rising
            or rising != sorted(set(rising))
            or not 0 < rising[0] <= rising[-1] < n_classes
        ):
            raise errors.argument(
                "AdaptiveLogSoftmaxWithLoss", f"cutoffs must rise inside 1 .. {n_classes - 1}, "
                f"got {errors.clip(cutoffs)}", hint="[100, 1000] makes three clusters",
            )  # fmt: skip
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*rising, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = rising[0]
        self.n_clusters = len(rising)
        self.head_size = self.shortlist_size + self.n_clusters
        place = {"device": "cpu" if device is None else device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            first = Linear(in_features, hidden, bias=False, **place)
            self.tail.append(Sequential(first, Linear(hidden, size, bias=False, **place)))

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.head.reset_parameters()
        for part in self.tail:
            for layer in part.children():
                layer.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> TargetLogProb:
        x = input if target.ndim else input.unsqueeze(0)
        goal = target if target.ndim else target.unsqueeze(0)
        if goal.ndim != 1 or x.ndim != 2 or len(x) != len(goal):
            raise errors.shape(
                "AdaptiveLogSoftmaxWithLoss", "needs input (N, D) and target (N,)", input, target,
                hint="one class number for each row",
            )  # fmt: skip
        self._check(goal)
        head = F.log_softmax(self.head(x), 1)
        output = _picked(head, clamp(goal, 0, self.shortlist_size - 1))
        for i, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            inner = F.log_softmax(self.tail[i](x), 1)
            found = _picked(inner, clamp(goal - low, 0, high - low - 1))
            found = found + head[:, self.shortlist_size + i]
            output = where(logical_and(goal >= low, goal < high), found, output)
        return TargetLogProb(output if target.ndim else output[0], -output.mean())

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes, (N, n_classes)."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i in range(self.n_clusters):
            inner = F.log_softmax(self.tail[i](input), 1)
            parts.append(inner + head[:, self.shortlist_size + i].unsqueeze(1))
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most likely class of each row."""
        return self.log_prob(input).argmax(1)

    def _check(self, goal: Tensor) -> None:
        if goal.node.is_abstract:
            return
        values = goal.node.array()
        if ((values < 0) | (values >= self.n_classes)).any():
            raise errors.index(
                f"a class is outside of 0 .. {self.n_classes - 1}",
                op="AdaptiveLogSoftmaxWithLoss", hint="classes begin at 0",
            )  # fmt: skip


def _picked(rows: Tensor, classes: Tensor) -> Tensor:
    return rows.gather(1, classes.unsqueeze(1)).squeeze(1)
