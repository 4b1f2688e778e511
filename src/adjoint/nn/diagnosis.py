"""``diagnose``: what is wrong with a model, found by running one batch through it both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_function, as_number
from adjoint.base.tree import flatten
from adjoint.nn import probes
from adjoint.nn.activation import ReLU, ReLU6
from adjoint.nn.gradients import GradientMonitor
from adjoint.nn.module import Module
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import Handle
from adjoint.tensors.jit import no_jit
from adjoint.tensors.modes import enable_grad, no_grad
from adjoint.tensors.tensor import Tensor

LIMIT = 1e4  # between the gradient norms of the first and the last layer
DEAD = 0.9  # share of units that no sample of the batch turns on


class Finding(NamedTuple):
    """One thing that is wrong: its kind, the layer or parameter, what was seen, what to do."""

    kind: str
    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}\n    {self.hint}"


class Diagnosis:
    """What ``diagnose`` found, in the order of the model; prints as a report.

    ``findings``: all of them. ``healthy``: whether there are none. ``about(kind)``: the names of
    the layers or parameters with a finding of this kind. ``gradients``: the gradient norm of each
    weight, from the first layer to the last.
    """

    def __init__(self, name: str, findings: Sequence[Finding], gradients: dict[str, float]) -> None:
        self._name = name
        self.findings = list(findings)
        self.gradients = gradients

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def about(self, kind: str) -> list[str]:
        """The names of the layers or parameters with a finding of this kind."""
        return [f.where for f in self.findings if f.kind == kind]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __repr__(self) -> str:
        if not self.findings:
            return f"{self._name}: nothing found"
        return "\n".join([f"{self._name}: {len(self.findings)} found", *map(str, self.findings)])


def diagnose(
    model: Module, batch: Any, loss: Callable[..., Tensor] | None = None, *, optimizer: Any = None
) -> Diagnosis:
    """Run ``batch`` through ``model`` in training mode, backward, and in ``eval()``, and report
    what is wrong. Nothing is changed: weights, gradients, running statistics, modes and the random
    stream are put back.

    batch: an input, or (input, target) as a loader gives it; several inputs as a tuple in place of
    the input. loss: a function of output and target (without a target, of the output); without one
    gradients are those of a random direction. optimizer: to find parameters it does not hold.

    Kinds of findings: ``"not finite"`` (with the op and the line), ``"running statistics"``,
    ``"small batch"``, ``"dead units"``, ``"no gradient"``, ``"identical units"``,
    ``"vanishing gradient"``, ``"exploding gradient"``, ``"not optimised"``.
    """
    _check_model("diagnose", model)
    if optimizer is not None and not hasattr(optimizer, "param_groups"):
        raise errors.bad_argument("diagnose", "optimizer", optimizer, "an optimiser")
    if loss is not None:
        as_function("diagnose", loss)
    inputs, target = _parts("diagnose", batch)
    score = _score(loss, target)
    with probes.kept(model), no_jit(), enable_grad():
        model.train()
        for part in model.modules():
            if not probes.is_norm(part):  # dropout and noise would hide what is equal
                object.__setattr__(part, "training", False)
        found, watch = _train_way(model, inputs, score)
        gradients = GradientMonitor.of(model, LIMIT).norms
        if not watch.broken:
            found += _gradient_findings(model, gradients)
            found += [_identical(n) for n in probes.identical_units(model, inputs, score)]
        found += [_dead(place, share) for place, share in watch.dead(DEAD)]
    with probes.kept(model), no_jit(), no_grad():
        model.eval()
        with probes.Watch(model) as watch:
            model(*inputs)
        if not any(f.kind == "not finite" for f in found):  # in eval() alone
            found += map(_nonfinite, watch.broken)
    found += _unheld(model, optimizer)
    return Diagnosis(type(model).__name__, found, gradients)


class DeadUnitMonitor:
    """Counts, over all batches of a training run, the units of each ReLU that were never on.

    ``with DeadUnitMonitor(model) as monitor: train()``; then ``monitor.shares`` has the share of
    dead units of each ReLU layer (units: all axes but the batch), and ``monitor.dead`` the names
    above ``limit``. Raises ArgumentError for a model without ReLU layers. Sees nothing of steps
    that run under ``jit``: leave some out of it.
    """

    def __init__(self, model: Module, limit: float = 0.5) -> None:
        _check_model("DeadUnitMonitor", model)
        self.limit = as_number("DeadUnitMonitor", "limit", limit)
        self._on: dict[str, np.ndarray] = {}
        layers = [(n, m) for n, m in model.named_modules() if isinstance(m, (ReLU, ReLU6))]
        if not layers:
            raise errors.argument(
                "DeadUnitMonitor", f"{type(model).__name__} has no ReLU layers",
                hint="diagnose(model, batch) also finds relu() called as a function",
            )  # fmt: skip
        self._hooks = [m.register_forward_hook(self._noting(n)) for n, m in layers]

    def __enter__(self) -> DeadUnitMonitor:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    @property
    def shares(self) -> dict[str, float]:
        """The share of units that were 0 for every sample so far, by the name of the layer."""
        return {name: float(1 - on.mean()) for name, on in self._on.items()}

    @property
    def dead(self) -> list[str]:
        """The layers with more dead units than ``limit``."""
        return [name for name, share in self.shares.items() if share > self.limit]

    def _noting(self, name: str) -> Callable[..., None]:
        def hook(module: Module, args: tuple[Any, ...], out: Tensor) -> None:
            if out.node.is_abstract:
                return
            on = np.asarray((out.detach().numpy() > 0).any(0))
            before = self._on.get(name)
            # sequences of another length count for themselves
            self._on[name] = on if before is None or before.shape != on.shape else before | on

        return hook


def lint_init(model: Module) -> list[str]:
    """The names of weights whose rows are all equal: every unit starts as a copy of the others.

    Looks at the values alone, so it also names what is meant to start at zero and gets different
    gradients (the last layer of a residual branch); ``diagnose`` tells the two apart.
    """
    _check_model("lint_init", model)
    return [name for name, p in model.named_parameters() if probes.equal_rows(p)]


def recompute_bn_stats(model: Module, batches: Iterable[Any]) -> None:
    """Collect the running statistics of batch normalisation anew: plain averages over ``batches``
    (inputs, or (input, target) pairs). Only the normalisations run in training mode."""
    _check_model("recompute_bn_stats", model)
    norms = [m for m in model.modules() if probes.is_norm(m) and hasattr(m, "reset_running_stats")]
    momenta = [m.momentum for m in norms]
    with model.eval_mode(), no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            object.__setattr__(norm, "training", True)
        try:
            for batch in _batches("recompute_bn_stats", batches):
                model(*_parts("recompute_bn_stats", batch)[0])
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def _check_model(op: str, model: Any) -> None:
    if not isinstance(model, Module):
        raise errors.bad_argument(op, "model", model, "an nn.Module")


def _batches(op: str, batches: Any) -> Iterable[Any]:
    """``batches`` if it can be iterated over and is no tensor. Raises DTypeError."""
    if isinstance(batches, (Handle, str, bytes)) or not isinstance(batches, Iterable):
        raise errors.bad_argument(op, "batches", batches, "a loader or a list of batches")
    return batches


def _parts(op: str, batch: Any) -> tuple[tuple[Any, ...], Any]:
    """The inputs, and the target if there is one."""
    target = None
    if isinstance(batch, (tuple, list)):
        if not 1 <= len(batch) <= 2:
            raise errors.argument(
                op, f"a batch is an input or (input, target), got {len(batch)} parts",
                hint="put several inputs into a tuple: ((x1, x2), y)",
            )  # fmt: skip
        target = batch[1] if len(batch) == 2 else None
        batch = batch[0]
    inputs = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
    if not any(isinstance(x, Handle) for x in flatten(inputs)[0]):
        raise errors.not_a_tensor(op, inputs[0] if inputs else batch)
    return inputs, target


def _score(loss: Callable[..., Tensor] | None, target: Any) -> Callable[[Any], Tensor]:
    if loss is not None:
        return loss if target is None else lambda out: loss(out, target)
    return _projection


def _projection(out: Any) -> Tensor:
    """The output in a fixed random direction, so that every part of it gets a gradient."""
    rng = np.random.default_rng(0)
    leaves = [x for x in flatten(out)[0] if isinstance(x, Handle) and x.requires_grad]
    terms = [(x * tensor(rng.normal(size=x.shape), dtype=x.dtype)).mean() for x in leaves]
    if not terms:
        raise errors.argument(
            "diagnose", "no output of the model needs a gradient",
            hint="does forward() detach its result, or are all parameters frozen?",
        )  # fmt: skip
    return sum(terms[1:], terms[0])


def _train_way(
    model: Module, inputs: tuple[Any, ...], score: Callable[[Any], Tensor]
) -> tuple[list[Finding], probes.Watch]:
    """One forward and backward pass: what breaks, and norms whose statistics do not fit."""
    found: list[Finding] = []
    for name in probes.too_small(model, inputs):
        found.append(Finding(
            "small batch", name, "one value per channel: there is no variance to normalise by",
            "use larger batches, drop_last=True in the loader, or GroupNorm",
        ))  # fmt: skip
        object.__setattr__(model.get_submodule(name), "training", False)
    model.zero_grad()
    with probes.Watch(model) as watch:
        value = score(model(*inputs))
        if not watch.broken:
            value.backward()
    for name, seen in watch.statistics.items():
        what = probes.misfit(model.get_submodule(name), *seen)
        if what is not None:
            found.append(Finding(
                "running statistics", name, f"eval() will not do what training does: {what}",
                "collect them anew: nn.recompute_bn_stats(model, loader); a smaller momentum, "
                "or larger batches, keep them right",
            ))  # fmt: skip
    return [*found, *map(_nonfinite, watch.broken)], watch


def _gradient_findings(model: Module, gradients: dict[str, float]) -> list[Finding]:
    found = [
        Finding(
            "no gradient", name, "it requires grad, and no gradient arrived",
            "use it in forward(), or freeze it: requires_grad_(False)",
        )
        for name, p in model.named_parameters() if p.requires_grad and p.grad is None
    ]  # fmt: skip
    moving = {name: norm for name, norm in gradients.items() if norm > 0}
    if len(moving) > 1 and all(np.isfinite(v) for v in moving.values()):
        (first, a), *_, (last, b) = moving.items()
        if not 1 / LIMIT <= a / b <= LIMIT:
            kind = "vanishing gradient" if a < b else "exploding gradient"
            found.append(Finding(
                kind, first, f"its gradient has the norm {a:.3g}, that of {last} {b:.3g}",
                "scale the initialisation (nn.init.lsuv_), normalise, add residual connections, "
                "or clip (nn.utils.clip_grad_norm_)",
            ))  # fmt: skip
    return found


def _identical(name: str) -> Finding:
    return Finding(
        "identical units", name, "all rows are equal and get equal gradients: they stay copies",
        "initialise it at random: nn.init.kaiming_uniform_(weight)",
    )  # fmt: skip


def _dead(place: probes.Place, share: float) -> Finding:
    return Finding(
        "dead units", place.module, f"relu {place.site}: {share:.0%} of the units are 0 for the "
        "whole batch and pass no gradient",
        "lower the learning rate, look at the biases, or use leaky_relu or gelu",
    )  # fmt: skip


def _nonfinite(broken: probes.Broken) -> Finding:
    return Finding(
        "not finite", broken.place.module, f"{broken.op} {broken.place.site} made {broken.what}",
        "with adjoint.autograd.detect_anomaly(): ... shows what went in",
    )  # fmt: skip


def _unheld(model: Module, optimizer: Any) -> list[Finding]:
    if optimizer is None:
        return []
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [
        Finding(
            "not optimised", name, "it requires grad, and the optimiser does not hold it",
            "build the optimiser after the model is complete, from model.parameters()",
        )
        for name, p in model.named_parameters() if p.requires_grad and id(p) not in held
    ]  # fmt: skip
