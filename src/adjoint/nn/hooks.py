"""Functions that a module calls around its forward pass, and around that of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adjoint.tensors.gates import through
from adjoint.tensors.handle import Handle

if TYPE_CHECKING:
    from adjoint.nn.module import Module

Hook = Callable[..., Any]


class WithOptions:
    """A hook that also wants the keyword arguments, or to be called when forward fails."""

    def __init__(self, hook: Hook, with_kwargs: bool, always: bool) -> None:
        self.hook = hook
        self.with_kwargs = with_kwargs
        self.always = always


def entry(hook: Hook, with_kwargs: bool = False, always: bool = False) -> Any:
    """What stands in the list of hooks."""
    return WithOptions(hook, with_kwargs, always) if with_kwargs or always else hook


def call_hooked(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Forward of a module that has hooks."""
    for hook in list(module._pre_hooks):
        args, kwargs = _before(module, hook, args, kwargs)
    watch = _Watch(module) if module._backward_hooks or module._backward_pre_hooks else None
    if watch is not None:
        args = watch.enter(args)
    try:
        out = module.forward(*args, **kwargs)
    except BaseException:
        for hook in list(module._hooks):
            if isinstance(hook, WithOptions) and hook.always:
                _after(module, hook, args, kwargs, None)
        raise
    for hook in list(module._hooks):
        out = _after(module, hook, args, kwargs, out)
    return out if watch is None else watch.leave(out)


def _before(
    module: Module, hook: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(hook, WithOptions):
        changed = hook.hook(module, args, kwargs)
        return (args, kwargs) if changed is None else changed
    changed = hook(module, args)
    if changed is None:
        return args, kwargs
    return (changed if isinstance(changed, tuple) else (changed,)), kwargs


def _after(
    module: Module, hook: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
) -> Any:
    if not isinstance(hook, WithOptions):
        changed = hook(module, args, out)
    elif hook.with_kwargs:
        changed = hook.hook(module, args, kwargs, out)
    else:
        changed = hook.hook(module, args, out)
    return out if changed is None else changed


class _Watch:
    """Sees the gradients of one call's results, and then those of its arguments."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.places: list[int] = []
        self.count = 0
        self.at_inputs = False
        self.grad_output: tuple[Any, ...] = ()

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, with those that carry gradients led through a gate."""
        self.count = len(args)
        self.places = [i for i, a in enumerate(args) if isinstance(a, Handle) and a.requires_grad]
        self.at_inputs = bool(self.places)
        if not self.at_inputs:
            return args
        passed = through([args[i] for i in self.places], self.inputs)
        given = list(args)
        for place, value in zip(self.places, passed, strict=True):
            given[place] = value
        return tuple(given)

    def leave(self, out: Any) -> Any:
        """The results, led through another gate."""
        several = isinstance(out, (tuple, list))
        items = list(out) if several else [out]
        places = [i for i, o in enumerate(items) if isinstance(o, Handle) and o.requires_grad]
        if not places:
            return out
        passed = through([items[i] for i in places], self.outputs)
        for place, value in zip(places, passed, strict=True):
            items[place] = value
        return type(out)(items) if type(out) in (tuple, list) else items[0] if not several else out

    def outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Called with the gradients of the results."""
        for hook in list(self.module._backward_pre_hooks):
            grads = _replaced(hook(self.module, grads), grads)
        self.grad_output = grads
        if not self.at_inputs:
            self.inputs(())
        return grads

    def inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Called with the gradients of the arguments."""
        whole: list[Any] = [None] * self.count
        for place, grad in zip(self.places, grads, strict=True):
            whole[place] = grad
        shown, grad_output = tuple(whole), self.grad_output
        self.grad_output = ()  # not to be kept alive
        for hook in list(self.module._backward_hooks):
            shown = _replaced(hook(self.module, shown, grad_output), shown)
        return tuple(shown[i] for i in self.places)


def _replaced(changed: Any, old: tuple[Any, ...]) -> tuple[Any, ...]:
    if changed is None:
        return old
    return changed if isinstance(changed, tuple) else (changed,)
