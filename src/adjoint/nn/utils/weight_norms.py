"""Weight norm and spectral norm under the names that older PyTorch checkpoints have."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.nn.utils.parametrizations import WeightNorm, matrix_of, present, usual_axis
from adjoint.nn.utils.parametrize import generalise, specialise
from adjoint.tensors import random
from adjoint.tensors.contraction import mv
from adjoint.tensors.functional import normalize
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """``parametrizations.weight_norm`` with the names ``weight_g`` and ``weight_v``."""
    weight = present("weight_norm", module, name)
    way = WeightNorm(dim)
    with no_grad():
        g, v = way.right_inverse(weight.detach())
    del module._parameters[name]
    module.register_parameter(f"{name}_g", Parameter(g.clone()))
    module.register_parameter(f"{name}_v", Parameter(v.clone()))

    def get(self: Module) -> Tensor:
        return way(getattr(self, f"{name}_g"), getattr(self, f"{name}_v"))

    specialise(module, type(module).__name__, {name: property(get)})
    return module


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    dim: int | None = None,
) -> Module:  # fmt: skip
    """``parametrizations.spectral_norm`` with the names ``weight_orig``, ``weight_u`` and
    ``weight_v``; the power method runs once before every forward pass while training."""
    weight = present("spectral_norm", module, name)
    if n_power_iterations < 1:
        raise errors.argument(
            "spectral_norm", f"n_power_iterations must be positive, got {n_power_iterations}",
            hint="1 is usual",
        )  # fmt: skip
    axis = usual_axis(module) if dim is None else dim
    with no_grad():
        sizes = matrix_of(weight.detach(), axis).shape
        drawn = [normalize(random.randn(n, dtype=weight.dtype), dim=0, eps=eps) for n in sizes]
    del module._parameters[name]
    module.register_parameter(f"{name}_orig", Parameter(weight.detach().clone()))
    for key, value in zip("uv", drawn, strict=True):
        module.register_buffer(f"{name}_{key}", value)

    def parts(self: Module) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(getattr(self, f"{name}_{key}") for key in ("orig", "u", "v"))  # type: ignore[return-value]

    def get(self: Module) -> Tensor:
        original, u, v = parts(self)
        matrix = matrix_of(original, axis)
        return original / (u.detach().clone() * mv(matrix, v.detach().clone())).sum()

    def iterate(self: Module, args: Any) -> None:
        if self.training:
            original, old_u, old_v = parts(self)
            with no_grad():
                matrix, u, v = matrix_of(original.detach(), axis), old_u, old_v
                for _ in range(n_power_iterations):
                    v = normalize(mv(matrix.t(), u), dim=0, eps=eps)
                    u = normalize(mv(matrix, v), dim=0, eps=eps)
                old_u.copy_(u)
                old_v.copy_(v)

    iterate.__name__ = f"iterate_{name}"
    module.register_forward_pre_hook(iterate)
    specialise(module, type(module).__name__, {name: property(get)})
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make ``name`` a plain parameter with its present value."""
    return _removed("remove_weight_norm", module, name, ("g", "v"))


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make ``name`` a plain parameter with its present value."""
    made = _removed("remove_spectral_norm", module, name, ("orig", "u", "v"))
    hooks = made._pre_hooks
    hooks[:] = [h for h in hooks if getattr(h, "__name__", "") != f"iterate_{name}"]
    return made


def _removed(op: str, module: Module, name: str, keys: tuple[str, ...]) -> Module:
    names = [f"{name}_{key}" for key in keys]
    if names[0] not in module._parameters:
        raise errors.argument(
            op, f"{name!r} of {type(module).__name__} is not computed from {names[0]}",
            hint="it takes back what the function without remove_ did",
        )  # fmt: skip
    with no_grad():
        value = getattr(module, name).detach()
    generalise(module, name)
    for key in names:
        delattr(module, key)
    module.register_parameter(name, Parameter(value))
    return module
