"""The single operations in JAX; images are (batch, height, width, channel)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.jax_training import adam as adam_update
from bench.jax_training import cross_entropy, first

Work = tuple[Callable[[], Any], np.ndarray]


def matmul(a: Any, b: Any) -> Any:
    return a @ b


def matmul_turned(a: Any, b: Any) -> Any:
    return a @ b.T


def conv(x: Any, w: Any, stride: int, pad: int, groups: int) -> Any:
    return lax.conv_general_dilated(
        x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "OIHW", "NHWC"),
        feature_group_count=groups,
    )  # fmt: skip


def attention(q: Any, k: Any, v: Any, causal: bool) -> Any:
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))  # (batch, time, heads, width)
    return jax.nn.dot_product_attention(q, k, v, is_causal=causal).swapaxes(1, 2)


def softmax(x: Any) -> Any:
    return jax.nn.softmax(x, axis=-1)


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * w + b


def gelu(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


def embedding(index: Any, table: Any) -> Any:
    return table[index]


FUNCTIONS = {
    "matmul": matmul, "matmul_turned": matmul_turned, "conv": conv, "attention": attention,
    "softmax": softmax, "layer_norm": layer_norm, "gelu": gelu, "embedding": embedding,
    "cross_entropy": cross_entropy,
}  # fmt: skip


def prepare(arrays: dict[str, np.ndarray], name: str, given: tuple[Any, ...]) -> Work:
    """A call to be timed and the first result, of a function or of its gradients."""
    images = "x" in arrays and arrays["x"].ndim == 4
    values = {k: jnp.asarray(_channels_last(v) if images and k != "w" else v)
              for k, v in arrays.items()}  # fmt: skip
    if name == "dropout":
        return _dropout(values["x"])
    ct = values.pop("ct", None)
    if name.endswith("_gradients"):
        wanted, *rest = given
        inner = FUNCTIONS[name.removesuffix("_gradients")]
        function = _gradients(inner, list(values), wanted, rest, ct is not None)
    else:
        function = partial(_then, FUNCTIONS[name], given)
    call = jax.jit(function)
    inputs = (*values.values(), *(() if ct is None else (ct,)))
    return first_result(lambda: jax.block_until_ready(call(*inputs)))


def _then(function: Callable[..., Any], given: tuple[Any, ...], *inputs: Any) -> Any:
    return function(*inputs, *given)


def _gradients(
    function: Callable[..., Any], names: list[str], wanted: tuple[str, ...], rest: list[Any],
    with_ct: bool,
) -> Callable[..., Any]:  # fmt: skip
    def work(*inputs: Any) -> Any:
        known = dict(zip(names, inputs, strict=False))

        def inner(*sources: Any) -> Any:
            return function(*{**known, **dict(zip(wanted, sources, strict=True))}.values(), *rest)

        out, pull = jax.vjp(inner, *(known[name] for name in wanted))
        return pull(inputs[-1] if with_ct else jnp.ones_like(out))

    return work


def adam(arrays: dict[str, np.ndarray], rate: float) -> Work:
    """One update of everything in place."""
    gradient = {"p": jnp.asarray(arrays["g"])}
    update = jax.jit(adam_update, donate_argnums=0)
    held = {"state": first({"p": jnp.asarray(arrays["p"])}, {})}
    for name in ("stats", "key"):
        held["state"].pop(name)

    def call() -> Any:
        held["state"] = jax.block_until_ready(update(held["state"], gradient, rate))
        return held["state"]["params"]["p"]

    return first_result(call)


def _dropout(x: Any) -> Work:
    @jax.jit
    def work(key: Any, x: Any) -> Any:
        following, key = jax.random.split(key)
        return following, jnp.where(jax.random.bernoulli(key, 0.75, x.shape), x / 0.75, 0.0)

    held = {"key": jax.random.key(0)}

    def call() -> Any:
        held["key"], y = jax.block_until_ready(work(held["key"], x))
        return y

    return first_result(call)


def first_result(call: Callable[[], Any]) -> Work:
    result = call()
    return call, np.array(result[0] if isinstance(result, tuple) else result)


def _channels_last(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1).copy()
