"""The libraries that are compared."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import PackageNotFoundError, version

OURS, OURS_EAGER = "adjoint", "adjoint eager"
TORCH, TORCH_COMPILE, JAX, NUMPY = "torch", "torch.compile", "jax.jit", "numpy"
LIBRARIES = (OURS, OURS_EAGER, TORCH, TORCH_COMPILE, JAX)
PEERS = (TORCH, TORCH_COMPILE, JAX, NUMPY)
PACKAGES = {
    OURS: "adjoint", OURS_EAGER: "adjoint", TORCH: "torch", TORCH_COMPILE: "torch", JAX: "jax",
    NUMPY: "numpy",
}  # fmt: skip


def absent(library: str) -> str:
    """Why a library cannot be measured here; an empty string if it can."""
    package = PACKAGES[library]
    try:
        version(package)
    except PackageNotFoundError:
        return f"{package} is not installed"
    if library == TORCH_COMPILE and compiler() is None:
        return "no C++ compiler, which torch.compile needs (set CXX, or install g++)"
    return ""


def compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` finds."""
    return next(
        (found for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++")
         if name and (found := shutil.which(name))), None,
    )  # fmt: skip


def versions() -> dict[str, str]:
    """The installed versions; ``absent`` for what is not there."""
    found: dict[str, str] = {}
    for name in ("adjoint", "numpy", "llvmlite", "torch", "jax", "jaxlib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def environment(threads: int) -> dict[str, str]:
    """Variables that give every library so many threads; read when it is loaded."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ADJOINT_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "JAX_PLATFORMS": "cpu"}


def confine(threads: int) -> None:
    """Give this process so many cores: JAX takes a thread for each it may use."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])
