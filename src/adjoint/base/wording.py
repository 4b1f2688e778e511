"""How values, shapes and names read in a message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

Shape = tuple[int, ...]


def nearest(name: object, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` when some known name is close to ``name``, else an empty string."""
    if not isinstance(name, str):
        return ""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def describe(value: object) -> str:
    """``float32[2, 3]`` for anything with dtype and shape, else the type's name."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None:
        return type(value).__name__
    name = getattr(dtype, "name", str(dtype))
    return f"{name}[{dims(shape)[1:-1].rstrip(',')}]"


def dims(shape: Sequence[int]) -> str:
    """``(2, 3)``; what does not fit a line is left out."""
    sizes = [spelled(s) for s in shape]
    if len(sizes) > 12:
        sizes[8:-2] = ["..."]
    return "(" + ", ".join(sizes) + ("," if len(sizes) == 1 else "") + ")"


def clip(value: object) -> str:
    """How the value prints, on one short line."""
    try:
        return shorten(repr(value))
    except ValueError:  # Python does not print integers of more than 4300 digits
        return "a number too long to print"


def shorten(text: str, limit: int = 60) -> str:
    """The text on one line of at most ``limit`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def spelled(value: float) -> str:
    if isinstance(value, float) or abs(value) < 10**24:
        return str(value)
    return f"{'-' * (value < 0)}2**{abs(value).bit_length() - 1} or more"


def clash(shapes: Sequence[Shape]) -> str:
    rank = max((len(s) for s in shapes), default=0)
    for back in range(1, rank + 1):
        sizes = {s[-back] for s in shapes if len(s) >= back and s[-back] != 1}
        if len(sizes) > 1:
            return f" — axis {-back} has sizes {' and '.join(spelled(s) for s in sorted(sizes))}"
    return ""


def alignment(shapes: Sequence[Shape]) -> str:
    if len(shapes) == 2 and len(shapes[0]) != len(shapes[1]):
        long, short = sorted(shapes, key=len, reverse=True)
        if short and long[: len(short)] == short:
            return (
                f"broadcasting aligns the last axes; to align the first, use "
                f"x[{', '.join([':'] * len(short) + ['None'] * (len(long) - len(short)))}]"
            )
    if len(shapes) == 2 and shapes[0] == shapes[1][::-1]:
        return "one operand looks transposed: did you mean x.T?"
    return "sizes must be equal or 1, compared from the last axis"
