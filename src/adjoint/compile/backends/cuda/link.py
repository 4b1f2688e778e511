"""From LLVM IR to PTX, by way of the cache on disk; the driver makes machine code of it."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from adjoint.base.config import FLAGS
from adjoint.compile.backends.cuda.target import CudaTarget
from adjoint.compile.backends.llvm import binding
from adjoint.runtime import cache as disk

_LOCK = threading.Lock()  # LLVM's machines are not made for two threads at once


def ptx(text: str, target: CudaTarget) -> str:
    """The module ``text`` as PTX for ``target``."""
    version = ".".join(map(str, binding().llvm_version_info))
    key = disk.key_of(text, version, target.triple, target.cpu, target.features)
    stored = disk.read(key)
    if stored is not None:
        return stored.decode()
    with _LOCK:
        module = binding().parse_assembly(text)
        if FLAGS.verify:
            module.verify()
        found = str(_machine(target).emit_assembly(module))
    disk.write(key, found.encode())
    return found


@cache
def _machine(target: CudaTarget) -> Any:
    return target.machine()
