"""Single operations: products, convolutions, attention, and passes over much memory.

``work`` is what an operation must do at the least: operations of multiply-adds (two each), or bytes
moved when every input is read once and every output written once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import libraries
from bench.kits import kit_of

Arrays = dict[str, np.ndarray]
Work = tuple[Callable[[], Any], np.ndarray]


@dataclass(frozen=True)
class Operation:
    """``make(library, arrays)`` gives a call to be timed and the result of a first call."""

    group: str
    arrays: Callable[[np.random.Generator], Arrays]
    make: Callable[[str, Arrays], Work]
    work: float
    unit: str = "GFLOP/s"
    numpy: bool = False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Who is compared: compiling single operations through ``torch.compile`` is left out."""
        names = (libraries.OURS, libraries.OURS_EAGER, libraries.TORCH, libraries.JAX)
        return (*names, libraries.NUMPY) if self.numpy else names


def prepare(library: str, name: str, small: bool) -> Work:
    """A call to be timed, and its first result."""
    operation = table(small)[name]
    return operation.make(library, operation.arrays(np.random.default_rng(0)))


def table(small: bool) -> dict[str, Operation]:
    """All operations by name; ``small``: the same ones in sizes for a quick check."""
    from bench import contractions, passes

    return {**contractions.operations(small), **passes.operations(small)}


def normal(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], Arrays]:
    """Normal numbers of the given shapes."""
    return lambda rng: {
        name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()
    }


def forward(like: Callable[[Any], Callable[..., Any]], jax: str, *given: Any) -> Any:
    """A function alone: ``like(kit)`` of Adjoint, PyTorch or NumPy, ``jax`` in the JAX module."""

    def make(library: str, arrays: Arrays) -> Work:
        if library == libraries.JAX:
            return _jax(arrays, jax, given)
        kit = kit_of(library)
        function = like(kit)
        if library == libraries.NUMPY:
            return first_result(lambda: function(*arrays.values()))
        tensors = [kit.lib.tensor(array) for array in arrays.values()]
        if library == libraries.OURS:
            function = kit.lib.jit(function)
        elif library == libraries.TORCH:
            function = kit.lib.inference_mode()(function)
        return first_result(lambda: function(*tensors))

    return make


def gradients(
    like: Callable[[Any], Callable[..., Any]], jax: str, wanted: tuple[str, ...], *given: Any
) -> Any:
    """Forward, then the gradients of ``wanted`` for the cotangent that the arrays name ``ct``.

    Without ``ct`` the result is a number and its gradient is taken. Forward results that a
    gradient does not need need not be computed.
    """

    def make(library: str, arrays: Arrays) -> Work:
        if library == libraries.JAX:
            return _jax(arrays, f"{jax}_gradients", (wanted, *given))
        kit = kit_of(library)
        tensors = {name: kit.lib.tensor(array) for name, array in arrays.items()}
        ct = tensors.pop("ct", None)
        function = like(kit)
        if library == libraries.TORCH:
            sources = [tensors[name].requires_grad_() for name in wanted]
            return first_result(
                lambda: kit.lib.autograd.grad(function(*tensors.values()), sources, ct)[0]
            )
        work = _adjoint_gradients(kit.lib, function, tensors, wanted, ct is not None)
        call = kit.lib.jit(work) if library == libraries.OURS else work
        values = [*tensors.values(), *([] if ct is None else [ct])]
        return first_result(lambda: call(*values)[0])

    return make


def _adjoint_gradients(
    ad: Any, function: Any, tensors: dict[str, Any], wanted: tuple[str, ...], given: bool
) -> Callable[..., Any]:
    names = list(tensors)

    def work(*values: Any) -> Any:
        known = dict(zip(names, values, strict=False))

        def inner(*sources: Any) -> Any:
            return function(*{**known, **dict(zip(wanted, sources, strict=True))}.values())

        sources = [known[name] for name in wanted]
        if not given:
            return ad.grad(inner, argnums=tuple(range(len(wanted))))(*sources)
        return ad.vjp(inner, *sources)[1](values[-1])

    return work


def _jax(arrays: Arrays, name: str, given: tuple[Any, ...]) -> Work:
    from bench import jax_operations

    return jax_operations.prepare(arrays, name, given)


def first_result(call: Callable[[], Any]) -> Work:
    result = call()
    return call, np.array(result.detach().numpy() if hasattr(result, "detach") else result)
