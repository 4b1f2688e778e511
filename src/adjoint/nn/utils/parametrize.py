"""Parameters that are computed from others at every use: ``register_parametrization``."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.nn.containers import ModuleDict, ModuleList
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, applied in order to ``original`` (or to ``original0``,
    ``original1`` ..., when the first one's ``right_inverse`` gives several tensors)."""

    def __init__(self, first: Module, original: Tensor) -> None:
        super().__init__([first])
        given: Any = original
        if hasattr(type(first), "right_inverse"):
            with no_grad():
                given = first.right_inverse(original.detach())
        self.is_tensor = isinstance(given, Handle)
        self.ntensors = 1 if self.is_tensor else len(given)
        values = {"original": given} if self.is_tensor else {
            f"original{i}": value for i, value in enumerate(given)
        }  # fmt: skip
        for name, value in values.items():
            if isinstance(original, Parameter):
                made = Parameter(value.detach().clone(), requires_grad=original.requires_grad)
                self.register_parameter(name, made)
            else:
                self.register_buffer(name, value.detach().clone())

    @property
    def originals(self) -> list[Tensor]:
        """What the tensor is computed from."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def forward(self) -> Tensor:
        first, *rest = self
        x = first(*self.originals)
        for parametrization in rest:
            x = parametrization(x)
        return x

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the tensor becomes ``value``."""
        with no_grad():
            given: Any = value
            for parametrization in reversed(list(self)):
                if not hasattr(type(parametrization), "right_inverse"):
                    raise errors.argument(
                        "parametrize", f"{type(parametrization).__name__} has no right_inverse",
                        hint="assign to parametrizations[name].original instead",
                    )  # fmt: skip
                given = parametrization.right_inverse(given)
            values = [given] if self.is_tensor else given
            for target, new in zip(self.originals, values, strict=True):
                target.data = new.detach()


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let ``module.<tensor_name>`` be ``parametrization(original)``, computed at every use.

    What is trained and saved is ``parametrizations.<tensor_name>.original``. An assignment goes
    through ``parametrization.right_inverse``, where there is one. Raises ArgumentError for an
    unknown name and ShapeError when shape or dtype change, unless ``unsafe``.
    """
    op = "register_parametrization"
    if is_parametrized(module, tensor_name):
        before = getattr(module, tensor_name)
        module.parametrizations[tensor_name].append(parametrization)
        _check(op, before, getattr(module, tensor_name), unsafe)
        return module
    tables = [t for t in (module._parameters, module._buffers) if t.get(tensor_name) is not None]
    if not tables:
        known = [*module._parameters, *module._buffers]
        raise errors.unknown_name(op, tensor_name, known)
    original: Any = tables[0][tensor_name]
    parts = ParametrizationList(parametrization, original)
    _check(op, original, parts(), unsafe)
    del tables[0][tensor_name]
    computed = {tensor_name: _computed(tensor_name)}
    if "parametrizations" in module._modules:
        setattr(type(module), tensor_name, computed[tensor_name])
    else:
        specialise(module, f"Parametrized{type(module).__name__}", computed)
        module.register_module("parametrizations", ModuleDict())
    module.parametrizations[tensor_name] = parts
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether anything, or the tensor of this name, is parametrised."""
    parts = _parts(module)
    return parts is not None and (tensor_name is None or tensor_name in parts)


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make ``tensor_name`` a plain tensor again, with its present value (or its ``original``)."""
    if not is_parametrized(module, tensor_name):
        known = [*(_parts(module) or ())]
        raise errors.unknown_name("remove_parametrizations", tensor_name, known)
    parts = module.parametrizations[tensor_name]
    if not leave_parametrized and not parts.is_tensor:
        raise errors.argument(
            "remove_parametrizations", "there is no one original to go back to",
            hint="leave_parametrized=True keeps the present value",
        )  # fmt: skip
    with no_grad():
        value = getattr(module, tensor_name) if leave_parametrized else parts.original
    trained = parts.originals[0].requires_grad
    is_parameter = isinstance(parts.originals[0], Parameter)
    del module.parametrizations[tensor_name]
    if not len(module.parametrizations):
        del module._modules["parametrizations"]
    generalise(module, tensor_name)
    if is_parameter:
        made = Parameter(value.detach(), requires_grad=trained)
        module.register_parameter(tensor_name, made)
    else:
        module.register_buffer(tensor_name, value.detach())
    return module


def _parts(module: Module) -> ModuleDict | None:
    found = module._modules.get("parametrizations")
    return found if isinstance(found, ModuleDict) else None


def _check(op: str, old: Tensor, new: Tensor, unsafe: bool) -> None:
    if not unsafe and (old.shape != new.shape or old.dtype is not new.dtype):
        raise errors.shape(
            op, "a parametrisation must keep shape and dtype", old, new,
            hint="unsafe=True allows another",
        )  # fmt: skip


def specialise(module: Module, name: str, properties: dict[str, property]) -> None:
    """Give ``module`` a class of its own, with properties that are computed at every use."""
    base = type(module)

    def set_it(self: Module, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            base.__setattr__(self, name, value)

    body = {"__setattr__": set_it, "__module__": base.__module__, **properties}
    object.__setattr__(module, "__class__", type(name, (base,), body))


def generalise(module: Module, name: str) -> None:
    """Take a property away again, and the class that was made for it when it was the last."""
    delattr(type(module), name)
    if not any(isinstance(p, property) for p in vars(type(module)).values()):
        object.__setattr__(module, "__class__", type(module).__bases__[0])


def _computed(name: str) -> property:
    def get(self: Module) -> Tensor:
        return self.parametrizations[name]()

    def put(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)
