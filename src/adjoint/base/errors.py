"""Every user-visible message: what was asked, shapes and dtypes, the user's line, the fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adjoint.base.callsite import site, source, user_frame
from adjoint.base.wording import alignment, clash, clip, describe, dims, nearest, shorten, spelled

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


class NonFiniteError(AdjointError, ArithmeticError):
    """Under ``detect_anomaly``: an op made an infinity or a NaN from finite numbers."""


class MissingExtraError(AdjointError, ImportError):
    """An optional library is not installed."""


def build(
    kind: type[AdjointError], headline: str, *, hint: str = "", lines: Iterable[str] = ()
) -> AdjointError:
    """An error of class ``kind``: headline, detail lines, the user's line with a caret, hint (of
    several lines, if need be)."""
    parts = [headline, *(f"    {line}" for line in lines)]
    last = [f"    {line}" for line in hint.split("\n")] if hint else []
    frame = user_frame()
    where = [] if frame is None else [f"    {site(frame)}", *source(frame)]
    made = kind("\n".join([*parts, *where, *last]))
    made.brief = "\n".join([*parts, *last])
    return made


# --- dtypes -----------------------------------------------------------------------------------


def unknown_dtype(spec: object, known: Sequence[str]) -> AdjointError:
    name = spec.__name__ if isinstance(spec, type) else clip(spec)
    hint = nearest(spec, known) or (
        "there are bool, int8 to int64, uint8 to uint64, float16, bfloat16, float32 and float64"
    )
    return build(DTypeError, f"dtype: {name} is not a dtype Adjoint has", hint=hint)


def no_promotion(a: object, b: object, op: str = "promotion") -> AdjointError:
    names = " and ".join(str(getattr(d, "name", d)) for d in (a, b))
    return build(
        DTypeError,
        f"{op}: {names} have no common integer dtype",
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
    if value is None:
        what, advice = (
            "None as a tensor",
            "check where it was set: a function without a return gives None",
        )
    else:
        kind = type(value).__name__
        what = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} as a tensor: {clip(value)}"
        advice = hint or "make a tensor first: adjoint.tensor(value)"
    return build(DTypeError, f"{op}: cannot use {what}", hint=advice)


def not_a_number(op: str, value: object, path: str) -> AdjointError:
    kind = type(value).__name__
    what = f"the element {path}" if path else "the value"
    return build(
        DTypeError, f"{op}: {what} is a {kind}, not a number: {clip(value)}", hint=_numeric(kind)
    )


def not_an_array_of_numbers(op: str, array: object, dtype: str) -> AdjointError:
    return build(
        DTypeError,
        f"{op}: an array of dtype {dtype} does not hold numbers: {clip(array)}",
        hint=_numeric(dtype),
    )


def _numeric(kind: str) -> str:
    if kind.startswith(("str", "<U", ">U", "bytes", "|S")):
        return "number the classes first: {name: i for i, name in enumerate(sorted(set(names)))}"
    if kind == "NoneType":
        return "replace it by a number first, float('nan') say"
    if kind.startswith("complex"):
        return "there are no complex dtypes: keep x.real and x.imag as two tensors"
    return "tensors hold numbers and bools: convert what is neither, or leave it out"


def bad_argument(op: str, name: str, value: object, wanted: str) -> AdjointError:
    kind = type(value).__name__
    return build(
        DTypeError,
        f"{op}: {name} must be {wanted}, got {clip(value)} ({kind})",
        hint=f"check the order of the arguments, and where {name} comes from",
    )


def does_not_fit(op: str, value: float, dtype: str, bits: int, kind: str) -> AdjointError:
    low = -(2 ** (bits - 1)) if kind == "i" else 0
    high = 2 ** (bits - 1) - 1 if kind == "i" else 2**bits - 1
    hint = "convert the tensor to a wider dtype first: x.to(adjoint.int64), say"
    if kind == "f":
        return build(ArgumentError, f"{op}: {spelled(value)} does not fit into {dtype}", hint=hint)
    if bits == 64:
        hint = "for larger numbers use floats: float(value)"
        return build(ArgumentError, f"{op}: {spelled(value)} does not fit into {dtype}", hint=hint)
    return build(
        ArgumentError,
        f"{op}: {spelled(value)} does not fit into {dtype}, which holds {low} to {high}",
        hint=hint,
    )


# --- shapes -----------------------------------------------------------------------------------


def shape(op: str, what: str, *operands: object, hint: str = "") -> AdjointError:
    """``op: what: float32[2, 3] and float32[4]``, the general shape message."""
    shown = ": " + " and ".join(describe(o) for o in operands) if operands else ""
    return build(ShapeError, f"{op}: {what}{shown}", hint=hint)


def broadcast(op: str, *shapes: Shape) -> AdjointError:
    shown = " with ".join(dims(s) for s in shapes)
    return build(
        ShapeError, f"{op}: shapes do not broadcast: {shown}{clash(shapes)}", hint=alignment(shapes)
    )


def expand(old: Shape, new: Shape) -> AdjointError:
    hint = "a size of 1 can be repeated, other sizes must stay (-1 keeps them)"
    if len(new) < len(old):
        hint = f"name all {len(old)} axes; new ones come first"
    return build(ShapeError, f"expand: cannot repeat {dims(old)} to {dims(new)}", hint=hint)


def inner_sizes(op: str, a: object, b: object) -> AdjointError:
    sa: list[int] = list(getattr(a, "shape", ()))
    sb: list[int] = list(getattr(b, "shape", ()))
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
    if any(size < -1 for size in new):
        hint = "a size is positive, 0, or once -1 to be worked out"
    elif list(new).count(-1) > 1:
        hint = "only one size may be -1, the others have to be given"
    elif -1 in new:
        hint = f"the sizes given multiply to {spelled(wanted)}, which does not divide {count}"
    else:
        hint = (
            f"the sizes must multiply to {count}, these multiply to {spelled(wanted)}; "
            "one size may be -1 to be worked out"
        )
    return build(ShapeError, f"reshape: cannot make {dims(old)} into {dims(new)}", hint=hint)


def bad_size(op: str, value: object) -> AdjointError:
    return build(
        DTypeError,
        f"{op}: a size must be an integer, got {clip(value)} ({type(value).__name__})",
        hint="use // for whole division, or int(size)",
    )


def negative_size(op: str, sizes: Sequence[int]) -> AdjointError:
    return build(
        ShapeError,
        f"{op}: a size cannot be negative: {dims(sizes)}",
        hint="check how it was computed; only reshape and expand know a size of -1",
    )


def too_large(op: str, sizes: Sequence[int], nbytes: int) -> AdjointError:
    power = max(min((nbytes.bit_length() - 1) // 10, 6), 0)
    amount = spelled(nbytes >> 10 * power)
    unit = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")[power]
    return build(
        ShapeError,
        f"{op}: {dims(sizes)} needs {amount} {unit}, more than can be allocated",
        hint="check the sizes; device='meta' builds shapes without memory",
    )


def out_of_memory(op: str, problem: object, operands: Iterable[object]) -> AdjointError:
    return build(
        ShapeError,
        f"{op}: not enough memory: {shorten(str(problem) or 'no more can be had', 90)}",
        lines=[f"operands: {' and '.join(describe(o) for o in operands)}"],
        hint="check the shapes for an unwanted broadcast, or work in smaller batches",
    )


def axis(op: str, value: object, ndim: int, of: str = "a tensor") -> AdjointError:
    if not isinstance(value, int) or isinstance(value, bool):
        return build(
            DTypeError,
            f"{op}: an axis must be an integer, got {clip(value)}",
            hint="dim=0 is the first axis, dim=-1 the last",
        )
    have = f"{ndim} axis" if ndim == 1 else f"{ndim} axes"
    span = f"0 to {ndim - 1}, or {-ndim} to -1 counted from the end" if ndim else "none"
    if ndim == 1:
        span = "0, or -1 counted from the end"
    return build(
        IndexingError,
        f"{op}: axis {spelled(value)} is out of range for {of} with {have}",
        hint=f"allowed: {span}" if ndim else "a 0-d tensor is a single number, without axes",
    )


def repeated_axis(op: str, axes: Sequence[int]) -> AdjointError:
    return build(
        IndexingError,
        f"{op}: an axis is named twice: {dims(axes)}",
        hint="name each axis once; -1 and the last axis are the same",
    )


# --- values, indexing, arguments --------------------------------------------------------------


def index(
    what: str, *, hint: str = "", kind: type[AdjointError] = IndexingError, op: str = "indexing"
) -> AdjointError:
    return build(kind, f"{op}: {what}", hint=hint)


def out_of_range(
    op: str, value: int, axis: int | None, size: int, of: object = None, least: int | None = None
) -> AdjointError:
    """``least``: the smallest index, if negative ones do not count from the end."""
    shown = "" if of is None else f": {describe(of)}"
    place = "an axis" if axis is None else f"axis {axis}"
    first = -size if least is None else least
    return build(
        IndexingError,
        f"{op}: index {spelled(value)} is out of range for {place} of size {size}{shown}",
        hint=f"allowed: {first} to {size - 1}" if size else "there is nothing to choose from",
    )


def argument(op: str, what: str, *, hint: str = "") -> AdjointError:
    return build(ArgumentError, f"{op}: {what}", hint=hint)


def linear_algebra(op: str, what: str) -> AdjointError:
    return build(
        ArgumentError,
        f"{op}: {what}",
        hint="check the input (isfinite, matrix_rank), or add a small multiple of the identity",
    )


def unknown_name(op: str, name: object, known: Iterable[str]) -> AdjointError:
    known = list(known)
    hint = nearest(name, known) or "known: " + ", ".join(known)
    return build(ArgumentError, f"{op}: {clip(name)} is not known", hint=hint)


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
        hint="reduce it first (.mean(), .sum()), pick one (x[0]), or use .tolist()",
    )


def ambiguous_truth(value: object) -> AdjointError:
    return build(
        ShapeError,
        f"bool: the truth of a tensor with more than one element is ambiguous: {describe(value)}",
        hint="say which is meant, .any() or .all(); adjoint.where(cond, a, b) chooses per element",
    )


def missing_extra(package: str, extra: str, why: str) -> AdjointError:
    return build(
        MissingExtraError,
        f"{why}: the package {package!r} is not installed",
        hint=f"pip install 'adjoint[{extra}]'",
    )


# --- derivatives and recording ------------------------------------------------------------------


def grad(what: str, *, hint: str = "") -> AdjointError:
    return build(GradError, what, hint=hint)


def gradcheck(what: str, *, lines: Iterable[str] = (), hint: str = "") -> AdjointError:
    return build(GradcheckError, f"gradcheck: {what}", lines=lines, hint=hint)


def nonfinite(name: str, value: object, what: str, inputs: Sequence[str]) -> AdjointError:
    """``log: made -inf in 1 of 4 elements``, with the ranges of what went in."""
    return build(
        NonFiniteError, f"{name}: made {what}: {describe(value)}", lines=inputs,
        hint="keep the input in range: clamp it, add a small eps, or lower the learning rate",
    )  # fmt: skip


def in_gradient_of(node: object, problem: NonFiniteError) -> AdjointError:
    """The same error, saying which forward op was being differentiated."""
    op, born = getattr(node, "op", None), getattr(node, "site", None)
    name = getattr(node, "params", {}).get("region", getattr(op, "name", "leaf"))
    if "in the gradient of" in problem.message:
        return problem
    lines = problem.message.split("\n")
    lines.insert(1, f"    in the gradient of {name}" + (f", computed {born}" if born else ""))
    return NonFiniteError("\n".join(lines))


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
        f"backward: the graph was already used, and released (first missing: the inputs of '{op}')",
        hint="call backward(retain_graph=True) the first time, or compute the loss again",
    )


def inplace_leaf(op: str, value: object) -> AdjointError:
    return build(
        GradError,
        f"{op}: in-place change of a leaf that requires grad: {describe(value)}",
        hint="wrap the update in `with adjoint.no_grad():`",
    )


def abstract_value(
    op: str, value: object, born: str | None, sources: Sequence[str] = ()
) -> AdjointError:
    """``sources``: the inputs of the recording that ``value`` depends on."""
    by = sources[0].rpartition(" of ")[2] if sources else "a transform"
    lines = [f"it was made {born}"] if born else []
    lines += [f"it depends on {', '.join(sources)}"] if sources else []
    if op == "bool":
        first = "choose by value with adjoint.where(condition, a, b)"
    elif op in ("numpy", "dlpack"):
        first = "use Adjoint's functions here instead of NumPy's"
    else:
        first = "keep computing with the tensor instead of a Python number"
    return build(
        RecordingError,
        f"{op}: {describe(value)} has no value: {by} is only recording the function",
        lines=lines,
        hint=f"{first},\nor pass what decides as a Python value, not as a tensor,\n"
        "or do this step outside of the function",
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
        f"{op}: {describe(value)} has no value: it was left over from a recording that has ended",
        lines=[f"it was made {born}" if born.startswith("at ") else f"it is {born}"]
        if born
        else [],
        hint="return it from the transformed function instead of storing it outside",
    )
