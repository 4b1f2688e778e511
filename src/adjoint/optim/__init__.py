"""Optimisers, with PyTorch's names, arguments and defaults."""

from adjoint.optim import curvature, lr_scheduler, schedules, swa_utils
from adjoint.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from adjoint.optim.adaptive import Adadelta, Adagrad, RMSprop, Rprop
from adjoint.optim.averaging import EMA
from adjoint.optim.finder import lr_find
from adjoint.optim.kfac import KFAC
from adjoint.optim.lbfgs import LBFGS
from adjoint.optim.lion import LAMB, Lion
from adjoint.optim.momentum import Momentum
from adjoint.optim.muon import Muon
from adjoint.optim.newton import GaussNewton, Newton
from adjoint.optim.optimizer import Optimizer
from adjoint.optim.preconditioned import Preconditioned
from adjoint.optim.sgd import SGD

__all__ = [
    "EMA", "KFAC", "LAMB", "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax",
    "GaussNewton", "Lion", "Momentum", "Muon", "NAdam", "Newton", "Optimizer", "Preconditioned",
    "RAdam", "RMSprop", "Rprop", "curvature", "lr_find", "lr_scheduler", "schedules", "swa_utils",
]  # fmt: skip
