"""How long the first step takes: with nothing compiled yet, and in a second process after that.

Each figure is of a fresh process. Cold means empty caches: Adjoint's, ``torch.compile``'s and
JAX's are pointed at empty folders (JAX keeps none unless it is told to; here it is).
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

from bench import libraries
from bench.comparisons import Settings, prepare, summary
from bench.fleet import Crew, Failure

WORKLOADS = ("mlp-small", "lenet", "resnet", "gpt")
STATES = ("cold", "warm")


def caches(folder: str) -> dict[str, str]:
    """Variables that keep all that is compiled in ``folder``."""
    return {
        "ADJOINT_CACHE": os.path.join(folder, "adjoint"),
        "TORCHINDUCTOR_CACHE_DIR": os.path.join(folder, "inductor"),
        "JAX_COMPILATION_CACHE_DIR": os.path.join(folder, "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def first_steps(name: str, settings: Settings) -> dict[str, Any]:
    """Seconds of the first training step of a workload, by library and state of the cache.

    ``step`` is the first call alone, ``process`` everything from the start of the interpreter.
    """
    found: dict[str, Any] = {"step": {}, "process": {}, "reasons": {}}
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "weights.npz")
        prepare(name, file, settings)
        for library in settings.names:
            reason = libraries.absent(library)
            if reason:
                found["reasons"][library] = reason
                continue
            try:
                figures = _of_library(library, name, file, settings)
            except Failure as failure:
                found["reasons"][library] = str(failure)
                continue
            for kind in ("step", "process"):
                found[kind][library] = figures[kind]
    return found


def _of_library(library: str, name: str, file: str, settings: Settings) -> dict[str, Any]:
    """Cold once for each of two folders (once for ``torch.compile``), warm twice after each."""
    times: dict[str, dict[str, list[float]]] = {
        kind: {state: [] for state in STATES} for kind in ("step", "process")
    }
    for _ in range(1 if library == libraries.TORCH_COMPILE or settings.small else 2):
        with tempfile.TemporaryDirectory() as folder:
            for state in ("cold", "warm", "warm"):
                begun = time.perf_counter()
                crew = Crew(library, settings.threads, caches(folder))
                try:
                    crew.ask("load")
                    answer = crew.ask(
                        "train", workload=name, file=file, small=settings.small, agreeing=True,
                        steps=1,
                    )  # fmt: skip
                    whole = time.perf_counter() - begun
                finally:
                    crew.close()
                times["step"][state].append(answer["first_step"])
                times["process"][state].append(whole)
    return {
        kind: {state: summary(values) for state, values in states.items()}
        for kind, states in times.items()
    }
