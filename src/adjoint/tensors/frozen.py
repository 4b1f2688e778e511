"""Random numbers of Python or NumPy inside a captured function: drawn once, the same in every run."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from adjoint.base.advice import advise


@contextmanager
def host_randomness(name: str) -> Generator[None]:
    """Warn when the global generator of ``random`` or ``numpy.random`` moves inside the block.

    A generator object (``np.random.default_rng()``) is not seen; ``jit(check=True)`` finds it.
    """
    before = _states()
    yield
    for (library, old), (_, new) in zip(before, _states(), strict=False):
        if old != new:
            advise(
                f"jit: {name} draws numbers from {library}: they are drawn while it is recorded, "
                "and every run gets the same",
                hint="Use adjoint's random functions, which go on from run to run, or pass the "
                "numbers as an argument",
            )


def _states() -> list[tuple[str, Any]]:
    """The state of each library's global generator that was imported."""
    found: list[tuple[str, Any]] = []
    host = sys.modules.get("random")
    if host is not None:
        found.append(("random", host.getstate()))
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        inner = numpy.get_state(legacy=False)["state"]
        found.append(("numpy.random", (inner["pos"], inner["key"].tobytes())))
    return found
