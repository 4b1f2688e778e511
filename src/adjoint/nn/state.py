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


class StateDictError(errors.AdjointError, KeyError):
    """Names or shapes of a state_dict are not those of the module."""


class IncompatibleKeys(NamedTuple):
    """Names the module has and the state_dict lacks, and the reverse."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def saved_state(module: Module, prefix: str, keep_vars: bool) -> dict[str, Tensor]:
    """Every parameter and persistent buffer, a shared one under each of its names."""
    return {name: t if keep_vars else t.detach() for name, t in _entries(module, prefix)}


def load_state(
    module: Module, given: dict[str, Any], strict: bool, assign: bool, rename: dict[str, str] | None
) -> IncompatibleKeys:
    """See ``Module.load_state_dict``. Nothing is changed when an error is raised."""
    named = {_renamed(k, rename): v for k, v in given.items()}
    own = dict(_entries(module, ""))
    missing = [k for k in own if k not in named]
    unexpected = [k for k in named if k not in own]
    wrong = [
        f"{k}: {errors.dims(own[k].shape)} here, {errors.dims(tuple(v.shape))} given"
        for k, v in named.items()
        if k in own and tuple(v.shape) != own[k].shape
    ]
    if wrong or (strict and (missing or unexpected)):
        shown = (missing, unexpected) if strict else ([], [])
        raise _report(type(module).__name__, *shown, wrong, list(own))
    with no_grad():
        for name, value in named.items():
            if name in own:
                _take(own[name], value, assign)
    return IncompatibleKeys(missing, unexpected)


def _take(target: Tensor, value: Any, assign: bool) -> None:
    source = value if isinstance(value, Handle) else as_tensor(value)
    target.data = source.detach() if assign else source.detach().to(target.dtype).clone()


def _entries(module: Module, prefix: str) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    for path, part in module.named_modules(remove_duplicate=False):
        start = prefix + (f"{path}." if path else "")
        found += [(start + n, p) for n, p in part._parameters.items() if p is not None]
        found += [
            (start + n, b)
            for n, b in part._buffers.items()
            if b is not None and n not in part._transient
        ]
    return found


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
