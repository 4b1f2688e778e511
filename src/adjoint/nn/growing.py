"""Larger nets that compute the same: wider layers, added layers that do nothing, and starts that
depend on data."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_number
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation, random
from adjoint.tensors.generator import Generator
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.movement import cat
from adjoint.tensors.tensor import Tensor


@no_grad()
def lsuv_(
    model: Module, *inputs: Any, variance: float = 1.0, tolerance: float = 0.02, rounds: int = 20
) -> dict[str, float]:
    """Scale the weights of every layer, in the order in which they run, until the variance of its
    output on ``inputs`` is ``variance`` within the share ``tolerance``; gives the variances found.

    Layers are the modules without children that have a weight of two dimensions or more; one used
    several times counts with all its outputs. Any activations may stand between. Biases stay; the
    model runs in ``eval()`` and is left in the mode it had. Raises ArgumentError for a layer whose
    output is constant. Source: Mishkin and Matas, ICLR 2016.
    """
    goal = as_number("lsuv_", "variance", variance)
    if not isinstance(model, Module):
        raise errors.bad_argument("lsuv_", "model", model, "a module")
    names = {id(m): name for name, m in model.named_modules()}
    layers = [m for m in model.modules() if not list(m.children()) and _weights(m)]
    if not layers:
        raise errors.argument("lsuv_", "the model has no weights", hint="layers such as nn.Linear")
    found: dict[int, float] = {}
    with model.eval_mode():
        order = _outputs(model, layers, inputs)
        for _ in range(as_integer("lsuv_", "rounds", rounds)):
            for layer in order:
                found[id(layer)] = _scale(model, layer, inputs, goal, tolerance, names)
            if all(abs(v / goal - 1) <= tolerance for v in found.values()):
                break
    return {names[key]: value for key, value in found.items()}


def _scale(
    model: Module, layer: Module, inputs: Any, goal: float, tolerance: float, names: dict[int, str]
) -> float:
    """Bring the output of one layer to variance ``goal``."""
    value = 0.0
    for _ in range(10):
        value = _variance(_outputs(model, [layer], inputs)[layer])
        if not value > 0:
            raise errors.argument(
                "lsuv_", f"the output of {names[id(layer)]!r} is constant on these inputs",
                hint="draw the weights first, and pass a batch of different examples",
            )  # fmt: skip
        if abs(value / goal - 1) <= tolerance:
            break
        for weight in _weights(layer):
            weight.assign((weight * (goal / value) ** 0.5).node, "lsuv_")
    return value


def _outputs(model: Module, layers: list[Module], inputs: Any) -> dict[Module, list[Tensor]]:
    """What each of ``layers`` gives, in the order in which they run first."""
    found: dict[Module, list[Tensor]] = {}

    def note(module: Module, args: Any, out: Any) -> None:
        first = out[0] if isinstance(out, (tuple, list)) else out
        if isinstance(first, Tensor):
            found.setdefault(module, []).append(first.detach())

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _variance(outputs: list[Tensor]) -> float:
    return cat([o.reshape(-1).double() for o in outputs]).var(correction=0).item()


def _weights(module: Module) -> list[Parameter]:
    return [p for p in module._parameters.values() if p is not None and p.ndim > 1]


@no_grad()
def zero_last_(branch: Module) -> Module:
    """Set the last weights and biases of ``branch`` to 0, so that it gives 0 and a block x +
    branch(x) is the identity at first; gives ``branch``. Source: Goyal et al., arXiv:1706.02677.
    """
    owners = [m for m in branch.modules() if any(p is not None for p in m._parameters.values())]
    if not owners:
        raise errors.argument("zero_last_", "the branch has no parameters", hint="nn.Linear, say")
    for name, parameter in owners[-1]._parameters.items():
        if parameter is not None and name in ("weight", "bias"):
            parameter.zero_()
    return branch


@no_grad()
def wider_(
    layer: Module, following: Module, width: int, norm: Module | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Give ``layer`` more outputs, and ``following`` as many inputs, without changing what they
    compute together: new units are copies of random old ones, whose outgoing weights are shared
    out. ``norm``: a batch norm between them. Gives the old unit that each new one copies.

    Linear and convolution layers (groups 1) with any elementwise activation between; a Linear may
    follow flattened convolutions. Source: Chen, Goodfellow and Shlens, ICLR 2016.
    """
    old = layer.weight.shape[0]
    width = as_integer("wider_", "width", width)
    rest = following.weight.shape[1]
    if width < old or rest % old or getattr(layer, "groups", 1) != 1:
        raise errors.argument(
            "wider_", f"cannot widen {old} outputs, {rest} inputs of the next, to {width}",
            hint="width at least as large as before, and layers that follow each other",
        )  # fmt: skip
    extra = random.randint(0, old, (width - old,), generator=generator)
    source = cat([creation.arange(old), extra])
    counts = (source.unsqueeze(1) == source.unsqueeze(0)).double().sum(1)
    _replace(layer, "weight", layer.weight[source])
    if layer.bias is not None:
        _replace(layer, "bias", layer.bias[source])
    each = rest // old  # pixels of one channel, if they were flattened
    weight = following.weight.reshape(following.weight.shape[0], old, each, -1)[:, source]
    share = counts.reshape(1, width, 1, 1).to(weight.dtype)
    shape = (weight.shape[0], width * each, *following.weight.shape[2:])
    _replace(following, "weight", (weight / share).reshape(*shape))
    for module, names in ((layer, ("out_features", "out_channels")),
                          (following, ("in_features", "in_channels"))):  # fmt: skip
        for name in names:
            if hasattr(module, name):
                setattr(module, name, width * each if module is following else width)
    if norm is not None:
        _widen_norm(norm, source)
    return source


def _widen_norm(norm: Module, source: Tensor) -> None:
    for name, parameter in list(norm._parameters.items()):
        if parameter is not None:
            _replace(norm, name, parameter[source])
    for name, buffer in list(norm._buffers.items()):
        if buffer is not None and buffer.ndim:
            setattr(norm, name, buffer[source].detach())
    norm.num_features = source.shape[0]


@no_grad()
def doing_nothing(layer: Module) -> Module:
    """A new layer of the kind of ``layer`` that passes on what ``layer`` gives: put it behind the
    activation, if that is one like ReLU which applied twice changes nothing. For Linear and
    convolutions of odd kernel. Source: Chen, Goodfellow and Shlens, ICLR 2016."""
    from adjoint.nn import init

    weight = layer.weight
    size, kernel = weight.shape[0], weight.shape[2:]
    if any(k % 2 == 0 for k in kernel):
        raise errors.argument(
            "doing_nothing", f"a kernel of {errors.dims(kernel)} has no middle",
            hint="an odd kernel: 3, say",
        )  # fmt: skip
    kind: Any = type(layer)
    has_bias, dtype = layer.bias is not None, weight.dtype
    if not kernel:
        made = kind(size, size, bias=has_bias, dtype=dtype)
        init.eye_(made.weight)
    else:
        made = kind(
            size, size, kernel, padding=tuple(k // 2 for k in kernel), bias=has_bias, dtype=dtype
        )
        init.dirac_(made.weight)
    if has_bias:
        made.bias.zero_()
    return made


def _replace(module: Module, name: str, value: Handle) -> None:
    old = getattr(module, name)
    setattr(module, name, Parameter(value, old.requires_grad))
