"""Floor 8: one file per model."""

from adjoint.models.lenet import LeNet, LeNetConfig

__all__ = ["LeNet", "LeNetConfig"]
