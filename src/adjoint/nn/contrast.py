"""Losses for sequences, rare classes, masks and pairs among many, as modules."""

from __future__ import annotations

from typing import Any

from adjoint.nn.loss import Loss, Weighted
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor


class CTCLoss(Loss):
    """-log of the probability that frames spell a label sequence; see ``functional.ctc_loss``."""

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it has two operands more
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction,
            self.zero_infinity,
        )  # fmt: skip


class FocalLoss(Weighted):
    """-(1 - p)^gamma log p with p = softmax(x)[target]; see ``functional.focal_loss``."""

    def __init__(
        self, gamma: float = 2.0, weight: Tensor | None = None, ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(weight, reduction)
        self.gamma = gamma
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.focal_loss(
            input, target, self.gamma, self.weight, self.ignore_index, self.reduction
        )


class DiceLoss(Loss):
    """1 - (2 sum p y + smooth) / (sum p + sum y + smooth)."""

    function = staticmethod(F.dice_loss)

    def __init__(self, smooth: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.smooth = smooth

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return type(self).function(input, target, self.smooth, self.reduction)


class IoULoss(DiceLoss):
    """1 - (sum p y + smooth) / (sum p + sum y - sum p y + smooth)."""

    function = staticmethod(F.iou_loss)


class InfoNCE(Loss):
    """Cross-entropy of picking the right key for each query; see ``functional.info_nce``."""

    def __init__(
        self, temperature: float = 0.1, symmetric: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.temperature = temperature
        self.symmetric = symmetric

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it has one operand more
        self, query: Tensor, key: Tensor, negatives: Tensor | None = None
    ) -> Tensor:
        return F.info_nce(query, key, negatives, self.temperature, self.symmetric, self.reduction)
