"""Each derivative rule is broken in turn, and the table's own gradient check must notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from adjoint.base.errors import GradcheckError
from adjoint.ir.graph import record
from adjoint.ir.node import Type
from adjoint.ir.reverse import Parts
from adjoint.ops import TABLE
from adjoint.ops.rows import each, flat, no_gradient
from adjoint.testing.differences import check
from tests.ops.op_cases import Case, split
from tests.ops.test_op_table import SETTINGS, SMOOTH

Mutation = Callable[[Any], Any]


def flipped(message: Any) -> Any:
    return part_by_part(lambda ct: -ct, message)


def doubled(message: Any) -> Any:
    return part_by_part(lambda ct: ct * 2.0, message)


def dropped(message: Any) -> Any:
    return None


def part_by_part(change: Mutation, message: Any) -> Any:
    if message is None:
        return None
    if isinstance(message, Parts):
        return Parts(tuple(None if m is None else change(m) for m in message.items))
    return change(message)


def rules_of(name: str) -> list[int]:
    """The arguments of a row that have a rule."""
    vjp = TABLE[name].vjp
    if vjp in (no_gradient, flat):
        return []
    rules = getattr(vjp, "rules", None)
    if rules is not None:
        return [i for i, rule in enumerate(rules) if rule is not None]
    return list(range(max(most_arguments(c) for c in SMOOTH if c.op == name)))


def most_arguments(case: Case) -> int:
    """How many arguments the row has where the case uses it."""
    function, args = split(case)
    graph = record(function, [Type(a.shape, a.dtype) for a in args])
    return max(len(n.args or ()) for n in graph.nodes if n.op is TABLE[case.op])


def broken(name: str, place: int, change: Mutation) -> Any:
    """The vjp of a row with one of its rules changed."""
    vjp = TABLE[name].vjp
    rules = getattr(vjp, "rules", None)
    if rules is not None:
        right = rules[place]
        wrong = [*rules]
        wrong[place] = lambda *args, **params: change(right(*args, **params))
        return each(*wrong)

    def mutant(*args: Any) -> Sequence[Any]:
        messages = list(vjp(*args))
        if place < len(messages):
            messages[place] = change(messages[place])
        return tuple(messages)

    return mutant


MUTANTS = [(name, place) for name in TABLE for place in rules_of(name)]


@pytest.mark.slow
@pytest.mark.feature("T6", "T21")
@pytest.mark.parametrize("change", [flipped, doubled, dropped])
@pytest.mark.parametrize(("name", "place"), MUTANTS)
def test_a_broken_rule_is_caught(
    name: str, place: int, change: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [c for c in SMOOTH if c.op == name]
    assert cases and all(passes(c) for c in cases)
    monkeypatch.setattr(TABLE[name], "vjp", broken(name, place, change))
    assert not all(passes(c) for c in cases)


@pytest.mark.feature("T21")
def test_every_rule_has_a_mutant() -> None:
    """Fails when a row gains a derivative in a form that ``rules_of`` does not see."""
    assert {name for name, _ in MUTANTS} == {c.op for c in SMOOTH} - {"floor"}
    assert len(MUTANTS) >= 40


def passes(case: Case) -> bool:
    function, args = split(case)
    try:
        return check(function, args, order=1, mode="random", **SETTINGS) is None
    except GradcheckError:
        return False
