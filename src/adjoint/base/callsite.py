"""Where the user is: the innermost frame outside this package, and its line with a caret."""

from __future__ import annotations

import inspect
import linecache
import os
from types import FrameType

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_frame() -> FrameType | None:
    """The innermost frame outside this package: where the user made the call."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return frame


def site(frame: FrameType | None = None) -> str:
    """``at model.py:41 in Head.__call__`` for the user's frame, or an empty string."""
    frame = frame or user_frame()
    if frame is None:
        return ""
    code = frame.f_code
    where = "" if code.co_qualname == "<module>" else f" in {code.co_qualname}"
    return f"at {_short(code.co_filename)}:{frame.f_lineno}{where}"


def source(frame: FrameType) -> list[str]:
    """The user's source line and a caret line under the sub-expression that called us."""
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).rstrip("\n")
    if not text.strip():
        return []
    indent = len(text) - len(text.lstrip())
    lines = [f"        {text.strip()}"]
    caret = _caret(frame, text)
    return lines if caret is None else [*lines, "        " + caret[indent:]]


def _caret(frame: FrameType, text: str) -> str | None:
    """Spaces and carets as wide as ``text``: what of the line is being evaluated."""
    positions = list(frame.f_code.co_positions())
    index = frame.f_lasti // 2
    if not 0 <= index < len(positions):
        return None
    first, last, start, end = positions[index]
    if first != frame.f_lineno or start is None or end is None:
        return None
    raw = text.encode()  # columns are counted in bytes
    left = len(raw[:start].decode(errors="ignore"))
    right = len(raw[:end].decode(errors="ignore")) if last == first else len(text)
    return " " * left + "^" * (right - left)


def _short(path: str) -> str:
    relative = os.path.relpath(path) if os.path.isabs(path) else path
    return path if relative.startswith("..") else relative
