"""Looking into a model: activations by name, and models cut at a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from adjoint.base import errors
from adjoint.nn.checks import as_list, as_module
from adjoint.nn.module import Module


class Taps(Module):
    """``model`` that returns (output, {name: what that sub-module returned}).

    ``names``: dotted names of sub-modules. A sub-module that runs several times gives the list of
    its results. The model itself is not changed, and is as fast as before; this works inside
    ``jit`` too. Raises ArgumentError for a name that does not exist.
    """

    def __init__(self, model: Module, names: Iterable[str]) -> None:
        super().__init__()
        self.model = as_module("Taps", "model", model)
        self.names = tuple(as_list("Taps", "names", names, str, "a list of names"))
        for name in self.names:
            model.get_submodule(name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        seen: dict[str, list[Any]] = {name: [] for name in self.names}
        hooks = [
            self.model.get_submodule(name).register_forward_hook(_keep(seen[name]))
            for name in self.names
        ]
        try:
            out = self.model(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        return out, {n: found[0] if len(found) == 1 else found for n, found in seen.items()}

    def extra_repr(self) -> str:
        return ", ".join(self.names)


class Backbone(Module):
    """``model`` up to and with the sub-module ``name``, then ``head``; what follows is not run.

    Parameters are shared with the model, not copied. ``freeze`` stops their training: no gradient
    flows into the model. Parameter names are those of the model below ``backbone.``. Raises
    ArgumentError for a name that does not exist or does not run.
    """

    def __init__(
        self, model: Module, name: str, head: Module | None = None, freeze: bool = False
    ) -> None:
        super().__init__()
        self.backbone = as_module("Backbone", "model", model)
        model.get_submodule(name)
        self.head = None if head is None else as_module("Backbone", "head", head)
        self.name = name
        if freeze:
            model.requires_grad_(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        hook = self.backbone.get_submodule(self.name).register_forward_hook(_stop)
        try:
            self.backbone(*args, **kwargs)
        except _Reached as reached:
            found = reached.found
        else:
            raise errors.argument(
                "Backbone", f"{self.name!r} was not run", hint="name a layer that forward calls"
            )
        finally:
            hook.remove()
        return found if self.head is None else self.head(found)

    def extra_repr(self) -> str:
        return f"name={self.name!r}"


class _Reached(Exception):
    def __init__(self, found: Any) -> None:
        super().__init__("the layer was reached")
        self.found = found


def _stop(module: Module, args: Any, out: Any) -> None:
    raise _Reached(out)


def _keep(found: list[Any]) -> Callable[[Module, Any, Any], None]:
    def hook(module: Module, args: Any, out: Any) -> None:
        found.append(out)

    return hook
