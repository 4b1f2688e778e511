"""Learning rates as functions of the epoch: the same after a restart, and no order to get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine_decay(start: float, epochs: int) -> Callable[[int], float]:
    """start * (1 + cos(pi * (epoch - 1) / epochs)) / 2 for epochs 1, 2, ..., ``epochs``.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """
    return lambda epoch: start * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
