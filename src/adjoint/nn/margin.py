"""Losses with a margin as modules."""

from __future__ import annotations

from collections.abc import Callable

from adjoint.nn.loss import Loss, Weighted
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor


class HingeLoss(Loss):
    """max(0, margin - y x) for labels of -1 or 1; see ``functional.hinge_loss``."""

    def __init__(self, margin: float = 1.0, squared: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin
        self.squared = squared

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_loss(input, target, self.margin, self.squared, self.reduction)


class SoftMarginLoss(Loss):
    """log(1 + exp(-y x)) for labels of -1 or 1."""

    function = staticmethod(F.soft_margin_loss)


class HingeEmbeddingLoss(Loss):
    """x where y = 1, max(0, margin - x) where y = -1."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_embedding_loss(input, target, self.margin, self.reduction)


class MultiMarginLoss(Weighted):
    """sum of max(0, margin - x[y] + x[i])^p / C over the wrong classes i."""

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(weight, reduction)
        self.p = p
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, self.reduction)


class MultiLabelMarginLoss(Loss):
    """The same for several right classes; see ``functional.multilabel_margin_loss``."""

    function = staticmethod(F.multilabel_margin_loss)


class MultiLabelSoftMarginLoss(Weighted):
    """Binary cross-entropy of sigmoid(x), averaged over classes."""

    function = staticmethod(F.multilabel_soft_margin_loss)


class _OfPair(Loss):
    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin


class MarginRankingLoss(_OfPair):
    """max(0, margin - y (x1 - x2))."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it has one operand more
        self, input1: Tensor, input2: Tensor, target: Tensor
    ) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class CosineEmbeddingLoss(_OfPair):
    """1 - cos(x1, x2) where y = 1, max(0, cos(x1, x2) - margin) where y = -1."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it has one operand more
        self, input1: Tensor, input2: Tensor, target: Tensor
    ) -> Tensor:
        return F.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(Loss):
    """max(0, margin + d(anchor, positive) - d(anchor, negative))."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it has one operand more
        self, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        return F.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction
        )


class TripletMarginWithDistanceLoss(Loss):
    """``TripletMarginLoss`` with any distance."""

    def __init__(
        self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0, swap: bool = False, reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction)
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # it has one operand more
        self, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function,
            margin=self.margin, swap=self.swap, reduction=self.reduction,
        )  # fmt: skip
