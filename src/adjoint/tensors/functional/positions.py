"""Where in a sequence something stands: added to the input, turned into it, or to the scores."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Any

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.dtype import as_dtype, float32, int64
from adjoint.base.shape import as_size
from adjoint.tensors import arithmetic, creation, elementwise
from adjoint.tensors.handle import Handle
from adjoint.tensors.movement import cat, stack
from adjoint.tensors.powers import pow

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def sinusoidal_positions(
    length: int, size: int, base: float = 10000.0, *, start: Any = 0, dtype: object = None
) -> Tensor:
    """(length, size): sin(t / base^(2i / size)) at 2i and cos of the same at 2i + 1.

    Row t + k is row t turned by an angle that depends on k alone. Source: Vaswani et al.,
    "Attention is all you need", 2017.
    """
    op = "sinusoidal_positions"
    count, width = as_size(op, length), as_size(op, size)
    angles = _angles(op, _places(count, start), width + width % 2, base)
    pairs = stack([elementwise.sin(angles), elementwise.cos(angles)], -1)
    found = pairs.reshape(count, width + width % 2)[:, :width]
    return found if dtype is None else found.to(as_dtype(dtype))


def rotary(
    input: Tensor, base: float = 10000.0, *, start: Any = 0, positions: Handle | None = None,
    interleaved: bool = False,
) -> Tensor:  # fmt: skip
    """(..., T, size) with each pair of features turned by t / base^(2i / size).

    Products of a query at t and a key at s then depend on t - s alone. Pair i is (i, i + size / 2)
    or, ``interleaved``, (2i, 2i + 1). t counts from ``start``, or is given as ``positions`` (T,).
    Raises ShapeError for an odd size. Source: Su et al., "RoFormer", 2021.
    """
    if not isinstance(input, Handle):
        raise errors.not_a_tensor("rotary", input)
    if input.ndim < 2 or input.shape[-1] % 2:
        raise errors.shape(
            "rotary", "needs (..., time, size) with an even size", input,
            hint="apply it to queries and keys, after they are split into heads",
        )  # fmt: skip
    length, size = input.shape[-2:]
    places = _places(length, start) if positions is None else arithmetic.mul(positions, 1.0)
    angles = _angles("rotary", places, size, base)
    cos, sin = (f(angles).to(input.dtype) for f in (elementwise.cos, elementwise.sin))
    if interleaved:
        first, second = input[..., 0::2], input[..., 1::2]
    else:
        first, second = input[..., : size // 2], input[..., size // 2 :]
    turned = [first * cos - second * sin, second * cos + first * sin]
    return stack(turned, -1).reshape(input.shape) if interleaved else cat(turned, -1)


def alibi_slopes(heads: int) -> Tensor:
    """(heads,): 2^(-8 / heads), its square, its cube ...; between two powers of two every other
    slope of the next one is added. Source: Press et al., "Train short, test long", 2021.
    """
    count = as_size("alibi_slopes", heads)
    if count < 1:
        raise errors.argument("alibi_slopes", "needs at least one head", hint="heads=8, say")
    power = 1 << int(log2(count))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (count - power), 2)]
    return creation.tensor(slopes)


def alibi_bias(heads: int, queries: int, keys: int | None = None, *, start: Any = 0) -> Tensor:
    """(heads, queries, keys): -slope * |query - key|, to be added to the scores of attention.

    The queries stand at ``start``, ``start`` + 1 ...; the keys at 0, 1 ....
    """
    count = as_size("alibi_bias", queries)
    places = creation.arange(as_size("alibi_bias", count if keys is None else keys), dtype=float32)
    distance = (_places(count, start)[:, None] - places).abs()
    return -alibi_slopes(heads)[:, None, None] * distance


def relative_buckets(
    queries: int, keys: int, buckets: int = 32, max_distance: int = 128, bidirectional: bool = True,
    *, start: Any = 0,
) -> Tensor:  # fmt: skip
    """(queries, keys): a number in 0 .. buckets - 1 for each distance.

    Half of the buckets (of each direction) hold one distance each, the others grow
    logarithmically up to ``max_distance``. Source: Raffel et al., "T5", 2020.
    """
    op = "relative_buckets"
    distance = creation.arange(keys) - (creation.arange(queries)[:, None] + start)
    count = as_size(op, buckets) // (2 if bidirectional else 1)
    found = creation.zeros_like(distance)
    if bidirectional:
        found = (distance > 0).to(int64) * count
        distance = distance.abs()
    else:
        distance = elementwise.clamp(-distance, min=0)
    exact = count // 2
    far = elementwise.log(elementwise.clamp(distance, min=1).to(float32) / exact)
    far = far / elementwise.log(creation.tensor(max_distance / exact)) * (count - exact)
    large = elementwise.clamp(exact + far.to(int64), max=count - 1)
    return found + arithmetic.where(distance < exact, distance, large)


def sliding_window_mask(
    queries: int, keys: int, window: int, causal: bool = True, *, start: Any = 0
) -> Tensor:
    """bool (queries, keys): whether the key is one of the last ``window`` up to the query, itself
    included; not ``causal``: whether they are fewer than ``window`` apart."""
    width = _window("sliding_window_mask", window)
    distance = (creation.arange(queries)[:, None] + start) - creation.arange(keys)
    if causal:
        return (distance >= 0) & (distance < width)
    return distance.abs() < width


def _window(op: str, window: int) -> int:
    width = as_size(op, window)
    if width < 1:
        raise errors.argument(op, "the window must hold at least one key", hint="window=128, say")
    return width


def _places(count: int, start: Any) -> Tensor:
    return creation.arange(count, dtype=float32) + start


def _angles(op: str, places: Tensor, size: int, base: Any) -> Tensor:
    """(T, size / 2): place / base^(2i / size)."""
    powers = creation.arange(0, size, 2, dtype=float32) / max(size, 1)
    return places[:, None] * pow(as_number(op, "base", base), -powers)
