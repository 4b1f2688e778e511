"""What ``diagnose`` looks with: watches of operations and layers, and comparisons of numbers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from adjoint.base import callsite
from adjoint.ir.node import Array, Node, Op, Params, state
from adjoint.nn.batchnorm import _ChannelNorm
from adjoint.nn.mode import active_modules, path_of
from adjoint.nn.module import Module
from adjoint.tensors.generator import get_rng_state, set_rng_state
from adjoint.tensors.handle import Handle, RemovableHook
from adjoint.tensors.tensor import Tensor

Score = Callable[[Any], Tensor]
MEANS = ("running_mean", "moving_mean")
VARIANCES = ("running_var", "moving_var")
OFF = 1.0  # standard deviations by which a running mean may be off
FACTOR = 2.0  # by which a running standard deviation may be off
STEPS = 2  # steps of training after which units that are still equal count as identical


class Place(NamedTuple):
    """Where something happened: the name of the module, and the user's line."""

    module: str
    site: str


class Broken(NamedTuple):
    """An op that made an infinity or a NaN from finite numbers."""

    place: Place
    op: str
    what: str


@contextmanager
def kept(model: Module) -> Generator[None]:
    """Put back all of ``model`` afterwards: values, gradients, modes, and the random stream."""
    handles = [*model.parameters(), *model.buffers()]
    before = [(h, h.node, h.grad) for h in handles]
    tables = [(m, m.training, dict(m._buffers)) for m in model.modules()]
    stream = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(stream)
        for module, mode, buffers in tables:
            object.__setattr__(module, "training", mode)
            module._buffers.update(buffers)
        for handle, node, grad in before:
            handle.node, handle.grad = node, grad


class Watch:
    """Inside the block: ops that break, units of ReLUs that are off, and what norms are given."""

    def __init__(self, model: Module) -> None:
        self.broken: list[Broken] = []
        self.statistics: dict[str, tuple[Array, Array, int]] = {}
        self._model = model
        self._relus: list[tuple[Place, float]] = []
        self._hooks: list[RemovableHook] = []
        self._before: Any = None

    def __enter__(self) -> Watch:
        for name, module in self._model.named_modules():
            if running(module) is not None:
                hook = _noting(self.statistics, name)
                self._hooks.append(module.register_forward_pre_hook(hook))
        self._before, state.watch = state.watch, self
        return self

    def __exit__(self, *_: object) -> None:
        state.watch = self._before
        for hook in self._hooks:
            hook.remove()

    def __call__(self, node: Node, op: Op, args: tuple[Node, ...], params: Params) -> None:
        """Look at a node that was just computed."""
        value = node.value
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fV":
            return
        name = repr(params["region"]) if "region" in params else op.name
        if name == "relu" and value.ndim > 1:
            self._relus.append((self._place(), float(1 - (value > 0).any(0).mean())))
        if not self.broken and not np.isfinite(value).all() and all(map(_finite, args)):
            what = "NaN" if np.isnan(value).any() else "an infinity"
            self.broken.append(Broken(self._place(), name, what))

    def dead(self, share: float) -> Iterator[tuple[Place, float]]:
        """The ReLUs of which more than ``share`` of the units were never on."""
        return ((place, found) for place, found in self._relus if found > share)

    def _place(self) -> Place:
        modules = active_modules()
        name = path_of(self._model, modules[-1]) if modules else "backward"
        return Place(name or type(self._model).__name__, callsite.site())


def is_norm(module: Module) -> bool:
    """Whether the module normalises by batch: one of ours, or one with running statistics."""
    return isinstance(module, _ChannelNorm) or running(module) is not None


def running(module: Module) -> tuple[Tensor, Tensor] | None:
    """The running mean and variance of a module that has them."""
    found = [next((module._buffers.get(n) for n in names if n in module._buffers), None)
             for names in (MEANS, VARIANCES)]  # fmt: skip
    mean, variance = found
    return None if mean is None or variance is None else (mean, variance)


def too_small(model: Module, inputs: tuple[Any, ...]) -> list[str]:
    """The norms that get one value per channel, which have nothing to train with."""
    norms = {n: m for n, m in model.named_modules() if isinstance(m, _ChannelNorm)}
    modes = {n: m.training for n, m in norms.items()}
    seen: dict[str, tuple[Array, Array, int]] = {}
    hooks = [m.register_forward_pre_hook(_noting(seen, n)) for n, m in norms.items()]
    for module in norms.values():
        object.__setattr__(module, "training", False)
    try:
        if norms:
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for name, module in norms.items():
            object.__setattr__(module, "training", modes[name])
    return [name for name, (_, _, count) in seen.items() if count < 2]


def misfit(module: Module, mean: Array, variance: Array, count: int) -> str | None:
    """How the running statistics of ``module`` differ from those of a batch; None if they fit.

    What is left of the initial 0 and 1 after few batches is taken into account, and so is the
    chance in ``count`` values. Channels that are constant in the batch are left out.
    """
    found = running(module)
    assert found is not None
    tracked = module._buffers.get("num_batches_tracked")
    batches = None if tracked is None else int(tracked.item())
    if batches == 0 or count < 2:
        return None
    old_mean, old_variance = (t.detach().numpy().astype(np.float64) for t in found)
    if not (np.isfinite(old_mean).all() and np.isfinite(old_variance).all()):
        return "they are not finite"
    if (old_variance < 0).any():
        return f"a variance is {old_variance.min():.3g}"
    momentum = getattr(module, "momentum", None)
    left = (1 - momentum) ** batches if momentum and batches is not None else 0.0
    eps = float(getattr(module, "eps", 1e-5))
    old = old_mean, old_variance
    moved = mean * (1 - left), variance * (1 - left) + left
    chance = 5 / sqrt(count)
    if _distance(old, (mean, variance), eps, chance) is None:  # as a plain average would be
        return None
    return _distance(old, moved, eps, chance)


def _distance(
    old: tuple[Array, Array], expected: tuple[Array, Array], eps: float, chance: float
) -> str | None:
    old_mean, old_variance = old
    mean, variance = expected
    alive = variance > 10 * eps
    if not alive.any():
        return None
    deviation = np.sqrt(variance[alive] + eps)
    shift = np.abs(old_mean - mean)[alive] / deviation
    ratio = np.sqrt(old_variance[alive] + eps) / deviation
    if shift.max() > 3 * OFF + chance or sqrt((shift**2).mean()) > OFF + chance:
        worst = int(shift.argmax())
        return f"running means are up to {shift[worst]:.3g} standard deviations of the batch off"
    size = np.abs(np.log(ratio))
    limit = np.log(FACTOR) + chance
    if size.max() > 2 * limit or sqrt((size**2).mean()) > limit:
        worst = int(size.argmax())
        return f"a running standard deviation is {ratio[worst]:.3g} times that of the batch"
    return None


def equal_rows(parameter: Tensor) -> bool:
    """Whether a weight (two axes or more) has several rows that are all the same."""
    if parameter.ndim < 2 or parameter.shape[0] < 2 or parameter.numel() == 0:
        return False
    values = parameter.detach().numpy()
    return bool((values == values[:1]).all())


def identical_units(model: Module, inputs: tuple[Any, ...], score: Score) -> list[str]:
    """The weights whose rows are equal and stay so: their gradients are equal, too, also after
    steps of training, by which a layer that starts at 0 would have come to life."""
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = [n for n, p in weights.items() if equal_rows(p)]
    for _ in range(STEPS):
        found = [n for n in found if _same_gradients(weights[n])]
        if not found:
            return []
        for parameter in weights.values():
            _move(parameter)
        model.zero_grad()
        score(model(*inputs)).backward()
    return [n for n in found if _same_gradients(weights[n])]


def _move(parameter: Tensor) -> None:
    """A step against the gradient, of a size that does not depend on its size."""
    if parameter.grad is None:
        return
    gradient = parameter.grad.detach().numpy().astype(np.float64)
    size = np.sqrt((gradient * gradient).mean())
    if size > 0 and np.isfinite(size):
        parameter.data = parameter.detach() - parameter.grad.detach() * float(0.1 / size)


def _same_gradients(parameter: Tensor) -> bool:
    if parameter.grad is None:
        return False
    gradient = parameter.grad.detach().numpy().astype(np.float64)
    spread = np.abs(gradient - gradient[:1]).max()
    return bool(spread <= 1e-5 * np.abs(gradient).max())


def _noting(seen: dict[str, tuple[Array, Array, int]], name: str) -> Callable[..., None]:
    """A hook that notes mean, variance and number of values of each channel of the input."""

    def hook(module: Module, args: tuple[Any, ...]) -> None:
        x = args[0] if args else None
        if not isinstance(x, Handle) or x.node.is_abstract or x.ndim < 2:
            return
        values = x.detach().numpy().astype(np.float64)
        axes = (0, *range(2, values.ndim))
        count = values.size // max(values.shape[1], 1)
        if count:
            seen[name] = values.mean(axes), values.var(axes), count

    return hook


def _finite(node: Node) -> bool:
    value = node.args[0].value if node.value is None and node.args else node.value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fV":
        return True
    return bool(np.isfinite(value).all())
