"""A common mistake seen early: modules in a plain list, whose parameters nobody finds."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from adjoint.nn.parameter import Parameter

if TYPE_CHECKING:
    from adjoint.nn.module import Module


def warn_of_hidden(module: Module) -> None:
    """Warn of attributes of ``module`` or below that are plain lists or dicts of modules or
    parameters which are not part of the module in another way. Tuples are left alone: whoever
    wants to hide a module may use one."""
    from adjoint.nn.module import Module

    parts = dict(module.named_modules())
    known = {id(part) for part in parts.values()}
    known.update(id(p) for part in parts.values() for p in part._parameters.values())
    for path, part in parts.items():
        for name, value in vars(part).items():
            if type(value) not in (list, dict) or not value:
                continue
            items = value.values() if isinstance(value, dict) else value
            if any(isinstance(i, (Module, Parameter)) and id(i) not in known for i in items):
                place = f"{type(module).__name__}.{path + '.' if path else ''}{name}"
                warnings.warn(
                    f"{place} is a plain {type(value).__name__} of modules or parameters: they are "
                    "not trained, saved or moved. Use nn.ModuleList, nn.ModuleDict or "
                    "nn.ParameterList (or a tuple, to hide them on purpose).",
                    stacklevel=4,
                )
