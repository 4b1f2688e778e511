"""Flags: read once from the environment, one dataclass."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Flags:
    """Switches of the process.

    ``verify`` (``ADJOINT_VERIFY=1``): check after every op that its value has the shape and dtype
    its row promises, and verify every graph that is built. On in the tests.
    """

    verify: bool = False


FLAGS = Flags(verify=os.environ.get("ADJOINT_VERIFY", "0") == "1")
