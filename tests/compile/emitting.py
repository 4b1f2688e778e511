"""Compiles one emitted operation to a kernel over flat arrays, for this machine or an older one."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint.base.dtype import DType
from adjoint.compile import emit
from adjoint.compile.backends.cpu.link import address, compile_object
from adjoint.compile.backends.cpu.target import OTHERS, Target, host
from adjoint.compile.backends.llvm import binding
from adjoint.compile.code import POINTER, WORD, Function, Module, Value
from adjoint.compile.elements import stored

Array = np.ndarray[Any, np.dtype[Any]]
Write = Callable[..., Value]
WIDTHS = (0, host().bits // 32)
_ENGINES: list[Any] = []  # they own the code that the tests call


def text_of(write: Write, dtypes: Sequence[DType], out: DType, lanes: int, target: Target) -> str:
    """kernel(pointers of the arguments, pointer of the result, count)"""
    module = Module(target)
    f = module.function("kernel", [*[POINTER] * (len(dtypes) + 1), WORD])
    *pointers, result, count = f.arguments
    with f.loop(0, count, max(lanes, 1)) as loop:
        values = [
            emit.load(f, d, f.at(p, loop.index, stored(d)), lanes)
            for d, p in zip(dtypes, pointers, strict=True)
        ]
        emit.store(f, write(f, *values), out, f.at(result, loop.index, stored(out)))
    f.end()
    return str(module)


def kernel(
    write: Write, dtypes: Sequence[DType], out: DType, lanes: int, target: Target | None = None
) -> Callable[..., Array]:
    """``write(f, *values)`` as a function of flat arrays, computed ``lanes`` elements at a time."""
    text = text_of(write, dtypes, out, lanes, target or host())
    start = address(text, "kernel") if target is None else _loaded(text, target)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(dtypes) + 1), ctypes.c_int64)(start)

    def run(*arrays: Any) -> Array:
        given = [np.ravel(np.asarray(a, d.numpy)) for a, d in zip(arrays, dtypes, strict=True)]
        count, width = given[0].size, max(lanes, 1)
        whole = -(-count // width) * width
        padded = [np.concatenate([a, np.ones(whole - count, a.dtype)]) for a in given]
        made = np.empty(whole, out.numpy)
        call(*[a.ctypes.data for a in padded], made.ctypes.data, whole)
        return made[:count]

    return run


def row(
    name: str, dtypes: Sequence[DType], out: DType, lanes: int, target: Target | None = None
) -> Callable[..., Array]:
    """A row of the op table as a function of flat arrays."""

    def write(f: Function, *values: Value) -> Value:
        return emit.emit(f, name, values, dtypes, out)

    return kernel(write, dtypes, out, lanes, target)


def older() -> list[str]:
    """The CPUs whose code this machine runs as well."""
    have = host()
    if not have.triple.startswith("x86_64"):
        return []
    return ["x86-64-v2", *(["x86-64-v3"] if have.bits >= 256 else [])]


def _loaded(text: str, target: Target) -> int:
    lib = binding()
    assert target in OTHERS.values()
    engine = lib.create_mcjit_compiler(lib.parse_assembly(""), target.machine())
    engine.add_object_file(lib.ObjectFileRef.from_data(compile_object(text, target)))
    engine.finalize_object()
    _ENGINES.append(engine)
    return int(engine.get_function_address("kernel"))


def sample(dtype: DType, count: int, seed: int) -> Array:
    """Numbers of all sizes, and special ones."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(bool)
    if dtype.kind in "iu":
        raw = rng.integers(0, 256, count * dtype.itemsize, np.uint8).view(dtype.numpy)
        small = rng.integers(0, 5, count).astype(dtype.numpy)
        if dtype.kind == "i":
            small = small - np.asarray(2, dtype.numpy)
        found = np.where(rng.integers(0, 2, count) == 1, raw, small).astype(dtype.numpy)
        limits = np.iinfo(dtype.numpy)  # type: ignore[call-overload]
        found[:4] = [limits.min, limits.max, 0, 1]
        return found
    with np.errstate(over="ignore"):
        found = rng.normal(size=count) * np.exp(rng.normal(size=count) * 3)
        found = found.astype(dtype.numpy)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 3, -3], dtype.numpy)
    places = rng.integers(0, count, count // 3)
    found[places] = rng.choice(special, len(places))
    return found


def same(a: Array, b: Array) -> Array:
    """Equal, or both NaN."""
    return (a == b) | ((a != a) & (b != b))
