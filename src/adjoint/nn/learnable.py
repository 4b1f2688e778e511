"""Activations that are learned, that differ from unit to unit, or that are gated or random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.shape import as_size
from adjoint.nn.activation import GLU
from adjoint.nn.checks import as_list
from adjoint.nn.containers import ModuleList
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor


class RReLU(Module):
    """x above 0, a x elsewhere, a uniform in [lower, upper) while training; see
    ``functional.rrelu``."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + (
            ", inplace=True" if self.inplace else ""
        )


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise errors.shape(
                "Softmax2d", "needs (N, C, H, W) or (C, H, W)", input, hint="Softmax takes any rank"
            )
        return F.softmax(input, -3)


class GEGLU(GLU):
    """gelu(a) * b for the two halves of the input along ``dim``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.geglu(input, self.dim)


class ReGLU(GLU):
    """relu(a) * b for the two halves of the input along ``dim``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.reglu(input, self.dim)


class Spline(Module):
    """A learned piecewise linear function, one for all units; see ``functional.spline``.

    weight (count,): its values at ``count`` places from ``low`` to ``high``. It starts as
    ``start`` (relu by default).
    """

    def __init__(
        self, count: int = 17, low: float = -3.0, high: float = 3.0,
        start: Callable[[Tensor], Tensor] = F.relu, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.low = float(as_number("Spline", "low", low))
        self.high = float(as_number("Spline", "high", high))
        count = as_size("Spline", count)
        if count < 2 or not self.low < self.high:
            raise errors.argument(
                "Spline", f"needs 2 places or more between low and high, got {count} from {low} "
                f"to {high}", hint="Spline(17, -3.0, 3.0), say",
            )  # fmt: skip
        places = creation.linspace(self.low, self.high, count, dtype=dtype, device=device)
        self.weight = Parameter(start(places).detach())

    def forward(self, input: Tensor) -> Tensor:
        return F.spline(input, self.weight, self.low, self.high)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, low={self.low}, high={self.high}"


class Rational(Module):
    """A learned quotient of polynomials, one for all units; see ``functional.rational``.

    It starts near leaky ReLU: numerator (6,), denominator (4,), the values of Molina et al., ICLR
    2020, for degrees 5 and 4.
    """

    NUMERATOR = (0.02996348, 0.61690165, 2.37539147, 3.06608078, 1.52474449, 0.25281987)
    DENOMINATOR = (1.19160814, 4.40811795, 0.91111034, 0.34885983)

    def __init__(self, device: object = "cpu", dtype: object = None) -> None:
        super().__init__()
        self.numerator = Parameter(_vector(self.NUMERATOR, dtype, device))
        self.denominator = Parameter(_vector(self.DENOMINATOR, dtype, device))

    def forward(self, input: Tensor) -> Tensor:
        return F.rational(input, self.numerator, self.denominator)


class MixedActivation(Module):
    """Unit i along ``dim`` goes through ``functions[i]``: functions or modules, one per unit. Equal
    ones run once for all their units; see ``functional.mixed``."""

    def __init__(self, functions: Sequence[Callable[[Any], Any]], dim: int = 1) -> None:
        super().__init__()
        given = as_list(
            "MixedActivation", "functions", functions, Callable, "a list of functions or modules"
        )
        modules: dict[int, Module] = {id(f): f for f in given if isinstance(f, Module)}
        places = {key: place for place, key in enumerate(modules)}
        self.dim = dim
        self.units = tuple(places.get(id(f), f) for f in given)  # modules by their place
        self.learned = ModuleList(modules.values())

    def forward(self, input: Tensor) -> Tensor:
        modules = list(self.learned)
        functions: list[Any] = [modules[u] if isinstance(u, int) else u for u in self.units]
        return F.mixed(input, functions, self.dim)

    def extra_repr(self) -> str:
        return f"{len(self.units)} units, dim={self.dim}"


def _vector(values: Sequence[float], dtype: object, device: object) -> Tensor:
    made = creation.as_tensor(np.asarray(values))
    return made.to(creation.empty(0, dtype=dtype).dtype).to(device)
