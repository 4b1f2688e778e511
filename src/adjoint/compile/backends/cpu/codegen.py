"""Many modules to object files at once, on several threads.

llvmlite lets one thread at a time into LLVM. Code generation needs no such lock as long as each
module has a context of its own, and each thread a target machine; so the few functions it takes
are called through a door of our own to the same library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p, string_at
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.backends.llvm import binding

FEW = 4  # modules; fewer are not worth a thread


def objects(texts: Sequence[str], target: Target, threads: int) -> list[bytes]:
    """The object file of each module, generated on up to ``threads`` threads.

    Raises RuntimeError with LLVM's words for a text that is no module.
    """
    found: list[Any] = [None] * len(texts)
    # the longest first, so that no thread is left with it in the end
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    problems: list[Exception] = []

    def work(machine: Any) -> None:
        try:
            while not problems:
                at = order.pop()
                found[at] = _object(texts[at], machine)
        except IndexError:  # nothing is left
            return
        except RuntimeError as problem:
            problems.append(problem)

    count = max(min(threads, len(texts) // FEW), 1)
    machines = [target.machine() for _ in range(count)]
    others = [Thread(target=work, args=(m,)) for m in machines[1:]]
    for other in others:
        other.start()
    work(machines[0])
    for other in others:
        other.join()
    if problems:
        raise problems[0]
    return found


def _object(text: str, machine: Any) -> bytes:
    lib = _library()
    problem = c_char_p()
    context = lib["ContextCreate"]()
    try:
        module = lib["ParseAssembly"](context, text.encode(), byref(problem))
        if problem.value:
            raise RuntimeError(f"LLVM IR: {problem.value.decode()}")
        try:
            held = lib["TargetMachineEmitToMemory"](_pointer(machine), module, 1, byref(problem))
            if not held:
                raise RuntimeError(f"LLVM: {(problem.value or b'').decode()}")
            try:
                return string_at(lib["GetBufferStart"](held), lib["GetBufferSize"](held))
            finally:
                lib["DisposeMemoryBuffer"](held)
        finally:
            lib["DisposeModule"](module)
    finally:
        lib["ContextDispose"](context)


def _pointer(machine: Any) -> c_void_p:
    return ctypes.cast(machine._as_parameter_, c_void_p)


@cache
def _library() -> dict[str, Callable[..., Any]]:
    """The functions of LLVM's library that are used here, by name."""
    folder = Path(str(binding().__file__)).parent
    name = str(import_module("llvmlite.utils").get_library_name())
    library = ctypes.CDLL(str(folder / name))
    text = POINTER(c_char_p)
    kinds: dict[str, tuple[Any, list[Any]]] = {
        "ContextCreate": (c_void_p, []),
        "ContextDispose": (None, [c_void_p]),
        "ParseAssembly": (c_void_p, [c_void_p, c_char_p, text]),
        "TargetMachineEmitToMemory": (c_void_p, [c_void_p, c_void_p, c_int, text]),
        "GetBufferStart": (c_void_p, [c_void_p]),
        "GetBufferSize": (c_size_t, [c_void_p]),
        "DisposeMemoryBuffer": (None, [c_void_p]),
        "DisposeModule": (None, [c_void_p]),
    }
    found: dict[str, Callable[..., Any]] = {}
    for short, (result, arguments) in kinds.items():
        function = getattr(library, f"LLVMPY_{short}")
        function.restype, function.argtypes = result, arguments
        found[short] = function
    return found
