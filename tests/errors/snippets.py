"""Run a snippet as if it stood in a file of the user's, and take its message."""

from __future__ import annotations

import contextlib
import io
import linecache
import sys
from typing import Any
from unittest.mock import patch

import numpy as np

import adjoint
from tests.errors.derivative_mistakes import DERIVATIVES
from tests.errors.mistakes import DATA, INDEXING, SHAPES, Mistake
from tests.errors.module_mistakes import LAYERS, TRAINING

MISTAKES = [*SHAPES, *DATA, *INDEXING, *DERIVATIVES, *LAYERS, *TRAINING]
HEAD = "The message for each mistake in tests/errors; python -m tests.errors.regenerate writes it."


def failure(mistake: Mistake) -> BaseException | None:
    """What the snippet raises, or None."""
    file = f"{mistake.name}.py"
    lines = [f"{line}\n" for line in mistake.code.split("\n")]
    linecache.cache[file] = (len(mistake.code), None, lines, file)
    namespace: dict[str, Any] = {
        "adjoint": adjoint, "nn": adjoint.nn, "optim": adjoint.optim, "np": np,
        "__name__": "__main__",
    }  # fmt: skip
    try:
        with contextlib.redirect_stdout(io.StringIO()), patch.dict(sys.modules):
            exec(compile(mistake.code, file, "exec"), namespace)
    except Exception as error:
        return error
    finally:
        del linecache.cache[file]
    return None


def golden_text() -> str:
    """All messages, each under the name of its mistake."""
    parts = [HEAD]
    for mistake in MISTAKES:
        error = failure(mistake)
        parts.append(f"--- {mistake.name}: {type(error).__name__}\n{error}")
    return "\n\n".join(parts) + "\n"
