"""Neural networks: modules, losses, initialisation, under PyTorch names."""

from adjoint.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.nn.state import IncompatibleKeys, StateDictError

__all__ = [
    "IncompatibleKeys", "Module", "ModuleDict", "ModuleList", "Parameter", "ParameterList",
    "Sequential", "StateDictError",
]  # fmt: skip
