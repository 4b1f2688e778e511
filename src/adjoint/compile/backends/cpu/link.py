"""From LLVM IR to functions of this process, by way of the cache on disk."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.backends.llvm import binding
from adjoint.runtime import cache as disk

_LOCK = threading.Lock()  # LLVM's engine is not made for two threads at once


def address(text: str, name: str) -> int:
    """Where the function ``name`` of the module ``text`` starts; compiled for this machine."""
    with _LOCK:
        return _engine(text).get_function_address(name)


def compile_object(text: str, target: Target) -> bytes:
    """The module as an object file. No passes are run: the templates write what they mean."""
    lib = binding()
    module = lib.parse_assembly(text)
    module.verify()
    return target.machine().emit_object(module)


def assembly(text: str, target: Target) -> str:
    """The module as assembly, for reading."""
    return target.machine().emit_assembly(binding().parse_assembly(text))


@cache
def _engine(text: str) -> Any:
    """Holds the machine code of one module, for as long as the process lives."""
    lib, target = binding(), host()
    version = ".".join(map(str, lib.llvm_version_info))
    key = disk.key_of(text, version, target.triple, target.cpu, target.features)
    code = disk.read(key)
    if code is None:
        code = compile_object(text, target)
        disk.write(key, code)
    engine = lib.create_mcjit_compiler(lib.parse_assembly(""), target.machine())
    engine.add_object_file(lib.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine
