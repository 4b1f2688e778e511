"""Arguments that nobody should pass, and the public functions they are passed to."""

from __future__ import annotations

import contextlib
import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import adjoint as ad
from adjoint import public

# The first four touch files or the state of the process; the next are for writers of the library
# or of optimisers; the last are handed out and not made by users.
LEFT_OUT = {
    "load", "save", "set_num_threads", "set_grad_enabled", "assign", "accumulate", "Optimizer",
    "Diagnosis", "Finding", "TrainingWarning",
}  # fmt: skip

TRANSFORMS = {"checkpoint", "grad", "hessian", "hvp", "jacfwd", "jacrev", "jvp", "linearize",
              "record", "scan", "sparse_jacobian", "value_and_grad", "vjp", "vmap"}  # fmt: skip

HUGE = 2**45  # elements: no machine holds that many


def public_functions() -> dict[str, Callable[..., Any]]:
    """Name and function for all that can be called in the public namespaces."""
    found: dict[str, Callable[..., Any]] = {}
    for prefix, space in (
        ("", public), ("random.", ad.random), ("linalg.", ad.linalg), ("Tensor.", ad.Tensor),
        ("functional.", ad.nn.functional), ("nn.", ad.nn), ("optim.", ad.optim),
    ):  # fmt: skip
        names = dir(space) if isinstance(space, type) else getattr(space, "__all__", vars(space))
        for name in sorted(names):
            value = getattr(space, name)
            own = getattr(value, "__module__", "") or ""
            is_ours = own.startswith("adjoint") and own != "adjoint.base.errors"
            if not is_ours or name.startswith("_") or name in LEFT_OUT:
                continue
            if inspect.isfunction(value):
                if (value.__doc__ or "").startswith("``adjoint.nn.functional."):
                    value.__wrapped__ = getattr(ad.nn.functional, name)  # it takes what that takes
                found[prefix + name] = value
            elif prefix in ("nn.", "optim.") and inspect.isclass(value):
                found[prefix + name] = used(value)
    return found | {f"operator.{f.__name__}": f for f in (getitem, setitem, *OPERATORS, ad.Tensor)}


def used(kind: type[Any]) -> Callable[..., Any]:
    """A function that makes a layer or optimiser and uses it on many tensors."""

    def make(*args: Any, **named: Any) -> None:
        made = kind(*args, **named)
        for x in tensors() if isinstance(made, ad.nn.Module) else ():
            with contextlib.suppress(ad.AdjointError):
                if fits(made.forward, [x], {}):
                    made(x)
        if isinstance(made, ad.optim.Optimizer):
            made.step()

    make.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
    return make


OPERATORS = (
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.matmul, operator.and_, operator.lshift, operator.eq, operator.lt,
    operator.iadd, operator.contains,
)  # fmt: skip


def getitem(x: Any, *index: Any) -> Any:
    return ad.ones(2, 3)[index] if len(index) != 1 else ad.ones(2, 3)[index[0]]


def setitem(x: Any, index: Any, value: Any) -> None:
    ad.ones(2, 3)[index] = value


def tensors() -> list[Any]:
    """Tensors of many kinds; fresh ones, as in-place functions change them."""
    return [
        ad.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, 2.0]]),
        ad.tensor([1.0, 2.0, 3.0]),
        ad.tensor(0.5),
        ad.zeros(0, 3),
        ad.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=ad.float64),
        ad.tensor([2, 0, 1]),
        ad.tensor([[7, -1, 0], [3, 2, 100]]),
        ad.tensor([True, False, True]),
        ad.tensor([1.0, float("nan"), float("inf")]),
        ad.tensor([1.5, 2.5], dtype=ad.bfloat16),
        ad.tensor([0.1, 0.2, 0.7], dtype=ad.float16),
        ad.tensor([200, 7], dtype=ad.uint8),
        ad.tensor([2**63 + 5, 1], dtype=ad.uint64),
        ad.tensor([1.0, 2.0, 3.0], requires_grad=True),
        ad.ones(2, 3, 1, 2),
        ad.ones(3, device="meta"),
        ad.tensor([1, 2], dtype=ad.uint32),
    ]


def oddities() -> list[Any]:
    """What is not a tensor: numbers, sizes, lists, arrays and plain nonsense."""
    return [
        None, True, False, 0, 1, -1, 2, 3, 7, -5, HUGE, -HUGE, 2**64 + 1, 10**30, 10**5000,
        0.5, -1.0, float("nan"), float("inf"), 1e308, "abc", "float32", "ij,jk->ik", "", b"x", 1j,
        object(), int, float, len, [], (), [1, 2], [[1, 2], [3]], [1, "a"], ["a"], [None],
        (2, 3), (-1,), (3, -1), (2.5,), (float("nan"),), (HUGE, HUGE), (0,), (0, 0), (1, 0),
        [[]], [0, 1], [True, False, True], {}, {"a": 1}, {1, 2}, slice(0, 2), Ellipsis,
        range(3), np.array([1, None], dtype=object), np.array(["a"]), np.ones(3) * 1j,
        np.zeros((0, 2)), np.float32(2), np.array(1.5), np.array("2020", "datetime64[Y]"),
        np.ones((2, 3)), lambda *x: x[0] if x else 1, lambda *x: None, ad.float64, ad.int8,
        np.dtype("f8"),
    ]  # fmt: skip


def lists_of_tensors() -> list[Any]:
    a, b, leaf = ad.ones(2, 3), ad.ones(3, 2), ad.ones(3, requires_grad=True)
    leaf.grad = ad.ones(3)
    return [[a, b], (a, a), [a, None], [a, 3], [ad.tensor([1]), a], [b], [leaf]]


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """What the function takes; some methods pass all on to the function of their name."""
    found = inspect.signature(function)
    if [p.name for p in found.parameters.values()] == ["self", "args", "kwargs"]:
        function = getattr(ad.nn.functional, function.__name__.rstrip("_"), function)
        return inspect.signature(function)
    return found


def keywords(function: Callable[..., Any], given: int) -> list[str]:
    """Names that can be passed as keywords next to ``given`` arguments by position."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = list(signature_of(function).parameters.values())
    return [p.name for i, p in enumerate(known) if p.kind in kinds and i >= given]


def arity(function: Callable[..., Any]) -> tuple[int, int]:
    """How few and how many arguments can be passed by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = signature_of(function).parameters.values()
    named = [p for p in known if p.kind in kinds]
    least = sum(p.default is inspect.Parameter.empty for p in named)
    return least, 4 if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in known) else len(
        named
    )


def fits(function: Callable[..., Any], args: list[Any], named: dict[str, Any]) -> bool:
    """Whether Python accepts the call; otherwise a plain TypeError is the right answer.

    The truth of an array as a flag is between Python and NumPy: left out too.
    """
    if function.__name__ in TRANSFORMS and args and isinstance(args[0], (type, type(len))):
        return False  # they would call it, and what it raises is its own
    signature = signature_of(function)
    try:
        given = signature.bind(*args, **named).arguments
    except TypeError:
        return False
    flags = [n for n, p in signature.parameters.items() if p.annotation in ("bool", bool)]
    return not any(isinstance(given.get(n), np.ndarray) and given[n].size != 1 for n in flags)


def describe(args: list[Any], named: dict[str, Any]) -> str:
    def one(value: Any) -> str:
        text = f"{type(value).__name__}"
        try:
            text = repr(value)
        except ValueError:
            text = "a giant integer"
        return " ".join(text.split())[:60]

    pieces: Iterator[str] = (one(a) for a in args)
    return ", ".join([*pieces, *(f"{k}={one(v)}" for k, v in named.items())])
