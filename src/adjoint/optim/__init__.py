"""Optimisers, with PyTorch's names, arguments and defaults."""

from adjoint.optim.adam import Adam, AdamW
from adjoint.optim.optimizer import Optimizer
from adjoint.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
