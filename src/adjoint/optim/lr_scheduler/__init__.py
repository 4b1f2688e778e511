"""PyTorch's scheduler classes: they set ``group["lr"]`` at every call of ``step``.

The numbers come from ``optim.schedules``. A function given as ``lr=`` needs no object and no call;
these are for code that was written for PyTorch.
"""

from adjoint.optim.lr_scheduler.base import LRScheduler
from adjoint.optim.lr_scheduler.combined import ChainedScheduler, SequentialLR
from adjoint.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from adjoint.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from adjoint.optim.lr_scheduler.factors import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from adjoint.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts",
    "CyclicLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
    "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR",
    "StepLR",
]  # fmt: skip
