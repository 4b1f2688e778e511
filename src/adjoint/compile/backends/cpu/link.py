"""From LLVM IR to functions of this process, by way of the cache on disk.

Kernels are stored one object each, under a name made of the kernel's key, LLVM's version, the CPU
and the sources of the compiler, so that a second process neither writes IR nor compiles. All
objects that a program still lacks go into one engine: an engine each would cost more than the
loading itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from adjoint.base.config import FLAGS
from adjoint.compile.backends.cpu.codegen import objects
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.backends.llvm import binding
from adjoint.compile.kernel import Kernel
from adjoint.runtime import cache as disk
from adjoint.runtime.threads import get_num_threads

_LOCK = threading.Lock()  # LLVM's engine is not made for two threads at once
_DEFINED = re.compile(r"^define (?!internal )(.*?@)([\w.$]+)", re.MULTILINE)
_KERNEL = re.compile(r"@kernel\b")


def address(text: str, name: str) -> int:
    """Where the function ``name`` of the module ``text`` starts; compiled for this machine."""
    with _LOCK:
        return _engine(text).get_function_address(name)


def addresses(kernels: Iterable[Kernel]) -> dict[str, int]:
    """Where each of ``kernels`` starts, by its key; what is not on disk is compiled."""
    wanted = {kernel.key: kernel for kernel in kernels}
    with _LOCK:
        found = _loaded()
        missing = [kernel for key, kernel in wanted.items() if key not in found]
        if missing:
            found.update(_load(missing))
    return {key: found[key] for key in wanted}


def compile_object(text: str, target: Target) -> bytes:
    """The module as an object file. No passes are run: the templates write what they mean."""
    module = binding().parse_assembly(text)
    if FLAGS.verify:
        module.verify()
    return _machine(target).emit_object(module)


def compile_all(texts: Sequence[str], target: Target) -> list[bytes]:
    """Many modules as object files, at the same time."""
    if FLAGS.verify:
        for text in texts:
            binding().parse_assembly(text).verify()
    return objects(texts, target, get_num_threads())


def assembly(text: str, target: Target) -> str:
    """The module as assembly, for reading."""
    return target.machine().emit_assembly(binding().parse_assembly(text))


def renamed(text: str, name: str) -> str:
    """The module with its function ``kernel`` called ``name``, and all others hidden.

    Objects in one engine share their names.
    """

    def hide(found: re.Match[str]) -> str:
        kind, function = found.groups()
        return f"define {'' if function == 'kernel' else 'internal '}{kind}{function}"

    return _KERNEL.sub(f"@{name}", _DEFINED.sub(hide, text))


def _load(kernels: list[Kernel]) -> dict[str, int]:
    """Where the functions of ``kernels`` start, in an engine of their own."""
    target = host()
    names = {k.key: f"kernel_{sha256(k.key.encode()).hexdigest()}" for k in kernels}
    stored = {k.key: disk.key_of(k.key, *_circumstances(), compiler_version()) for k in kernels}
    codes = {k.key: disk.read(stored[k.key]) for k in kernels}
    missing = [k for k in kernels if codes[k.key] is None]
    texts = [renamed(k.write(target), names[k.key]) for k in missing]
    for kernel, code in zip(missing, compile_all(texts, target), strict=True):
        disk.write(stored[kernel.key], code)
        codes[kernel.key] = code
    engine = _new_engine()
    for code in codes.values():
        engine.add_object_file(binding().ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines().append(engine)
    return {key: engine.get_function_address(name) for key, name in names.items()}


@cache
def _loaded() -> dict[str, int]:
    """The kernels of this process: key to address."""
    return {}


@cache
def _engines() -> list[Any]:
    """What holds their machine code, for as long as the process lives."""
    return []


def _new_engine() -> Any:
    lib = binding()
    return lib.create_mcjit_compiler(lib.parse_assembly(""), host().machine())


@cache
def _machine(target: Target) -> Any:
    return target.machine()


@cache
def _circumstances() -> tuple[str, ...]:
    """What decides how IR becomes machine code here."""
    target = host()
    version = ".".join(map(str, binding().llvm_version_info))
    return version, target.triple, target.cpu, target.features


@cache
def compiler_version() -> str:
    """A digest of the compiler's sources: another emitter writes other kernels for equal keys."""
    digest = sha256()
    for path in sorted(Path(__file__).parents[2].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _engine(text: str) -> Any:
    """Holds the machine code of one module, for as long as the process lives."""
    key = disk.key_of(text, *_circumstances())
    code = disk.read(key)
    if code is None:
        code = compile_object(text, host())
        disk.write(key, code)
    engine = _new_engine()
    engine.add_object_file(binding().ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine
