"""state_dict and its way back, with a report that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adjoint.base import errors
from adjoint.tensors.creation import as_tensor
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor

if TYPE_CHECKING:
    from adjoint.nn.module import Module

EXTRA = "_extra_state"


class StateDictError(errors.AdjointError, KeyError):
    """Names or shapes of a state_dict are not those of the module."""


class IncompatibleKeys(NamedTuple):
    """Names the module has and the state_dict lacks, and the reverse."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def saved_state(module: Module, prefix: str, keep_vars: bool) -> dict[str, Any]:
    """Every parameter and persistent buffer, a shared one under each of its names; between the
    hooks of each module, those of the outermost first, and then last."""
    parts = _parts(module, prefix)
    for start, part in parts:
        for hook in part._state_hooks["before saving"]:
            hook(part, start, keep_vars)
    found: dict[str, Any] = {}
    for start, part in parts:
        found.update((n, t if keep_vars else t.detach()) for n, t in _own(start, part))
        found.update(_extra([(start, part)]))
    for start, part in reversed(parts):
        for hook in part._state_hooks["after saving"]:
            hook(part, found, start, {})
    return found


def load_state(
    module: Module, given: dict[str, Any], strict: bool, assign: bool, rename: dict[str, str] | None
) -> IncompatibleKeys:
    """See ``Module.load_state_dict``. Nothing is changed when an error is raised, unless a hook
    waits for the end: it may change the report."""
    named = {_renamed(k, rename): v for k, v in given.items()}
    parts = _parts(module, "")
    for start, part in parts:
        for hook in part._state_hooks["before loading"]:
            hook(part, named, start, {}, strict, [], [], [])
    own, extra = dict(_entries(module, "")), _extra(parts)
    known = [*own, *extra]
    missing = [k for k in known if k not in named]
    unexpected = [k for k in named if k not in own and k not in extra]
    wrong = [
        f"{k}: {errors.dims(own[k].shape)} here, {errors.dims(tuple(v.shape))} given"
        for k, v in named.items()
        if k in own and tuple(v.shape) != own[k].shape
    ]
    report = IncompatibleKeys(missing, unexpected)
    later = [(p, hook) for _, p in reversed(parts) for hook in p._state_hooks["after loading"]]
    if wrong or (strict and not later and (missing or unexpected)):
        shown = (missing, unexpected) if strict else ([], [])
        raise _report(type(module).__name__, *shown, wrong, known)
    with no_grad():
        for name, value in named.items():
            if name in own:
                _take(own[name], value, assign)
    for start, part in parts:
        if f"{start}{EXTRA}" in extra and f"{start}{EXTRA}" in named:
            part.set_extra_state(named[f"{start}{EXTRA}"])
    for part, hook in later:
        hook(part, report)
    if strict and (missing or unexpected):
        raise _report(type(module).__name__, missing, unexpected, [], known)
    return report


def _parts(module: Module, prefix: str) -> list[tuple[str, Module]]:
    """Every module with what its names begin with."""
    found = module.named_modules(remove_duplicate=False)
    return [(prefix + (f"{path}." if path else ""), part) for path, part in found]


def _extra(parts: list[tuple[str, Module]]) -> dict[str, Any]:
    """What modules want saved beside their tensors."""
    found = {f"{start}{EXTRA}": part.get_extra_state() for start, part in parts}
    return {name: value for name, value in found.items() if value is not NotImplemented}


def _take(target: Tensor, value: Any, assign: bool) -> None:
    source = value if isinstance(value, Handle) else as_tensor(value)
    target.data = source.detach() if assign else source.detach().to(target.dtype).clone()


def _entries(module: Module, prefix: str) -> list[tuple[str, Tensor]]:
    return [pair for start, part in _parts(module, prefix) for pair in _own(start, part)]


def _own(start: str, part: Module) -> list[tuple[str, Tensor]]:
    """What one module holds itself."""
    found = [(start + n, p) for n, p in part._parameters.items() if p is not None]
    buffers = ((n, b) for n, b in part._buffers.items() if n not in part._transient)
    return [*found, *((start + n, b) for n, b in buffers if b is not None)]


def _renamed(name: str, rename: dict[str, str] | None) -> str:
    for old, new in (rename or {}).items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _report(
    owner: str, missing: list[str], unexpected: list[str], wrong: list[str], own: list[str]
) -> errors.AdjointError:
    lines: list[str] = []
    if missing:
        lines.append(f"missing ({len(missing)}): {_list(missing)}")
    for name in unexpected[:10]:
        lines.append(f"unexpected: {name}. {errors.nearest(name, own)}".rstrip(". "))
    if len(unexpected) > 10:
        lines.append(f"and {len(unexpected) - 10} more unexpected names")
    lines.extend(f"wrong shape: {w}" for w in wrong[:10])
    hint = _rename_hint(missing, unexpected) or "strict=False takes what fits by name"
    return errors.build(
        StateDictError, f"load_state_dict: does not fit {owner}", lines=lines, hint=hint
    )


def _rename_hint(missing: list[str], unexpected: list[str]) -> str:
    """The prefix to rename, when that alone would make every name fit."""
    if not missing or not unexpected:
        return ""
    for name in unexpected:
        for wanted in missing:
            for old, new in ((name.removesuffix(wanted), ""), ("", wanted.removesuffix(name))):
                pair = {old: new}
                if old + new and {_renamed(n, pair) for n in unexpected} == set(missing):
                    return f"load_state_dict(..., rename={pair!r}) would fit"
    return ""


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown}, and {len(names) - 10} more"
