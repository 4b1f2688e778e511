"""A training step and a forward pass of each library, on given weights and a given batch.

A step is what users write: forward, loss, backward, Adam, the loss read as a number. PyTorch runs
with its fused Adam, ``torch.compile`` on the network with its loss; JAX gives its old weights
away so that they are updated in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import libraries
from bench.kits import Kit, kit_of
from bench.workloads import Workload

TINY = 1e-9
"""Adam's rate while time is taken, so that nobody reaches a loss where numbers too small for fast
arithmetic appear."""


class Steps:
    """``train()`` gives the loss before the update; ``infer()`` the scores, as NumPy sees them."""

    train: Callable[[], float]
    infer: Callable[[], Any]

    def scores(self) -> np.ndarray:
        return np.asarray(self.infer())

    def settle(self) -> None:
        """From here on the weights hardly change."""
        raise NotImplementedError

    def use(self) -> None:
        """Get ready for ``infer``."""

    def resume(self) -> None:
        """Get ready for ``train`` again."""


def steps_of(
    library: str, workload: Workload, weights: dict[str, np.ndarray], small: bool, agreeing: bool
) -> Steps:
    """The steps of a library. ``agreeing``: without what makes losses differ, such as dropout."""
    arrays = workload.arrays(small)
    if library in (libraries.TORCH, libraries.TORCH_COMPILE):
        return TorchSteps(
            workload, weights, arrays, small, agreeing, library == libraries.TORCH_COMPILE
        )
    if library == libraries.JAX:
        return JaxSteps(workload, weights, arrays, small, agreeing)
    return AdjointSteps(workload, weights, arrays, small, agreeing, library == libraries.OURS)


class _TorchLike(Steps):
    """What is the same for Adjoint and PyTorch: all but the compiler."""

    def __init__(
        self, kit: Kit, workload: Workload, weights: dict[str, np.ndarray],
        arrays: dict[str, np.ndarray], small: bool, agreeing: bool, adam: dict[str, Any],
    ) -> None:  # fmt: skip
        self.net = workload.network(kit, small, agreeing)
        self.net.load_state_dict({name: kit.lib.tensor(value) for name, value in weights.items()})
        self.optimizer = kit.lib.optim.Adam(self.net.parameters(), lr=workload.rate, **adam)
        tensors = {name: kit.lib.tensor(value) for name, value in arrays.items()}
        self.target = tensors.pop("target")
        self.inputs = list(tensors.values())
        self.loss = getattr(kit.F, workload.loss)
        self.no_grad = kit.lib.no_grad

    def settle(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = TINY

    def use(self) -> None:
        self.net.eval()

    def resume(self) -> None:
        self.net.train()


class TorchSteps(_TorchLike):
    def __init__(
        self, workload: Workload, weights: dict[str, np.ndarray], arrays: dict[str, np.ndarray],
        small: bool, agreeing: bool, compiled: bool,
    ) -> None:  # fmt: skip
        import torch

        super().__init__(
            kit_of(libraries.TORCH), workload, weights, arrays, small, agreeing, {"fused": True}
        )
        net, criterion = self.net, self.loss

        def loss_of(target: Any, *inputs: Any) -> Any:
            return criterion(net(*inputs), target)

        loss = torch.compile(loss_of) if compiled else loss_of
        forward = torch.compile(net) if compiled else net

        def train() -> float:
            self.optimizer.zero_grad()
            value = loss(self.target, *self.inputs)
            value.backward()
            self.optimizer.step()
            return value.item()

        def infer() -> Any:
            with torch.inference_mode():
                return forward(*self.inputs)

        self.train, self.infer = train, infer


class AdjointSteps(_TorchLike):
    def __init__(
        self, workload: Workload, weights: dict[str, np.ndarray], arrays: dict[str, np.ndarray],
        small: bool, agreeing: bool, captured: bool,
    ) -> None:  # fmt: skip
        import adjoint as ad

        super().__init__(kit_of(libraries.OURS), workload, weights, arrays, small, agreeing, {})

        def step(target: Any, *inputs: Any) -> Any:
            self.optimizer.zero_grad()
            value = self.loss(self.net(*inputs), target)
            value.backward()
            self.optimizer.step()
            return value

        def forward(*inputs: Any) -> Any:
            with ad.no_grad():
                return self.net(*inputs)

        if captured:
            step, forward = ad.jit(step), ad.jit(forward)
        self.step, self.forward = step, forward
        self.train = lambda: step(self.target, *self.inputs).item()
        self.infer = lambda: forward(*self.inputs)

    def scores(self) -> np.ndarray:
        return self.infer().numpy()


class JaxSteps(Steps):
    def __init__(
        self, workload: Workload, weights: dict[str, np.ndarray], arrays: dict[str, np.ndarray],
        small: bool, agreeing: bool,
    ) -> None:  # fmt: skip
        import jax
        import jax.numpy as jnp

        from bench import jax_training

        sizes = workload.at(small, agreeing)[0]
        names = ("running_mean", "running_var", "num_batches_tracked")
        ready = {name: jnp.asarray(value) for name, value in weights.items()}
        params = {k: v for k, v in ready.items() if not k.endswith(names)}
        stats = {k: v for k, v in ready.items() if k.endswith(names)}
        batch = {k: jnp.asarray(_channels_last(v)) for k, v in arrays.items()}
        target = batch.pop("target")
        inputs = tuple(batch.values())
        step, forward = jax_training.functions(workload.jax, workload.loss, sizes)
        step = jax.jit(step, donate_argnums=0)
        forward = jax.jit(forward)
        self.rate = workload.rate
        self.state = jax_training.first(params, stats)

        def train() -> float:
            self.state, loss = step(self.state, self.rate, target, *inputs)
            jax.block_until_ready(self.state)
            return float(loss)

        self.train = train
        self.infer = lambda: forward(self.state, *inputs).block_until_ready()

    def scores(self) -> np.ndarray:
        return _channels_first(np.asarray(self.infer()))

    def settle(self) -> None:
        self.rate = TINY


def _channels_last(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1).copy() if array.ndim == 4 else array


def _channels_first(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
