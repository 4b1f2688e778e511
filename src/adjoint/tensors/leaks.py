"""Finding what keeps old graphs alive: the loop that forgot to detach."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from collections.abc import Callable

from adjoint.base import callsite, errors
from adjoint.ir.node import Node, state


class GraphLeakWarning(UserWarning):
    """Graphs of many past backward passes are still alive."""


class detect_leaks:
    """Inside ``with detect_leaks():`` warn, once per line of source, about a growing graph.

    Every node is noted with the user's line that made it. A node that still holds a graph after
    ``patience`` later backward passes has been kept alive by something; when the same line left
    such nodes in ``patience`` passes, it is reported as a GraphLeakWarning. Slow: for debugging.
    """

    def __init__(self, patience: int = 20) -> None:
        if patience < 1:
            raise errors.argument(
                "detect_leaks",
                f"patience must be positive, got {patience}",
                hint="detect_leaks(patience=3), say",
            )
        self.patience = patience
        self.reported: list[str] = []
        self._passes: list[weakref.WeakSet[Node]] = [weakref.WeakSet()]
        self._before: Callable[..., None] | None = None

    def __enter__(self) -> detect_leaks:
        self._before = state.watch
        state.watch = self
        return self

    def __exit__(self, *_: object) -> None:
        state.watch = self._before

    def __call__(self, node: Node, *_: object) -> None:
        """Note a node that was just made and holds a graph."""
        if not node.needs_grad:
            return
        node.site = callsite.site()
        self._passes[-1].add(node)

    def after_backward(self) -> None:
        """Close the current pass, and report lines whose nodes outlive theirs again and again."""
        self._passes.append(weakref.WeakSet())
        old = self._passes[: -self.patience - 1]
        passes: Counter[str] = Counter()
        for made in old:
            passes.update({n.site for n in made if n.args and n.site is not None})
        for place, count in passes.items():
            if count >= self.patience and place not in self.reported:
                self.reported.append(place)
                warnings.warn(
                    f"graph leak: values computed {place} keep the graphs of {count} past steps "
                    "alive. Detach what is carried from step to step: x = x.detach(), or "
                    "total += loss.item()",
                    GraphLeakWarning,
                    stacklevel=4,
                )
