"""Parameter: a tensor that a Module finds and an optimiser changes."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.ops.structure import severed
from adjoint.tensors.creation import as_tensor
from adjoint.tensors.handle import Handle
from adjoint.tensors.tensor import Tensor


class Parameter(Tensor):
    """A leaf that requires grad; set as an attribute of a Module it is registered there.

    Shares the value of ``data``. Raises DTypeError for a dtype without gradients, unless
    ``requires_grad`` is False.
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        if data is None:
            raise errors.not_a_tensor("Parameter", data, hint="nn.Parameter(adjoint.zeros(3, 4))")
        source = data if isinstance(data, Handle) else as_tensor(data)
        super().__init__(severed(source.node))
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that a Module keeps in its state and does not train, when set as an attribute."""

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        if data is None:
            raise errors.not_a_tensor("Buffer", data, hint="nn.Buffer(adjoint.zeros(3, 4))")
        source = data if isinstance(data, Handle) else as_tensor(data)
        super().__init__(source.node)
        self.persistent = persistent
