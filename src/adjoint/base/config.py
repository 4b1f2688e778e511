"""Flags: read once from the environment, one dataclass."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Flags:
    """Switches of the process.

    ``verify`` (``ADJOINT_VERIFY=1``): check after every op that its value has the shape and dtype
    its row promises, and verify every graph that is built. On in the tests.
    ``cache`` (``ADJOINT_CACHE``): the folder for downloads and compiled kernels; by default where
    the system keeps such files.
    ``threads`` (``ADJOINT_NUM_THREADS``): how many threads share the work of one kernel; by
    default the number of cores this process may use.
    ``keep_memory`` (``ADJOINT_KEEP_MEMORY=0`` to switch it off): the process keeps up to 256 MiB
    of freed memory for the next arrays.
    """

    verify: bool = False
    cache: Path = Path()
    threads: int = 1
    keep_memory: bool = True


def _cache_folder() -> Path:
    if chosen := os.environ.get("ADJOINT_CACHE"):
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local")) / "adjoint"
    if sys.platform == "darwin":
        return home / "Library/Caches/adjoint"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "adjoint"


def _threads() -> int:
    chosen = os.environ.get("ADJOINT_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


FLAGS = Flags(
    verify=os.environ.get("ADJOINT_VERIFY", "0") == "1",
    cache=_cache_folder(),
    threads=_threads(),
    keep_memory=os.environ.get("ADJOINT_KEEP_MEMORY", "1") != "0",
)
