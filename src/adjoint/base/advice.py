"""Warnings of training that goes wrong without an error: said once for each line, with the fix."""

from __future__ import annotations

import warnings

from adjoint.base.callsite import user_frame


class TrainingWarning(UserWarning):
    """A program that runs, and most likely does not compute what was meant."""


def advise(what: str, *, hint: str) -> None:
    """Warn at the user's line, like ``warnings.warn`` there: by default once for each line."""
    message = f"{what}. {hint}"
    frame = user_frame()
    if frame is None:
        warnings.warn(message, TrainingWarning, stacklevel=2)
        return
    names = frame.f_globals
    warnings.warn_explicit(
        message, TrainingWarning, frame.f_code.co_filename, frame.f_lineno,
        names.get("__name__"), names.setdefault("__warningregistry__", {}),
    )  # fmt: skip
