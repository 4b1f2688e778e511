"""Random tensors from a generator, under PyTorch's names. ``adjoint.random`` has the same
distributions with explicit keys."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_number
from adjoint.base.dtype import DType, as_dtype, float32, float64, int64
from adjoint.base.shape import Shape, as_shape, as_size, broadcast_shapes, check_allocation
from adjoint.ir.node import Node
from adjoint.ops.movement import narrow
from adjoint.ops.rows import full
from adjoint.runtime.device import META
from adjoint.runtime.device import device as as_device
from adjoint.tensors import creation, sampling
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.control import scan
from adjoint.tensors.generator import Generator, default_generator
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

_ADVICE = {"p": "; sigmoid(x) makes probabilities of scores", "std": "; exp(x) makes it positive"}
Draw = Callable[[Node, Shape, DType], Node]


def rand(
    *size: Any, generator: Generator | None = None, dtype: object = None, device: object = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1): all multiples of 2**-24 (float64: 2**-53) are equally likely."""
    return _floats("rand", sampling.uniform, size, generator, dtype, device, requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: object = None, device: object = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and variance 1, by the transform of Box and Muller."""
    return _floats("randn", sampling.normal, size, generator, dtype, device, requires_grad)


def rand_like(
    input: Handle, *, generator: Generator | None = None, dtype: object = None,
    device: object = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``rand`` in the shape, dtype and device of ``input``."""
    like = _tensor("rand_like", input)
    dtype, device = _kind_of(like, dtype, device)
    size = (like.shape,)
    return _floats("rand_like", sampling.uniform, size, generator, dtype, device, requires_grad)


def randn_like(
    input: Handle, *, generator: Generator | None = None, dtype: object = None,
    device: object = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``randn`` in the shape, dtype and device of ``input``."""
    like = _tensor("randn_like", input)
    dtype, device = _kind_of(like, dtype, device)
    size = (like.shape,)
    return _floats("randn_like", sampling.normal, size, generator, dtype, device, requires_grad)


def randint(
    low: int, high: Any = None, size: Any = None, *, generator: Generator | None = None,
    dtype: object = int64, device: object = "cpu", requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``.
    Raises ArgumentError for an empty range or one that the dtype cannot hold."""
    if size is None:
        low, high, size = 0, low, high
    if size is None:
        raise errors.argument("randint", "the size is missing", hint="say randint(0, 10, (3,))")
    wanted = as_dtype(dtype)
    first, end = integer_range("randint", low, high, wanted)
    shape = as_shape("randint", size)

    def draw(key: Node, shape: Shape, dtype: DType) -> Node:
        return sampling.integers(key, first, end, shape, dtype)

    return _made("randint", draw, shape, generator, wanted, device, requires_grad)


def randint_like(
    input: Handle, low: int, high: int | None = None, *, generator: Generator | None = None,
    dtype: object = None, device: object = None,
) -> Tensor:  # fmt: skip
    """``randint`` in the shape, dtype and device of ``input``."""
    like = _tensor("randint_like", input)
    low, high = (0, low) if high is None else (low, high)
    dtype, device = _kind_of(like, dtype, device)
    return randint(low, high, like.shape, generator=generator, dtype=dtype, device=device)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: object = int64, device: object = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The integers below ``n`` in random order."""
    count = as_size("randperm", n)

    def draw(key: Node, shape: Shape, dtype: DType) -> Node:
        return to_dtype(sampling.permutation(key, count), dtype)

    wanted = as_dtype(dtype)
    return _made("randperm", draw, (count,), generator, wanted, device, requires_grad)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: object = None,
) -> Tensor:  # fmt: skip
    """mean + std * z, z standard normal: numbers with ``size``, or tensors that broadcast.

    Unlike in PyTorch, gradients reach ``mean`` and ``std`` (the reparametrisation of Kingma and
    Welling 2014). Raises ArgumentError for a negative std.
    """
    a, b, shape = parameters("normal", mean, std, size, dtype)
    _require("normal", "std", b, lambda v: v >= 0, "must not be negative")
    noise = sampling.normal(key_from("normal", generator), shape, a.dtype)
    return wrap(a + b * noise)


def uniform(
    low: Any = 0.0, high: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: object = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [low, high): numbers with ``size``, or tensors that broadcast."""
    a, b, _ = parameters("uniform", low, high, size, dtype)
    _require("uniform", "high - low", b - a, lambda v: v >= 0, "must not be negative")
    return wrap(sampling.between(key_from("uniform", generator), a, b))


def exponential(
    rate: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: object = None
) -> Tensor:
    """Waiting times of density rate * exp(-rate * t)."""
    a, _, shape = parameters("exponential", rate, 0.0, size, dtype)
    _require("exponential", "rate", a, lambda v: v > 0, "must be positive")
    drawn = sampling.exponential(key_from("exponential", generator), shape, a.dtype)
    return wrap(drawn / a)


def truncated_normal(
    mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, size: Any = (), *,
    generator: Generator | None = None, dtype: object = None,
) -> Tensor:  # fmt: skip
    """Normal numbers given that they lie in [a, b] (in units of the result, not of std).

    Raises ArgumentError when [a, b] holds less than 1e-10 of the distribution.
    """
    op = "truncated_normal"
    middle, width = as_number(op, "mean", mean), as_number(op, "std", std)
    limits = as_number(op, "a", a), as_number(op, "b", b)
    wanted = float32 if dtype is None else as_dtype(dtype)
    if wanted.kind != "f":
        raise errors.wrong_dtype(op, wanted, "a float dtype", hint="dtype=adjoint.float32, say")
    low, high = standard_limits(op, middle, width, limits)
    drawn = sampling.truncated_normal(key_from(op, generator), low, high, size_of(op, size), wanted)
    return wrap(drawn * width + middle)


def poisson(input: Handle, generator: Generator | None = None) -> Tensor:
    """How many events arrive in time ``input``, at one per unit of time; same shape and dtype.

    Exact but for a chance below 1e-20, by adding up exponential waiting times, so the work grows
    with the largest rate. Raises ArgumentError for a rate that is negative or above 1e5.
    """
    node = _tensor("poisson", input)
    if node.dtype.kind != "f":
        raise errors.wrong_dtype("poisson", node.dtype, "rates of a float dtype", hint="x.float()")
    rates = to_dtype(node, float64)
    _require("poisson", "a rate", rates, lambda v: (v >= 0) & (v <= 1e5), "must be in [0, 1e5]")
    largest = float(node.array("poisson").max(initial=0))
    steps = math.ceil(largest + 10 * math.sqrt(largest) + 40)
    keys = sampling.split(key_from("poisson", generator), (steps,))

    def step(carry: tuple[Handle, Handle], key: Handle) -> Any:
        time, count = carry
        later = time.node + sampling.exponential(key.node, node.shape, float64)
        early = to_dtype(ops.lt(later, rates), int64)
        return (wrap(later), wrap(count.node + early)), ()

    zero = full(0, node.shape, float64)
    start = (wrap(zero), wrap(to_dtype(zero, int64)))
    (_, count), _ = scan(step, start, wrap(keys))
    return wrap(to_dtype(count.node, node.dtype))


def bernoulli(input: Any, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """1 with probability ``input`` (or ``p``), else 0, in the shape and dtype of ``input``.
    Raises ArgumentError for a probability outside [0, 1]."""
    like = _tensor("bernoulli", input)
    if p is None and like.dtype.kind != "f":
        raise errors.wrong_dtype(
            "bernoulli", like.dtype, "probabilities of a float dtype", hint="x.float(), or p=0.5"
        )
    chance = probability("bernoulli", like if p is None else node_of(p, "bernoulli"), like.shape)
    return wrap(to_dtype(sampling.bernoulli(key_from("bernoulli", generator), chance), like.dtype))


def multinomial(
    input: Handle, num_samples: int, replacement: bool = False, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """``num_samples`` category numbers per row, with probability proportional to the weights in
    ``input`` (one row or a matrix of rows), int64. Without replacement all are different.
    Raises ArgumentError for weights that are negative or not finite, or too few of them."""
    node = _tensor("multinomial", input)
    (count,) = checked("multinomial", (as_size("multinomial", num_samples),))
    if node.dtype.kind != "f":
        raise errors.wrong_dtype("multinomial", node.dtype, "float weights", hint="x.float()")
    if node.ndim not in (1, 2):
        raise errors.shape(
            "multinomial", "needs one row of weights or a matrix of rows", node,
            hint="merge the leading axes first: x.flatten(0, -2)",
        )  # fmt: skip
    rows = 1 if node.ndim == 1 else node.shape[0]
    weights = ops.reshape(to_dtype(node, float64), shape=(rows, node.shape[-1]))
    _check_weights(weights, count, replacement)
    key = key_from("multinomial", generator)
    if replacement:
        found = sampling.chosen(key, weights, count)
    else:
        order = ops.argsort(sampling.race(key, weights), axis=1)
        found = narrow(order, 1, 0, count)
    return wrap(ops.reshape(found, shape=(*node.shape[:-1], count)))


def uniform_(input: Handle, low: float = 0, high: float = 1, *, generator: Any = None) -> Tensor:
    """Fill with uniform numbers in [low, high)."""
    return _fill("uniform_", input, lambda: _fitting(uniform, input, generator, low, high))


def normal_(input: Handle, mean: float = 0, std: float = 1, *, generator: Any = None) -> Tensor:
    """Fill with normal numbers."""
    return _fill("normal_", input, lambda: _fitting(normal, input, generator, mean, std))


def exponential_(input: Handle, lambd: float = 1, *, generator: Any = None) -> Tensor:
    """Fill with waiting times of rate ``lambd``."""
    return _fill("exponential_", input, lambda: _fitting(exponential, input, generator, lambd))


def bernoulli_(input: Handle, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with 1 (probability ``p``, a number or a tensor) and 0."""
    node = _tensor("bernoulli_", input)
    chance = probability("bernoulli_", node_of(p, "bernoulli_"), node.shape)
    hits = sampling.bernoulli(key_from("bernoulli_", generator), chance)
    return input.assign(to_dtype(hits, node.dtype), "bernoulli_")


def random_(
    input: Handle, low: int = 0, high: int | None = None, *, generator: Any = None
) -> Tensor:
    """Fill with integers in [low, high): ``random_()``, ``random_(high)``, ``random_(low, high)``.
    Without an end: up to the largest of the dtype, or of the integers a float dtype holds."""
    node = _tensor("random_", input)
    low = as_integer("random_", "low", low)
    if high is None:
        low, high = (low, _largest(node.dtype) + 1) if low == 0 else (0, low)
    first, end = integer_range("random_", low, high, node.dtype)
    key = key_from("random_", generator)
    return input.assign(sampling.integers(key, first, end, node.shape, node.dtype), "random_")


def parameters(
    op: str, first: Any, second: Any, size: Any, dtype: object
) -> tuple[Node, Node, Shape]:
    """Two parameters of a distribution as nodes of one float dtype and one shape, also returned."""
    wanted = None if dtype is None else as_dtype(dtype)
    for value in (first, second):
        if wanted is None and isinstance(value, Handle) and value.dtype.kind == "f":
            wanted = value.dtype
    wanted = wanted or float32
    if wanted.kind != "f":
        raise errors.wrong_dtype(op, wanted, "a float dtype", hint="use randint for integers")
    nodes = [to_dtype(node_of(value, op), wanted) for value in (first, second)]
    shape = broadcast_shapes(op, *(n.shape for n in nodes))
    if size is not None:
        shape = broadcast_shapes(op, shape, as_shape(op, size))
    checked(op, shape)
    a, b = (n if n.shape == shape else ops.broadcast(n, shape=shape) for n in nodes)
    return a, b, shape


def probability(op: str, p: Node, shape: Shape) -> Node:
    """``p`` as floats of ``shape``; raises ArgumentError outside [0, 1]."""
    node = to_dtype(p, p.dtype if p.dtype.kind == "f" else float32)
    _require(op, "p", node, lambda v: (v >= 0) & (v <= 1), "must be in [0, 1]")
    if broadcast_shapes(op, node.shape, shape) != shape:
        raise errors.broadcast(op, node.shape, shape)
    return node if node.shape == shape else ops.broadcast(node, shape=checked(op, shape))


def integer_range(op: str, low: Any, high: Any, dtype: DType) -> tuple[int, int]:
    """[low, high) as integers that ``dtype`` holds."""
    try:
        first, end = operator.index(low), operator.index(high)
    except (TypeError, errors.AdjointError):
        raise errors.wrong_dtype(
            op, f"the range {errors.clip(low)} to {errors.clip(high)}", "integers",
            hint="use int(x), or rand for floats",
        ) from None  # fmt: skip
    if first >= end:
        raise errors.argument(
            op,
            f"the range from {errors.clip(first)} to {errors.clip(end)} is empty",
            hint="the end is not included: randint(0, 10, size) gives 0 to 9",
        )
    smallest = {"b": 0, "u": 0, "i": -_largest(dtype) - 1}.get(dtype.kind, -_largest(dtype))
    if first < smallest or end - 1 > _largest(dtype):
        raise errors.argument(
            op, f"{errors.clip(first)} to {errors.clip(end)} do not fit into {dtype.name}",
            hint="pass a wider dtype=",
        )  # fmt: skip
    return first, end


def standard_limits(
    op: str, mean: float, std: float, limits: tuple[float, float]
) -> tuple[float, float]:
    """The ends of an interval in standard deviations from the mean, if chance ever falls inside."""
    low, high = ((end - mean) / std if std > 0 else math.nan for end in limits)
    inside = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if not inside > 1e-10:
        raise errors.argument(
            op, f"[{limits[0]}, {limits[1]}] holds almost nothing of a normal distribution with "
            f"mean {mean} and std {std}",
            hint="the limits are in units of the result, not in standard deviations",
        )  # fmt: skip
    return low, high


def size_of(op: str, size: Any) -> Shape:
    return checked(op, as_shape(op, size))


def checked(op: str, shape: Shape) -> Shape:
    """``shape``, or an error if random numbers of that shape do not fit into memory."""
    check_allocation(op, shape, 16)  # the words drawn take up to 16 bytes per number
    return shape


def _floats(
    op: str, draw: Draw, size: tuple[Any, ...], generator: Generator | None, dtype: object,
    device: object, requires_grad: bool,
) -> Tensor:  # fmt: skip
    shape = as_shape(op, size[0] if len(size) == 1 else size)
    wanted = float32 if dtype is None else as_dtype(dtype)
    if wanted.kind != "f":
        raise errors.wrong_dtype(op, wanted, "a float dtype", hint="use randint for integers")
    return _made(op, draw, shape, generator, wanted, device, requires_grad)


def _made(
    op: str, draw: Draw, shape: Shape, generator: Generator | None, dtype: DType, device: object,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    if as_device(device) is META:
        return creation.empty(shape, dtype=dtype, device=META, requires_grad=requires_grad)
    out = wrap(draw(key_from(op, generator), checked(op, shape), dtype))
    return out.requires_grad_() if requires_grad else out


def _kind_of(like: Node, dtype: object, device: object) -> tuple[object, object]:
    return like.dtype if dtype is None else dtype, like.device if device is None else device


def key_from(op: str, generator: Generator | None) -> Node:
    if generator is None:
        return default_generator.next_key()
    if not isinstance(generator, Generator):
        raise errors.wrong_dtype(
            op, f"generator={errors.clip(generator)}", "an adjoint.Generator",
            hint="generator=adjoint.Generator().manual_seed(0), say",
        )  # fmt: skip
    return generator.next_key()


def _tensor(op: str, value: Any) -> Node:
    if not isinstance(value, Handle):
        raise errors.not_a_tensor(op, value)
    return value.node


def _require(op: str, name: str, node: Node, holds: Callable[[Any], Any], what: str) -> None:
    """Check a parameter whose value is known; NaN never holds."""
    if node.is_abstract:
        return
    values = node.array()
    with np.errstate(invalid="ignore"):
        good = holds(values)
    if not good.all():
        raise errors.argument(
            op,
            f"{name} {what}, got {values[~good].reshape(-1)[0]}",
            hint=f"check how {name} is computed{_ADVICE.get(name, '')}",
        )


def _check_weights(weights: Node, count: int, replacement: bool) -> None:
    rows, n = weights.shape
    if count <= 0 or (count > n and not replacement):
        raise errors.argument(
            "multinomial", f"cannot draw {count} of {n} categories",
            hint="pass replacement=True to draw a category more than once" if count > n else "",
        )  # fmt: skip
    if weights.is_abstract:
        return
    values = weights.array()
    if not ((values >= 0) & (values < math.inf)).all():
        raise errors.argument(
            "multinomial", "weights must be finite and not negative",
            hint="softmax(scores, -1) makes weights of scores",
        )  # fmt: skip
    positive = (values > 0).sum(axis=1).min(initial=n)
    if positive < (1 if replacement else count) and rows:
        raise errors.argument(
            "multinomial",
            f"a row has {positive} positive weights, {count} samples were asked for",
            hint="ask for fewer, or pass replacement=True",
        )


def _largest(dtype: DType) -> int:
    """The largest integer up to which the dtype holds every integer."""
    if dtype.kind == "f":
        return 2 ** {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[dtype.name]
    return {"b": 1, "u": 2**dtype.bits - 1}.get(dtype.kind, 2 ** (dtype.bits - 1) - 1)


def _fitting(function: Any, input: Handle, generator: Any, *parameters: Any) -> Node:
    node = input.node
    if node.dtype.kind != "f":
        raise errors.wrong_dtype(
            f"{function.__name__}_", node.dtype, "a float tensor", hint="use random_ for integers"
        )
    out = function(*parameters, size=node.shape, generator=generator, dtype=node.dtype)
    return out.node


def _fill(op: str, input: Handle, make: Callable[[], Node]) -> Tensor:
    if _tensor(op, input).device is META:  # a shape: there is nothing to fill
        return input  # type: ignore[return-value]
    return input.assign(make(), op)
