"""Trees come apart into leaves and go together again as what they were."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest

from adjoint.base.tree import flatten, tree_map

Pair = namedtuple("Pair", "first second")


@dataclass(frozen=True)
class Config:
    rate: Any
    names: Any


class Bag:
    """A user type that is a tree."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)

    def tree_flatten(self) -> tuple[list[Any], Any]:
        return self.items, lambda children: Bag(*children)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bag) and other.items == self.items


@pytest.mark.parametrize(
    ("tree", "leaves"),
    [
        (1, [1]),
        (None, []),
        ([], []),
        ([1, (2, [3])], [1, 2, 3]),
        ({"b": 1, "a": {"c": 2}}, [1, 2]),
        (Pair(1, [2, None]), [1, 2]),
        (OrderedDict(x=1, y=2), [1, 2]),
        (defaultdict(list, x=1), [1]),
        (Config(1, ["a"]), [1, "a"]),
        (Bag(1, {"k": 2}), [1, 2]),
    ],
)
def test_round_trip(tree: Any, leaves: list[Any]) -> None:
    found, rebuild = flatten(tree)
    assert found == leaves
    again = rebuild(found)
    assert type(again) is type(tree) and again == tree


def test_a_default_dict_keeps_its_default() -> None:
    made = tree_map(lambda x: x + 1, defaultdict(list, x=1))
    assert made == {"x": 2} and made["new"] == []


def test_map_over_several_trees_and_own_leaves() -> None:
    assert tree_map(lambda a, b: a * b, {"x": [1, 2]}, {"x": [3, 4]}) == {"x": [3, 8]}
    assert flatten([(1, 2), 3], is_leaf=lambda t: isinstance(t, tuple))[0] == [(1, 2), 3]
