"""Module: parameters, buffers and sub-modules under stable dotted names."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from adjoint.base import errors
from adjoint.base.errors import AdjointError
from adjoint.base.tree import Rebuild
from adjoint.ir.node import state
from adjoint.nn.hidden import warn_of_hidden
from adjoint.nn.hooks import Hook, call_hooked, entry
from adjoint.nn.mode import mode
from adjoint.nn.naming import place_error
from adjoint.nn.parameter import Buffer, Parameter
from adjoint.nn.state import IncompatibleKeys, load_state, saved_state
from adjoint.tensors.handle import Handle, RemovableHook
from adjoint.tensors.tensor import Tensor


class Module:
    """Base class of all layers and models.

    Set Parameters and Modules as attributes in ``__init__`` (after ``super().__init__()``), and
    write ``forward``; call the module like a function. Nothing is said about gradients: they
    follow from what ``forward`` computes.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _hooks: list[Hook]
    _pre_hooks: list[Hook]
    _backward_hooks: list[Hook]
    _backward_pre_hooks: list[Hook]
    _state_hooks: defaultdict[str, list[Hook]]

    def __init__(self) -> None:
        for name in ("_parameters", "_buffers", "_modules"):
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_transient", set())
        for name in ("_hooks", "_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            object.__setattr__(self, name, [])
        object.__setattr__(self, "_state_hooks", defaultdict(list))
        object.__setattr__(self, "training", True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; every subclass writes its own."""
        raise errors.argument(
            type(self).__name__, "forward is not defined", hint="write def forward(self, x): ..."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` (and hooks); an error says in which module it happened."""
        if state.capture is not None:  # a captured run is right for the mode it was recorded in
            state.capture.guard(lambda: self.training)
        try:
            if self._pre_hooks or self._hooks or self._backward_hooks or self._backward_pre_hooks:
                return call_hooked(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except AdjointError as error:
            place_error(error, self)
            raise

    # --- attributes ---

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        if "_parameters" not in tables:
            if isinstance(value, (Parameter, Module)):
                raise errors.argument(
                    type(self).__name__, f"{name!r} is set before super().__init__() was called",
                    hint="make super().__init__() the first line of __init__",
                )  # fmt: skip
            object.__setattr__(self, name, value)
            return
        kinds = (("_parameters", Parameter), ("_modules", Module), ("_buffers", Handle))
        for table, kind in kinds:
            known = name in tables[table]
            if isinstance(value, kind) and (table != "_buffers" or known):
                _forget(self, name)
                tables[table][name] = value
                return
            if known and value is None:
                tables[table][name] = None
                return
            if known and table == "_parameters":
                raise errors.argument(
                    type(self).__name__, f"{name!r} is a parameter, not a {type(value).__name__}",
                    hint=f"wrap it: nn.Parameter(...), or change its values: self.{name}.data = x",
                )  # fmt: skip
        _forget(self, name)
        if isinstance(value, Buffer):
            self.register_buffer(name, value, value.persistent)
            return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        tables = self.__dict__
        if "_parameters" not in tables:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}; was super().__init__() called?"
            )
        for table in ("_parameters", "_buffers", "_modules"):
            if name in tables[table]:
                return tables[table][name]
        known = [
            *tables,
            *tables["_parameters"],
            *tables["_buffers"],
            *tables["_modules"],
            *dir(type(self)),
        ]
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r}. {errors.nearest(name, known)}"
        )

    def __delattr__(self, name: str) -> None:
        if not _forget(self, name):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under ``name``; None keeps the name for later."""
        _check_name(self, name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not trained."""
        _check_name(self, name)
        self._buffers[name] = tensor
        if not persistent:
            self._transient.add(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module under ``name``."""
        _check_name(self, name)
        self._modules[name] = module

    def add_module(self, name: str, module: Module | None) -> None:
        """``register_module`` under its older name."""
        self.register_module(name, module)

    # --- walking ---

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted names, each once."""
        memo = set() if memo is None else memo
        if id(self) in memo and remove_duplicate:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                inner = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, inner, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct sub-modules with their names."""
        return ((n, m) for n, m in self._modules.items() if m is not None)

    def children(self) -> Iterator[Module]:
        """The direct sub-modules."""
        return (m for _, m in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names; a shared one once, under its first name.
        Warns of plain lists and dicts of modules: what they hold is not found."""
        warn_of_hidden(self)
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their dotted names."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _named(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        pairs = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse else [(prefix, self)]
        )  # fmt: skip
        for path, module in pairs:
            for name, value in getattr(module, table).items():
                if value is not None and not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted name. Raises ArgumentError with the nearest name."""
        known = dict(self.named_modules(remove_duplicate=False))
        if target not in known:
            raise errors.unknown_name("get_submodule", target, known)
        return known[target]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted name. Raises ArgumentError with the nearest name."""
        known = dict(self.named_parameters(remove_duplicate=False))
        if target not in known:
            raise errors.unknown_name("get_parameter", target, known)
        return known[target]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted name. Raises ArgumentError with the nearest name."""
        known = dict(self.named_buffers(remove_duplicate=False))
        if target not in known:
            raise errors.unknown_name("get_buffer", target, known)
        return known[target]

    def set_submodule(self, target: str, module: Module) -> None:
        """Put ``module`` in the place of the one at a dotted name. Raises as ``get_submodule``."""
        self.get_submodule(target)
        path, _, name = target.rpartition(".")
        if not name or not isinstance(module, Module):
            raise errors.bad_argument("set_submodule", "module", module, "a module, under a name")
        self.get_submodule(path)._modules[name] = module

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call ``function`` on every module, children first."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # --- mode, gradients, dtype ---

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all below it to training (or, with False, to inference)."""
        if not isinstance(mode, bool):
            raise errors.argument(
                "train",
                f"mode must be True or False, got {mode!r}",
                hint="model.train() and model.eval() switch",
            )
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self) -> Module:
        """Switch to inference: ``train(False)``."""
        return self.train(False)

    def eval_mode(self) -> AbstractContextManager[Module]:
        """``with model.eval_mode(): ...``: inference inside, the mode of each part as before
        afterwards."""
        return mode(self, False)

    def train_mode(self) -> AbstractContextManager[Module]:
        """``with model.train_mode(): ...``: training mode inside, also where gradients are off."""
        return mode(self, True)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Let all parameters collect gradients, or freeze them."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or set them to zero)."""
        for param in self.parameters():
            param.forget_gradient(set_to_none)

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Convert floating parameters and buffers to a dtype, all of them to a device."""
        for tensor in (*self.parameters(), *self.buffers()):
            new = tensor.detach().to(*args, **kwargs)
            is_float = tensor.dtype.kind == "f"
            if (new.dtype.kind == "f") if is_float else (new.dtype is tensor.dtype):
                tensor.data = new
            if tensor.grad is not None:
                tensor.grad = tensor.grad.detach().to(*args, **kwargs)
        return self

    def float(self) -> Module:
        """Floating parameters and buffers to float32."""
        return self.to("float32")

    def double(self) -> Module:
        """Floating parameters and buffers to float64."""
        return self.to("float64")

    def half(self) -> Module:
        """Floating parameters and buffers to float16."""
        return self.to("float16")

    def bfloat16(self) -> Module:
        """Floating parameters and buffers to bfloat16."""
        return self.to("bfloat16")

    def type(self, dtype: object) -> Module:
        """Floating parameters and buffers to ``dtype``."""
        return self.to(dtype)

    def cpu(self) -> Module:
        """All parameters and buffers to the CPU."""
        return self.to("cpu")

    def cuda(self, device: object = None) -> Module:
        """All parameters and buffers to the GPU; raises where there is none."""
        return self.to("cuda" if device is None else device)

    # --- state ---

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and persistent buffers under their dotted names, without history."""
        return saved_state(self, prefix, keep_vars)

    def load_state_dict(
        self, state_dict: dict[str, Any], strict: bool = True, assign: bool = False,
        rename: dict[str, str] | None = None,
    ) -> IncompatibleKeys:  # fmt: skip
        """Take values by name; gives the missing and the unexpected names.

        Raises StateDictError with a full report (missing, unexpected with nearest names, wrong
        shapes) when ``strict`` and names differ, or when shapes do. ``rename``: prefixes to
        replace in the given names, e.g. ``{"module.": ""}``.
        """
        return load_state(self, state_dict, strict, assign, rename)

    def get_extra_state(self) -> Any:
        """What a subclass wants in its ``state_dict`` beside tensors; it also writes
        ``set_extra_state(state)``."""
        return NotImplemented

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHook:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict`` looks at this module."""
        return _register(self._state_hooks["before saving"], hook, False)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHook:
        """Call ``hook(module, state_dict, prefix, {})`` with the dict, which it may change."""
        return _register(self._state_hooks["after saving"], hook, False)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHook:
        """Call ``hook(module, state_dict, prefix, {}, strict, [], [], [])`` with a copy of what is
        loaded, which it may change."""
        return _register(self._state_hooks["before loading"], hook, False)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHook:
        """Call ``hook(module, incompatible_keys)`` after loading; it may change the lists."""
        return _register(self._state_hooks["after loading"], hook, False)

    # --- hooks, printing, trees ---

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHook:  # fmt: skip
        """Call ``hook(module, args, output)`` after forward; a result replaces the output.

        ``with_kwargs``: ``hook(module, args, kwargs, output)``. ``prepend``: before the hooks there
        are. ``always_call``: also, with None for the output, when forward raises.
        """
        return _register(self._hooks, entry(hook, with_kwargs, always_call), prepend)

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHook:
        """Call ``hook(module, args)`` before forward; what it returns replaces the arguments.

        ``with_kwargs``: ``hook(module, args, kwargs)``, which returns both or None.
        """
        return _register(self._pre_hooks, entry(hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHook:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the arguments are
        known; what it returns replaces ``grad_input``. Both are tuples; None stands for arguments
        without a gradient."""
        return _register(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHook:
        """Call ``hook(module, grad_output)`` when the gradients of the results are known; what it
        returns replaces them."""
        return _register(self._backward_pre_hooks, hook, prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHook:
        """``register_full_backward_hook`` under its older name."""
        return self.register_full_backward_hook(hook)

    def extra_repr(self) -> str:
        """What stands between the brackets when the module is printed."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._modules.items()
        ]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join([extra, *lines] if extra else lines)
        return f"{type(self).__name__}(\n  {body}\n)"

    def tree_flatten(self) -> tuple[list[Any], Rebuild]:
        """The parameters, and how to make the same module around other tensors."""
        params = list(self.parameters())

        def rebuild(tensors: list[Any]) -> Module:
            return _with(self, {id(p): t for p, t in zip(params, tensors, strict=True)}, {})

        return params, rebuild


def _with(module: Module, swap: dict[int, Any], done: dict[int, Module]) -> Module:
    """A copy of the module tree that holds other tensors for its parameters."""
    if id(module) in done:
        return done[id(module)]
    twin = done[id(module)] = copy.copy(module)
    inner = {n: None if m is None else _with(m, swap, done) for n, m in module._modules.items()}
    params = {n: p if p is None else swap[id(p)] for n, p in module._parameters.items()}
    for name, table in (("_modules", inner), ("_parameters", params)):
        object.__setattr__(twin, name, table)
    object.__setattr__(twin, "_buffers", dict(module._buffers))
    return twin


def _register(hooks: list[Hook], hook: Hook, prepend: bool) -> RemovableHook:
    hooks.insert(0 if prepend else len(hooks), hook)
    return RemovableHook(hooks, hook)


def _forget(module: Module, name: str) -> bool:
    tables = module.__dict__
    module._transient.discard(name)
    found = [
        tables[t].pop(name) for t in ("_parameters", "_buffers", "_modules") if name in tables[t]
    ]
    return bool(found) or (tables.pop(name, tables) is not tables)


def _check_name(module: Module, name: str) -> None:
    if "_parameters" not in module.__dict__:
        raise errors.argument(
            type(module).__name__, f"{name!r} is registered before super().__init__() was called",
            hint="make super().__init__() the first line of __init__",
        )  # fmt: skip
    if not isinstance(name, str) or not name or "." in name:
        raise errors.argument(
            type(module).__name__,
            f"{name!r} cannot be the name of a part",
            hint="a name is a non-empty string without dots",
        )
    if hasattr(module, name) and not any(
        name in t for t in (module._parameters, module._buffers, module._modules)
    ):
        raise errors.argument(
            type(module).__name__,
            f"attribute {name!r} exists already",
            hint="choose another name, or delete the attribute first",
        )
