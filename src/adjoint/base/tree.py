"""Trees: nested tuples, lists, dicts, dataclasses and anything with ``tree_flatten``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from copy import copy
from typing import Any, Protocol, runtime_checkable

Rebuild = Callable[[list[Any]], Any]


@runtime_checkable
class TreeNode(Protocol):
    """A user type that is a tree, such as ``nn.Module``."""

    def tree_flatten(self) -> tuple[list[Any], Rebuild]:
        """The children, and a function that makes the same thing from other children."""
        ...


def flatten(
    tree: Any, is_leaf: Callable[[Any], bool] = lambda _: False
) -> tuple[list[Any], Rebuild]:
    """The leaves of ``tree`` in a fixed order, and the function that puts leaves back in place.

    Lists, tuples (named ones too), dicts (sorted by insertion), dataclass instances and objects
    with ``tree_flatten`` are inner nodes; None is an empty inner node; all else is a leaf.
    """
    if is_leaf(tree):
        return [tree], _only
    children, rebuild = _children(tree)
    if children is None:
        return [tree], _only
    parts = [flatten(child, is_leaf) for child in children]
    places = [(len(leaves), sub) for leaves, sub in parts]  # the leaves are not to be kept alive

    def unflatten(leaves: list[Any]) -> Any:
        done: list[Any] = []
        start = 0
        for count, sub in places:
            done.append(sub(leaves[start : start + count]))
            start += count
        return rebuild(done)

    return [leaf for leaves, _ in parts for leaf in leaves], unflatten


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """``function`` applied to the leaves of trees of equal structure."""
    leaves, rebuild = flatten(tree)
    others = [flatten(r)[0] for r in rest]
    return rebuild([function(*each) for each in zip(leaves, *others, strict=True)])


def _only(leaves: list[Any]) -> Any:
    return leaves[0]


def _children(tree: Any) -> tuple[list[Any] | None, Rebuild]:
    if tree is None:
        return [], lambda _: None
    if isinstance(tree, list):
        return tree, list  # pyright: ignore[reportUnknownVariableType]
    kind: Any = tree.__class__
    if isinstance(tree, tuple):
        children: list[Any] = [*tree]
        return children, (lambda c: kind(*c)) if hasattr(kind, "_fields") else tuple
    if isinstance(tree, dict):
        keys: list[Any] = [*tree]
        return [tree[k] for k in keys], lambda c: _refilled(tree, dict(zip(keys, c, strict=True)))
    if isinstance(tree, TreeNode):
        return tree.tree_flatten()
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [f.name for f in dataclasses.fields(tree) if f.init]
        return [getattr(tree, n) for n in names], lambda c: dataclasses.replace(
            tree, **dict(zip(names, c, strict=True))
        )
    return None, _only


def _refilled(tree: Any, items: dict[Any, Any]) -> Any:
    """A dict of the kind of ``tree``; one with more to it than its items (a default) keeps that."""
    if type(tree) is dict:
        return items
    made = copy(tree)
    made.update(items)
    return made
