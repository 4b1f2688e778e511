"""Random numbers of Python or NumPy inside a captured function: drawn once, the same ever after."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from adjoint.base.advice import advise

FRESH = 624  # where a Mersenne twister stands before its first draw


@contextmanager
def host_randomness(name: str) -> Generator[None]:
    """Warn when the global generator of ``random`` or ``numpy.random`` moves inside the block.

    A generator object (``np.random.default_rng()``) is not seen; ``jit(check=True)`` finds it.
    """
    before = _states()
    yield
    for library, (place, content) in _states().items():
        if before.get(library, (FRESH, content)) != (place, content):
            advise(
                f"jit: {name} draws numbers from {library}: they are drawn while it is recorded, "
                "and every run gets the same",
                hint="Use adjoint's random functions, which go on from run to run, or pass the "
                "numbers as an argument",
            )


def _states() -> dict[str, tuple[int, Any]]:
    """Place and content of each library's global generator, if the library was imported."""
    found: dict[str, tuple[int, Any]] = {}
    host = sys.modules.get("random")
    if host is not None:
        words = host.getstate()[1]
        found["random"] = words[-1], words[:-1]
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        inner = numpy.get_state(legacy=False)["state"]
        found["numpy.random"] = int(inner["pos"]), inner["key"].tobytes()
    return found
