"""A progress bar where someone watches, nothing where the output goes to a file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], label: str, show: bool = True) -> Iterator[T]:
    """``items``, with a bar on the standard error stream if that is a terminal."""
    if not show or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    total = len(items) if isinstance(items, Sized) else None
    width = shutil.get_terminal_size().columns  # 80 where the terminal does not know
    yield from tqdm(items, label, total, leave=False, ncols=width)
