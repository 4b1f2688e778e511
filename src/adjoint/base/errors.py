"""Every user-visible message: what was asked, shapes and dtypes, the user's line, the fix."""

from __future__ import annotations

import difflib
import linecache
import os
import sys
from collections.abc import Iterable, Sequence
from types import FrameType

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
Shape = tuple[int, ...]


class AdjointError(RuntimeError):
    """Base of every error Adjoint raises on purpose.

    ``modules`` is filled on the way up by ``nn.Module.__call__`` with the path of the module.
    ``brief`` is the message without the user's line, for where no line of theirs is involved.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = self.brief = message
        self.module_path: str | None = None

    def __str__(self) -> str:
        if self.module_path is None:
            return self.message
        return f"{self.module_path}\n{self.message}"


class ShapeError(AdjointError, ValueError):
    """Sizes do not fit together."""


class DTypeError(AdjointError, TypeError):
    """A dtype or a Python type is not what the operation takes."""


class IndexingError(AdjointError, IndexError):
    """An axis or an index is out of range or of the wrong kind."""


class ArgumentError(AdjointError, ValueError):
    """An argument has a value the operation cannot take."""


class GradError(AdjointError):
    """A derivative was asked for that cannot be given."""


class GradcheckError(GradError, AssertionError):
    """A derivative does not agree with finite differences, or cannot be compared with them."""


class RecordingError(AdjointError):
    """A value was asked for while the program is only being recorded."""


class MissingExtraError(AdjointError, ImportError):
    """An optional library is not installed."""


def user_frame() -> FrameType | None:
    """The innermost frame outside this package: where the user made the call."""
    frame: FrameType | None = sys._getframe(1)
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


def build(
    kind: type[AdjointError], headline: str, *, hint: str = "", lines: Iterable[str] = ()
) -> AdjointError:
    """An error of class ``kind``: headline, detail lines, the user's line with a caret, hint."""
    parts = [headline, *(f"    {line}" for line in lines)]
    last = [f"    {hint}"] if hint else []
    frame = user_frame()
    where = [] if frame is None else [f"    {site(frame)}", *_source(frame)]
    made = kind("\n".join([*parts, *where, *last]))
    made.brief = "\n".join([*parts, *last])
    return made


def _short(path: str) -> str:
    relative = os.path.relpath(path) if os.path.isabs(path) else path
    return path if relative.startswith("..") else relative


def _source(frame: FrameType) -> list[str]:
    """The user's source line and a caret line under the sub-expression that called us."""
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).rstrip("\n")
    if not text.strip():
        return []
    indent = len(text) - len(text.lstrip())
    lines = [f"        {text.strip()}"]
    positions = list(frame.f_code.co_positions())
    index = frame.f_lasti // 2
    if 0 <= index < len(positions):
        first, last, start, end = positions[index]
        if first == last == frame.f_lineno and start is not None and end is not None:
            if start >= indent and end - start < len(text.strip()):
                lines.append("        " + " " * (start - indent) + "^" * (end - start))
    return lines


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` when some known name is close to ``name``, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def describe(value: object) -> str:
    """``float32[2, 3]`` for anything with dtype and shape, else the type's name."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None:
        return type(value).__name__
    name = getattr(dtype, "name", str(dtype))
    return f"{name}[{', '.join(str(s) for s in shape)}]"


def dims(shape: Sequence[int]) -> str:
    return "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"


# --- dtypes -----------------------------------------------------------------------------------


def unknown_dtype(spec: object, known: Sequence[str]) -> AdjointError:
    hint = nearest(str(spec), known) or "known dtypes: " + ", ".join(known)
    return build(DTypeError, f"dtype: {spec!r} is not a dtype Adjoint has", hint=hint)


def no_promotion(a: object, b: object) -> AdjointError:
    return build(
        DTypeError,
        f"promotion: {a} and {b} have no common integer type",
        hint="convert one of them first: x.to(adjoint.int64)",
    )


def wrong_dtype(op: str, got: object, wanted: str, *, hint: str = "") -> AdjointError:
    name = getattr(got, "name", got)
    return build(DTypeError, f"{op}: got {name}, needs {wanted}", hint=hint)


def mixed_dtypes(op: str, *operands: object) -> AdjointError:
    shown = " and ".join(describe(o) for o in operands)
    return build(
        DTypeError,
        f"{op}: operands have different dtypes: {shown}",
        hint="convert one side, for example the data: x = x.float() (or x.to(weight.dtype))",
    )


def not_a_tensor(op: str, value: object, *, hint: str = "") -> AdjointError:
    return build(
        DTypeError,
        f"{op}: cannot use a {type(value).__name__} as a tensor: {_clip(value)}",
        hint=hint or "make a tensor first: adjoint.tensor(value)",
    )


# --- shapes -----------------------------------------------------------------------------------


def shape(op: str, what: str, *operands: object, hint: str = "") -> AdjointError:
    """``op: what: float32[2, 3] and float32[4]``, the general shape message."""
    shown = ": " + " and ".join(describe(o) for o in operands) if operands else ""
    return build(ShapeError, f"{op}: {what}{shown}", hint=hint)


def broadcast(op: str, *shapes: Shape) -> AdjointError:
    shown = " with ".join(dims(s) for s in shapes)
    return build(
        ShapeError, f"{op}: shapes do not broadcast: {shown}{_clash(shapes)}", hint=_align(shapes)
    )


def inner_sizes(op: str, a: object, b: object) -> AdjointError:
    sa: Shape = tuple(getattr(a, "shape", ()))
    sb: Shape = tuple(getattr(b, "shape", ()))
    inner = sb[-2] if len(sb) > 1 else sb[-1]
    hint = "the last axis of the left operand must equal the second-to-last of the right one"
    if len(sb) > 1 and sa[-1] == sb[-1]:
        hint = f"the right operand looks transposed: its last axis is {sb[-1]}; did you mean w.T?"
    elif len(sa) > 1 and sa[-2] == inner:
        hint = "the left operand looks transposed: did you mean x.T?"
    return build(
        ShapeError,
        f"{op}: inner sizes differ: {dims(sa)} @ {dims(sb)} — {sa[-1]} against {inner}",
        lines=[f"operands: {describe(a)} and {describe(b)}"],
        hint=hint,
    )


def reshape(old: Shape, new: Sequence[int], count: int) -> AdjointError:
    wanted = 1
    for size in new:
        wanted *= size if size != -1 else 1
    hint = f"the sizes must multiply to {count}"
    if -1 not in new:
        hint += f", these multiply to {wanted}; one size may be -1 to be worked out"
    elif wanted:
        hint += f"; without the -1 these multiply to {wanted}, which does not divide it"
    return build(ShapeError, f"reshape: cannot make {dims(old)} into {dims(new)}", hint=hint)


def bad_size(op: str, value: object) -> AdjointError:
    return build(
        DTypeError,
        f"{op}: a size must be an integer, got {_clip(value)} ({type(value).__name__})",
        hint="use // for whole division, or int(size)",
    )


def negative_size(op: str, sizes: Sequence[int]) -> AdjointError:
    return build(ShapeError, f"{op}: a size cannot be negative: {dims(sizes)}")


def too_large(op: str, sizes: Sequence[int], nbytes: int) -> AdjointError:
    return build(
        ShapeError,
        f"{op}: {dims(sizes)} needs {nbytes / 2**30:.3g} GiB, more than can be allocated",
        hint="check the sizes; device='meta' builds shapes without memory",
    )


def axis(op: str, value: object, ndim: int) -> AdjointError:
    if not isinstance(value, int):
        return build(
            DTypeError, f"{op}: an axis must be an integer, got {_clip(value)}", hint="dim=0, say"
        )
    span = f"{-ndim} to {ndim - 1}" if ndim else "none: the tensor is 0-d"
    return build(
        IndexingError,
        f"{op}: axis {value} is out of range for {ndim} dimensions",
        hint=f"allowed: {span}",
    )


def repeated_axis(op: str, axes: Sequence[int]) -> AdjointError:
    return build(IndexingError, f"{op}: an axis is named twice: {dims(axes)}")


# --- values, indexing, arguments --------------------------------------------------------------


def index(what: str, *, hint: str = "", kind: type[AdjointError] = IndexingError) -> AdjointError:
    return build(kind, f"indexing: {what}", hint=hint)


def argument(op: str, what: str, *, hint: str = "") -> AdjointError:
    return build(ArgumentError, f"{op}: {what}", hint=hint)


def unknown_name(op: str, name: str, known: Iterable[str]) -> AdjointError:
    known = list(known)
    hint = nearest(name, known) or "known: " + ", ".join(known)
    return build(ArgumentError, f"{op}: {name!r} is not known", hint=hint)


def ragged(where: str) -> AdjointError:
    return build(
        ShapeError,
        f"tensor: the nested list is ragged: {where}",
        hint="all rows need the same length; pad them, or keep a list of tensors",
    )


def not_scalar(op: str, value: object) -> AdjointError:
    return build(
        ShapeError,
        f"{op}: only a tensor with one element has a Python value, got {describe(value)}",
        hint="reduce it first (.mean(), .sum()), or use .tolist()",
    )


def ambiguous_truth(value: object) -> AdjointError:
    return build(
        ShapeError,
        f"bool: the truth of a tensor with more than one element is ambiguous: {describe(value)}",
        hint="use .any() or .all(), or adjoint.where(condition, a, b)",
    )


def missing_extra(package: str, extra: str, why: str) -> AdjointError:
    return build(
        MissingExtraError,
        f"{why} needs the package {package!r}: pip install 'adjoint[{extra}]'",
    )


# --- derivatives and recording ------------------------------------------------------------------


def grad(what: str, *, hint: str = "") -> AdjointError:
    return build(GradError, what, hint=hint)


def gradcheck(what: str, *, lines: Iterable[str] = (), hint: str = "") -> AdjointError:
    return build(GradcheckError, f"gradcheck: {what}", lines=lines, hint=hint)


def no_graph(value: object) -> AdjointError:
    return build(
        GradError,
        f"backward: {describe(value)} has no graph: nothing it was computed from requires grad",
        hint="set requires_grad=True on an input, and compute outside no_grad()",
    )


def seed_needed(value: object) -> AdjointError:
    return build(
        GradError,
        f"backward: a gradient starts from one number, this is {describe(value)}",
        hint="reduce it (.sum() or .mean()), or pass gradient= of the same shape",
    )


def released(op: str) -> AdjointError:
    return build(
        GradError,
        f"backward: the graph was already used and released (at '{op}')",
        hint="call backward(retain_graph=True) the first time, or compute the loss again",
    )


def inplace_leaf(op: str, value: object) -> AdjointError:
    return build(
        GradError,
        f"{op}: in-place change of a leaf that requires grad: {describe(value)}",
        hint="wrap the update in `with adjoint.no_grad():`",
    )


def abstract_value(op: str, value: object, born: str | None) -> AdjointError:
    lines = [f"the tensor was made {born}"] if born else []
    return build(
        RecordingError,
        f"{op}: {describe(value)} has no value while the program is only being recorded",
        lines=lines,
        hint="use adjoint.where for a choice, pass the number in as an argument, "
        "or take this line out of the transformed function",
    )


def meta_value(op: str, value: object) -> AdjointError:
    return build(
        RecordingError,
        f"{op}: {describe(value)} lives on the 'meta' device: it has a shape but no data",
        hint="build it on device='cpu' to compute",
    )


def leaked(op: str, value: object, born: str | None) -> AdjointError:
    return build(
        RecordingError,
        f"{op}: {describe(value)} was left over from a recording that has ended",
        lines=[f"it was made {born}"] if born else [],
        hint="return it from the transformed function instead of storing it outside",
    )


def _clip(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _clash(shapes: Sequence[Shape]) -> str:
    rank = max((len(s) for s in shapes), default=0)
    for back in range(1, rank + 1):
        sizes = {s[-back] for s in shapes if len(s) >= back and s[-back] != 1}
        if len(sizes) > 1:
            return f" — axis {-back} has sizes {' and '.join(str(s) for s in sorted(sizes))}"
    return ""


def _align(shapes: Sequence[Shape]) -> str:
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
