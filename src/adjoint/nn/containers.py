"""Modules that hold modules: Sequential, lists, dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_items
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors.handle import Handle


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
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Sequential:
        """Add one before ``index``; modules with numbers for names are numbered anew."""
        _check_module("Sequential", module)
        items = list(self)
        items.insert(_place(index, len(items) + 1), module)
        _number(self, items)
        return self

    def pop(self, index: int | slice) -> Module:
        """Take out one and give it back."""
        found = self[index]
        del self[index]
        return found

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        gone = names[index] if isinstance(index, slice) else [names[_place(index, len(names))]]
        for name in gone:
            del self._modules[name]
        if all(name.isdigit() for name in names):
            _number(self, list(self))

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *_sequence(other))

    def __iadd__(self, other: Sequential) -> Sequential:
        return self.extend(_sequence(other))

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * _times(times))

    def __rmul__(self, times: int) -> Sequential:
        return self * times

    def __imul__(self, times: int) -> Sequential:
        return self.extend(list(self) * (_times(times) - 1))


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
        _check_module("ModuleList", module)
        items = list(self)
        items.insert(index, module)
        _number(self, items)

    def pop(self, index: int | slice) -> Any:
        """Take out one and give it back."""
        found = self[index]
        del self[index]
        return found

    def __delitem__(self, index: int | slice) -> None:
        items = list(self)
        del items[index if isinstance(index, slice) else _place(index, len(items))]
        _number(self, items)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> ModuleList:
        return self.extend(other)


class ModuleDict(Module):
    """A dict of modules whose parameters are found."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update({} if modules is None else modules)

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

    def clear(self) -> None:
        """Take out all modules."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take out one and give it back."""
        found = self[key]
        del self[key]
        return found

    def update(self, modules: Any) -> None:
        """Take in the modules of another dict, or of pairs of a name and a module."""
        for key, module in _pairs("ModuleDict", modules):
            self[key] = module


class ParameterList(Module):
    """A list of parameters that are found. Tensors become Parameters; other values are kept as they
    are."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self._size = 0
        self.extend(values)

    def append(self, value: Any) -> ParameterList:
        """Add one at the end."""
        self._size += 1
        self[-1] = value
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add several at the end."""
        for value in list(_listed("ParameterList", values)):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, str(i)) for i in range(self._size))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return getattr(self, str(_place(index, self._size)))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, str(_place(index, self._size)), _as_parameter(value))

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_described(p)}" for i, p in enumerate(self))


class ParameterDict(Module):
    """A dict of parameters that are found. Tensors become Parameters; other values are kept as they
    are."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._names: dict[str, None] = {}
        self.update({} if parameters is None else parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._names:
            raise errors.unknown_name("ParameterDict", key, self._names)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str) or (key not in self._names and hasattr(self, key)):
            raise errors.argument(
                "ParameterDict", f"{key!r} cannot be the name of a parameter",
                hint="a name is a string that is not a method of the dict",
            )  # fmt: skip
        self._names[key] = None
        setattr(self, key, _as_parameter(value))

    def __delitem__(self, key: str) -> None:
        self[key]  # raises for an unknown name
        del self._names[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._names)

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def keys(self) -> Iterable[str]:
        return self._names.keys()

    def values(self) -> Iterable[Any]:
        return (self[k] for k in self._names)

    def items(self) -> Iterable[tuple[str, Any]]:
        return ((k, self[k]) for k in self._names)

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter under ``key``, or ``default``."""
        return self[key] if key in self else default  # noqa: SIM401  (no dict)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter under ``key``, which is first set to ``default`` if it is absent."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Take out one and give it back."""
        found = self[key]
        del self[key]
        return found

    def popitem(self) -> tuple[str, Any]:
        """Take out the last one and give it back with its name."""
        key = next(reversed(self._names))
        return key, self.pop(key)

    def clear(self) -> None:
        """Take out all parameters."""
        for key in list(self._names):
            del self[key]

    def copy(self) -> ParameterDict:
        """A dict of the same parameters."""
        return ParameterDict(self)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dict with these names."""
        return ParameterDict([(key, default) for key in keys])

    def update(self, parameters: Any) -> None:
        """Take in the parameters of another dict, or of pairs of a name and a parameter."""
        for key, value in _pairs("ParameterDict", parameters):
            self[key] = value

    def __or__(self, other: Any) -> ParameterDict:
        made = self.copy()
        made.update(other)
        return made

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        return "\n".join(f"  ({k}): {_described(p)}" for k, p in self.items())


def _as_parameter(value: Any) -> Any:
    keep = isinstance(value, Parameter) or not isinstance(value, Handle)
    return value if keep else Parameter(value)


def _described(value: Any) -> str:
    if not isinstance(value, Handle):
        return f"Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    sizes = "x".join(str(n) for n in value.shape)
    return f"{kind} containing: [{value.dtype} of size {sizes}]"


def _pairs(owner: str, given: Any) -> list[tuple[str, Any]]:
    if isinstance(given, (Mapping, ModuleDict, ParameterDict)):
        return list(given.items())
    found = as_items(given)
    pairs = [] if found is None else [as_items(pair) for pair in found]
    if found is None or not all(p is not None and len(p) == 2 for p in pairs):
        raise errors.bad_argument(
            owner, "the argument", given, "a dict, or pairs of name and value"
        )
    return [(p[0], p[1]) for p in pairs if p is not None]


def _number(module: Module, items: list[Any]) -> None:
    module._modules.clear()
    for i, item in enumerate(items):
        module._modules[str(i)] = item


def _sequence(other: Any) -> Sequential:
    if not isinstance(other, Sequential):
        raise errors.bad_argument("Sequential", "the other one", other, "a Sequential")
    return other


def _times(times: Any) -> int:
    found = as_integer("Sequential", "times", times)
    if found < 1:
        raise errors.argument("Sequential", f"cannot be repeated {found} times", hint="1 or more")
    return found


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
