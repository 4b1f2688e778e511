"""Modules that hold modules: Sequential, lists, dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_items
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter


class Sequential(Module):
    """Modules one after another. A tuple that one returns becomes the arguments of the next.

    ``Sequential(a, b)`` names them 0, 1; ``Sequential({"first": a, "second": b})`` by key.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], Mapping) else (
            (str(i), m) for i, m in enumerate(modules)
        )  # fmt: skip
        for name, module in named:
            _check_module("Sequential", module)
            self.add_module(name, module)

    def forward(self, *args: Any) -> Any:
        out: Any = args if len(args) != 1 else args[0]
        for module in self:
            out = module(*out) if isinstance(out, tuple) else module(out)
        return out

    def __iter__(self) -> Iterator[Module]:
        return iter(m for m in self._modules.values() if m is not None)

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int | slice) -> Any:
        items = list(self._modules.items())
        if isinstance(index, slice):
            return type(self)(dict(items[index]))
        return items[_place(index, len(items))][1]

    def __setitem__(self, index: int, module: Module) -> None:
        _check_module("Sequential", module)
        self._modules[list(self._modules)[_place(index, len(self))]] = module

    def append(self, module: Module) -> Sequential:
        """Add one at the end."""
        _check_module("Sequential", module)
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Sequential:
        """Add several at the end."""
        for module in modules:
            self.append(module)
        return self


class ModuleList(Module):
    """A list of modules whose parameters are found."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(m for m in self._modules.values() if m is not None)

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int | slice) -> Any:
        items = list(self._modules.values())
        if isinstance(index, slice):
            return ModuleList(m for m in items[index] if m is not None)
        return items[_place(index, len(items))]

    def __setitem__(self, index: int, module: Module) -> None:
        _check_module("ModuleList", module)
        self._modules[str(_place(index, len(self)))] = module

    def append(self, module: Module) -> ModuleList:
        """Add one at the end."""
        _check_module("ModuleList", module)
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add several at the end."""
        for module in _listed("ModuleList", modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Add one before ``index``."""
        items = list(self)
        items.insert(index, module)
        self._modules.clear()
        self.extend(items)


class ModuleDict(Module):
    """A dict of modules whose parameters are found."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        if key not in self._modules:
            raise errors.unknown_name("ModuleDict", key, self._modules)
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        _check_module("ModuleDict", module)
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._modules.items()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Take in the modules of another dict."""
        if not isinstance(modules, Mapping):
            raise errors.bad_argument("ModuleDict", "modules", modules, "a dict of modules")
        for key, module in modules.items():
            self[key] = module


class ParameterList(Module):
    """A list of parameters that are found."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        for value in _listed("ParameterList", values):
            self.append(value)

    def append(self, value: Any) -> ParameterList:
        """Add one at the end; a tensor becomes a Parameter."""
        made = value if isinstance(value, Parameter) else Parameter(value)
        self.register_parameter(str(len(self)), made)
        return self

    def __iter__(self) -> Iterator[Parameter]:
        return iter(p for p in self._parameters.values() if p is not None)

    def __len__(self) -> int:
        return len(self._parameters)

    def __getitem__(self, index: int) -> Any:
        return self._parameters[str(_place(index, len(self)))]


def _listed(owner: str, values: Any) -> Iterable[Any]:
    found = as_items(values)
    if found is None:
        raise errors.bad_argument(owner, "the argument", values, "a list")
    return found


def _check_module(owner: str, module: Any) -> None:
    if not isinstance(module, Module):
        name = getattr(module, "__name__", type(module).__name__)
        hint = f"make one: nn.{name}()"
        if not isinstance(module, type):
            hint = "use the layer, nn.Tanh() for tanh say, or write a Module that calls it"
        raise errors.argument(owner, f"needs modules, got {name}", hint=hint)


def _place(index: int, size: int) -> int:
    if not isinstance(index, int) or not -size <= index < size:
        raise errors.index(
            f"{index!r} is out of range for {size} modules",
            hint=f"allowed: {-size} to {size - 1}" if size else "it holds no modules",
        )
    return index % size
