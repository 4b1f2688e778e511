"""Einstein summation: parsed once per equation, then contracted two operands at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from adjoint import ops
from adjoint.base import errors
from adjoint.base.shape import numel
from adjoint.ir.node import Node
from adjoint.tensors.arithmetic import combine
from adjoint.tensors.handle import node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

Labels = tuple[
    str, ...
]  # a letter per axis; "...0", "...1" count the axes of an ellipsis backwards
Sizes = dict[str, int]


class Term(NamedTuple):
    """An operand whose axes have names."""

    node: Node
    labels: Labels


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
    nodes = [node_of(x, "einsum") for x in operands]
    for node in nodes[1:]:
        if node.dtype is not nodes[0].dtype:
            raise errors.mixed_dtypes("einsum", nodes[0], node)
    if not isinstance(equation, str):
        raise errors.argument("einsum", f"the first argument is the equation, got {equation!r:.60}")
    labels, result = parse(equation, tuple(n.ndim for n in nodes))
    terms = [_diagonal(Term(n, t), equation) for n, t in zip(nodes, labels, strict=True)]
    sizes = _sizes(terms, equation)
    terms = [_without_ones(t, sizes) for t in terms]
    while len(terms) > 1:
        i, j = _next_pair(terms, result, sizes)
        first, second = terms[i], terms[j]
        terms = [t for at, t in enumerate(terms) if at not in (i, j)]
        keep = set(result).union(*(t.labels for t in terms))
        terms.append(_contract(first, second, keep))
    return wrap(_ordered(_summed(terms[0], set(result)), result))


@lru_cache(maxsize=1024)
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


def _diagonal(term: Term, equation: str) -> Term:
    """One axis for each label: a repeated one becomes the diagonal, last."""
    node, labels = term
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            n = node.shape[i]
            if node.shape[j] != n:
                raise errors.shape(
                    "einsum", f"{label!r} of {equation!r} has sizes {n} and {node.shape[j]}", node
                )
            rest = [k for k in range(node.ndim) if k not in (i, j)]
            lead = tuple(node.shape[k] for k in rest)
            flat = ops.reshape(ops.permute(node, axes=(*rest, i, j)), shape=(*lead, n * n))
            node = ops.slice(
                flat, starts=(0,) * (len(lead) + 1), sizes=(*lead, n),
                steps=(*(1,) * len(lead), n + 1),
            )  # fmt: skip
            labels = (*(labels[k] for k in rest), label)
    return Term(node, labels)


def _sizes(terms: Sequence[Term], equation: str) -> Sizes:
    """The size of every label; size 1 gives way."""
    sizes: Sizes = {}
    for node, labels in terms:
        for label, n in zip(labels, node.shape, strict=True):
            known = sizes.get(label, 1)
            if n != known and 1 not in (n, known):
                name = "..." if len(label) > 1 else label
                raise errors.shape(
                    "einsum", f"{name!r} of {equation!r} has sizes {known} and {n}",
                    *(t.node for t in terms),
                )  # fmt: skip
            sizes[label] = known if n == 1 else n
    return sizes


def _without_ones(term: Term, sizes: Sizes) -> Term:
    """Drop the axes of size 1 that stand for a larger one: they are constant along it."""
    node, labels = term
    keep = [k for k, label in enumerate(labels) if node.shape[k] == sizes[label]]
    if len(keep) == len(labels):
        return term
    shape = tuple(node.shape[k] for k in keep)
    return Term(ops.reshape(node, shape=shape), tuple(labels[k] for k in keep))


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
            grown -= numel(terms[i].node.shape) + numel(terms[j].node.shape)
            work = numel([sizes[label] for label in first | second])
            key = (not first & second, grown, work, i, j)
            best = key if best is None else min(best, key)
    assert best is not None
    return best[3], best[4]


def _contract(first: Term, second: Term, keep: set[str]) -> Term:
    """The product of two terms, summed over the labels that are not in ``keep``."""
    a, mine = _summed(first, keep | set(second.labels))
    b, theirs = _summed(second, keep | set(first.labels))
    batch = tuple(x for x in mine if x in theirs and x in keep)
    summed = tuple(x for x in mine if x in theirs and x not in keep)
    rows = tuple(x for x in mine if x not in theirs)
    columns = tuple(x for x in theirs if x not in mine)
    labels = (*batch, *rows, *columns)
    if not summed and not (rows and columns):
        return Term(combine(ops.mul, _spread(a, mine, labels), _spread(b, theirs, labels)), labels)
    left = _ordered(Term(a, mine), (*batch, *rows, *summed))
    right = _ordered(Term(b, theirs), (*batch, *summed, *columns))
    if batch and not rows and not columns:  # many short sums: one product of arrays is faster
        out = ops.reduce_sum(ops.mul(left, right), axes=tuple(range(len(batch), left.ndim)))
        return Term(out, labels)
    lead = left.shape[: len(batch)]
    height, count = left.shape[len(batch) :][: len(rows)], left.shape[len(batch) + len(rows) :]
    width = right.shape[len(batch) + len(summed) :]
    out = ops.dot(
        ops.reshape(left, shape=(*_merged(lead), numel(height), numel(count))),
        ops.reshape(right, shape=(*_merged(lead), numel(count), numel(width))),
    )
    return Term(ops.reshape(out, shape=(*lead, *height, *width)), labels)


def _merged(lead: tuple[int, ...]) -> tuple[int, ...]:
    return (numel(lead),) if lead else ()


def _summed(term: Term, keep: set[str]) -> Term:
    """``term`` summed over its labels that are not in ``keep``."""
    axes = tuple(k for k, label in enumerate(term.labels) if label not in keep)
    if not axes:
        return term
    labels = tuple(label for label in term.labels if label in keep)
    return Term(ops.reduce_sum(term.node, axes=axes), labels)


def _ordered(term: Term, labels: Labels) -> Node:
    """The node with its axes in the order of ``labels``."""
    if term.labels == labels:
        return term.node
    return ops.permute(term.node, axes=tuple(term.labels.index(label) for label in labels))


def _spread(node: Node, have: Labels, labels: Labels) -> Node:
    """``node`` with axes of size 1 for the labels it lacks."""
    ordered = _ordered(Term(node, have), tuple(x for x in labels if x in have))
    sizes = dict(zip(have, node.shape, strict=True))
    return ops.reshape(ordered, shape=tuple(sizes.get(label, 1) for label in labels))
