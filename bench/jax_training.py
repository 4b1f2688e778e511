"""Loss, gradients and Adam in plain JAX functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bench import jax_networks

State = dict[str, Any]


def first(params: State, stats: State) -> State:
    """Everything a step changes, at the start."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {
        "params": params, "stats": stats, "m": zeros, "v": jax.tree.map(jnp.zeros_like, params),
        "count": jnp.zeros((), jnp.float32), "key": jax.random.key(0),
    }  # fmt: skip


def functions(
    network: str, loss: str, sizes: dict[str, Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``step(state, rate, target, *inputs) -> state, loss`` and ``forward(state, *inputs)``."""
    build = getattr(jax_networks, network)
    measure = {"cross_entropy": cross_entropy, "mse_loss": mean_square}[loss]

    def loss_of(params: State, stats: State, key: Any, target: Any, inputs: Any) -> Any:
        scope = jax_networks.Scope(params, stats, True, key)
        return measure(build(scope, *inputs, **sizes), target), scope.stats

    def step(state: State, rate: Any, target: Any, *inputs: Any) -> tuple[State, Any]:
        following, key = jax.random.split(state["key"])
        (value, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(
            state["params"], state["stats"], key, target, inputs
        )
        return {**adam(state, grads, rate), "stats": stats, "key": following}, value

    def forward(state: State, *inputs: Any) -> Any:
        scope = jax_networks.Scope(state["params"], state["stats"], False, None)
        return build(scope, *inputs, **sizes)

    return step, forward


def adam(state: State, grads: State, rate: Any) -> State:
    """Kingma and Ba, ICLR 2015, with PyTorch's defaults."""
    count = state["count"] + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["m"], grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state["v"], grads)
    large = jnp.sqrt(1 - 0.999**count)

    def update(p: Any, m: Any, v: Any) -> Any:
        return p - rate / (1 - 0.9**count) * m / (jnp.sqrt(v) / large + 1e-8)

    return {"params": jax.tree.map(update, state["params"], m, v), "m": m, "v": v, "count": count}


def cross_entropy(scores: Any, target: Any) -> Any:
    scores, target = scores.reshape(-1, scores.shape[-1]), target.reshape(-1)
    chosen = jnp.take_along_axis(scores, target[:, None], 1)[:, 0]
    return (jax.nn.logsumexp(scores, -1) - chosen).mean()


def mean_square(scores: Any, target: Any) -> Any:
    return jnp.square(scores - target).mean()
