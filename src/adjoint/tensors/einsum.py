"""Einstein summation: an equation becomes a short list of ops, two operands at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from adjoint import ops
from adjoint.base import errors
from adjoint.base.shape import Shape, numel
from adjoint.ir.node import Op, Params, apply
from adjoint.tensors.handle import node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

Labels = tuple[str, ...]  # a letter; "...0", "...1" are the axes of an ellipsis, from the last
Sizes = dict[str, int]


class Term(NamedTuple):
    """A value of the program that a plan is, with a name for each axis."""

    place: int
    labels: Labels
    shape: Shape


class Plan:
    """The ops that compute one equation for operands of given shapes: (op, places of its
    arguments, params), where the operands have the first places and each op takes the next."""

    def __init__(self, count: int) -> None:
        self.steps: list[tuple[Op, tuple[int, ...], Params]] = []
        self.last = count - 1

    def add(self, op: Op, *places: int, **params: Any) -> int:
        self.steps.append((op, places, params))
        self.last += 1
        return self.last

    def reshaped(self, place: int, old: Shape, new: Shape) -> int:
        return place if old == new else self.add(ops.reshape, place, shape=new)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sum of products over named axes: ``einsum("bij,bjk->bik", x, y)`` is a batched product.

    A letter names an axis. Letters missing after ``->`` are summed over; without ``->`` the result
    has the letters that occur once, in alphabetical order. A letter twice in one operand takes its
    diagonal, ``...`` stands for axes that broadcast, axes of size 1 broadcast. More than two
    operands are contracted in pairs, the smallest result first. Raises ArgumentError for an
    equation that cannot be read, ShapeError for sizes that differ, DTypeError for mixed dtypes.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    values = [node_of(x, "einsum") for x in operands]
    for node in values[1:]:
        if node.dtype is not values[0].dtype:
            raise errors.mixed_dtypes("einsum", values[0], node)
    if not isinstance(equation, str):
        raise errors.argument(
            "einsum", f"the first argument is the equation, got {equation!r:.60}",
            hint='a product is einsum("ij,jk->ik", x, y)',
        )  # fmt: skip
    found = plan(equation, tuple(n.shape for n in values))
    for op, places, params in found.steps:
        values.append(apply(op, tuple(values[i] for i in places), params))
    return wrap(values[found.last] if found.steps else ops.copy(values[0]))


@lru_cache(maxsize=1024)
def plan(equation: str, shapes: tuple[Shape, ...]) -> Plan:
    """How to compute ``equation``; made once per equation and shapes."""
    labels, result = parse(equation, tuple(len(s) for s in shapes))
    made = Plan(len(shapes))
    terms = [
        _diagonal(made, Term(i, t, s), equation)
        for i, (t, s) in enumerate(zip(labels, shapes, strict=True))
    ]
    sizes = _sizes(terms, equation)
    terms = [_without_ones(made, t, sizes) for t in terms]
    while len(terms) > 1:
        i, j = _next_pair(terms, result, sizes)
        first, second = terms[i], terms[j]
        terms = [t for at, t in enumerate(terms) if at not in (i, j)]
        keep = set(result).union(*(t.labels for t in terms))
        terms.append(_contract(made, first, second, keep))
    _ordered(made, _summed(made, terms[0], set(result)), result)
    return made


def parse(equation: str, ranks: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """The labels of every operand and of the result; raises ArgumentError with the reason."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise _unreadable(equation, f"it names {len(terms)} operands, {len(ranks)} were given")
    operands = tuple(_term(equation, term, rank) for term, rank in zip(terms, ranks, strict=True))
    every = [label for labels in operands for label in labels]
    dots = sorted({label for label in every if len(label) > 1}, key=_dot_order)
    if not arrow:
        once = sorted(label for label in every if len(label) == 1 and every.count(label) == 1)
        return operands, (*dots, *once)
    letters = _letters(equation, right)
    for letter in letters:
        if letter != "..." and letter not in every:
            raise _unreadable(equation, f"{letter!r} of the result is in no operand")
        if letters.count(letter) > 1:
            raise _unreadable(equation, f"{letter!r} occurs twice in the result")
    result: list[str] = []
    for letter in letters:
        result.extend(dots if letter == "..." else [letter])
    return operands, tuple(result)


def _dot_order(label: str) -> int:
    return -int(label[3:])


def _term(equation: str, term: str, rank: int) -> Labels:
    letters = _letters(equation, term)
    named = len([letter for letter in letters if letter != "..."])
    if letters.count("...") > 1:
        raise _unreadable(equation, f"... occurs twice in {term!r}")
    if named > rank or (named < rank and "..." not in letters):
        raise _unreadable(
            equation, f"{term!r} names {named} axes of an operand with {rank} dimensions",
            hint="add ... for the axes without a name" if named < rank else "",
        )  # fmt: skip
    labels: list[str] = []
    for letter in letters:
        labels.extend(
            [f"...{k}" for k in reversed(range(rank - named))] if letter == "..." else [letter]
        )
    return tuple(labels)


def _letters(equation: str, term: str) -> list[str]:
    """``term`` cut into letters and ``...``."""
    found: list[str] = []
    rest = term
    while rest:
        if rest.startswith("..."):
            found.append("...")
            rest = rest[3:]
            continue
        if not (rest[0].isascii() and rest[0].isalpha()):
            raise _unreadable(equation, f"{rest[0]!r} is neither a letter nor ...")
        found.append(rest[0])
        rest = rest[1:]
    return found


def _unreadable(equation: str, why: str, hint: str = "") -> errors.AdjointError:
    return errors.argument(
        "einsum", f"cannot read {equation!r}: {why}", hint=hint or 'a product is "ij,jk->ik"'
    )


def _diagonal(made: Plan, term: Term, equation: str) -> Term:
    """One axis for each label: a repeated one becomes the diagonal, last."""
    place, labels, shape = term
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            n = shape[i]
            if shape[j] != n:
                raise errors.shape(
                    "einsum", f"{label!r} of {equation!r} has sizes {n} and {shape[j]}: {shape}",
                    hint="a letter twice in one operand is a diagonal: its axes need one size",
                )  # fmt: skip
            rest = [k for k in range(len(shape)) if k not in (i, j)]
            lead = tuple(shape[k] for k in rest)
            place = made.add(ops.permute, place, axes=(*rest, i, j))
            place = made.add(ops.reshape, place, shape=(*lead, n * n))
            place = made.add(
                ops.slice, place, starts=(0,) * (len(lead) + 1), sizes=(*lead, n),
                steps=(*(1,) * len(lead), n + 1),
            )  # fmt: skip
            labels, shape = (*(labels[k] for k in rest), label), (*lead, n)
    return Term(place, labels, shape)


def _sizes(terms: Sequence[Term], equation: str) -> Sizes:
    """The size of every label; size 1 gives way."""
    sizes: Sizes = {}
    for term in terms:
        for label, n in zip(term.labels, term.shape, strict=True):
            known = sizes.get(label, 1)
            if n != known and 1 not in (n, known):
                name = "..." if len(label) > 1 else label
                shown = " and ".join(errors.dims(t.shape) for t in terms)
                raise errors.shape(
                    "einsum", f"{name!r} of {equation!r} has sizes {known} and {n}: {shown}",
                    hint="axes of one name need one size (or 1); compare the equation with .shape",
                )  # fmt: skip
            sizes[label] = known if n == 1 else n
    return sizes


def _without_ones(made: Plan, term: Term, sizes: Sizes) -> Term:
    """Drop the axes of size 1 that stand for a larger one: they are constant along it."""
    keep = [k for k, label in enumerate(term.labels) if term.shape[k] == sizes[label]]
    shape = tuple(term.shape[k] for k in keep)
    place = made.reshaped(term.place, term.shape, shape)
    return Term(place, tuple(term.labels[k] for k in keep), shape)


def _next_pair(terms: Sequence[Term], result: Labels, sizes: Sizes) -> tuple[int, int]:
    """The two terms whose product adds least to what must be held, then costs least; those with
    a common label first. Source: Gray and Kourtis, "Hyper-optimized tensor network contraction",
    2021 (greedy)."""
    best: tuple[bool, int, int, int, int] | None = None
    for j in range(1, len(terms)):
        for i in range(j):
            first, second = set(terms[i].labels), set(terms[j].labels)
            others = [t.labels for at, t in enumerate(terms) if at not in (i, j)]
            kept = (first | second) & set(result).union(*others)
            grown = numel([sizes[label] for label in kept])
            grown -= numel(terms[i].shape) + numel(terms[j].shape)
            work = numel([sizes[label] for label in first | second])
            key = (not first & second, grown, work, i, j)
            best = key if best is None else min(best, key)
    assert best is not None
    return best[3], best[4]


def _contract(made: Plan, first: Term, second: Term, keep: set[str]) -> Term:
    """The product of two terms, summed over the labels that are not in ``keep``."""
    a = _summed(made, first, keep | set(second.labels))
    b = _summed(made, second, keep | set(first.labels))
    batch = tuple(x for x in a.labels if x in b.labels and x in keep)
    summed = tuple(x for x in a.labels if x in b.labels and x not in keep)
    rows = tuple(x for x in a.labels if x not in b.labels)
    columns = tuple(x for x in b.labels if x not in a.labels)
    sizes = dict(zip((*a.labels, *b.labels), (*a.shape, *b.shape), strict=True))
    labels = (*batch, *rows, *columns)
    shape = tuple(sizes[x] for x in labels)
    if not summed and not (rows and columns):
        both = _spread(made, a, labels, shape), _spread(made, b, labels, shape)
        return Term(made.add(ops.mul, *both), labels, shape)
    left = _ordered(made, a, (*batch, *rows, *summed))
    right = _ordered(made, b, (*batch, *summed, *columns))
    if batch and not rows and not columns:  # many short sums: one product of arrays is faster
        axes = tuple(range(len(batch), len(batch) + len(summed)))
        product = made.add(ops.mul, left.place, right.place)
        return Term(made.add(ops.reduce_sum, product, axes=axes), labels, shape)
    lead = (numel([sizes[x] for x in batch]),) if batch else ()
    height, width = numel([sizes[x] for x in rows]), numel([sizes[x] for x in columns])
    count = numel([sizes[x] for x in summed])
    out = made.add(
        ops.dot,
        made.reshaped(left.place, left.shape, (*lead, height, count)),
        made.reshaped(right.place, right.shape, (*lead, count, width)),
    )
    return Term(made.reshaped(out, (*lead, height, width), shape), labels, shape)


def _summed(made: Plan, term: Term, keep: set[str]) -> Term:
    """``term`` summed over its labels that are not in ``keep``."""
    axes = tuple(k for k, label in enumerate(term.labels) if label not in keep)
    if not axes:
        return term
    rest = [k for k in range(len(term.labels)) if k not in axes]
    return Term(
        made.add(ops.reduce_sum, term.place, axes=axes),
        tuple(term.labels[k] for k in rest),
        tuple(term.shape[k] for k in rest),
    )


def _ordered(made: Plan, term: Term, labels: Labels) -> Term:
    """``term`` with its axes in the order of ``labels``."""
    if term.labels == labels:
        return term
    axes = tuple(term.labels.index(label) for label in labels)
    shape = tuple(term.shape[k] for k in axes)
    return Term(made.add(ops.permute, term.place, axes=axes), labels, shape)


def _spread(made: Plan, term: Term, labels: Labels, shape: Shape) -> int:
    """``term`` broadcast to ``shape``, whose axes have the names ``labels``."""
    ordered = _ordered(made, term, tuple(x for x in labels if x in term.labels))
    ones = tuple(n if x in term.labels else 1 for x, n in zip(labels, shape, strict=True))
    place = made.reshaped(ordered.place, ordered.shape, ones)
    return place if ones == shape else made.add(ops.broadcast, place, shape=shape)
