"""Compiled objects on disk, shared by all processes of a user.

One file per object, named by its key: the SHA-256 of the content, then the content. A file
appears whole (written beside its place, then renamed), so processes need no lock. A file whose
digest is wrong counts as missing. The files used longest ago go when the folder grows too large.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from adjoint.base.config import FLAGS

LIMIT = 256 << 20  # bytes of all files together
_stored: dict[Path, int] = {}  # bytes in each folder, as far as this process knows


def key_of(*parts: str) -> str:
    """A file name for what the texts ``parts`` determine."""
    return sha256("\0".join(parts).encode()).hexdigest()


def read(key: str) -> bytes | None:
    """The content stored under ``key``; None when it is missing or damaged."""
    path = _folder() / key
    try:
        stored = path.read_bytes()
        os.utime(path)  # used now: the last to go
    except OSError:
        return None
    content = stored[32:]
    return content if sha256(content).digest() == stored[:32] else None


def write(key: str, content: bytes) -> None:
    """Store ``content`` under ``key``. Warns when the folder cannot be written."""
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(sha256(content).digest() + content)
            os.replace(name, folder / key)
        except OSError:
            os.unlink(name)
            raise
        _stored[folder] = _stored.get(folder, LIMIT) + 32 + len(content)
        if _stored[folder] > LIMIT:  # not known yet, or too much
            _stored[folder] = _shrink(folder)
    except OSError as problem:
        warnings.warn(
            f"compiled kernels are not kept, so each process compiles anew: {problem}; "
            f"ADJOINT_CACHE=folder names a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )


def _folder() -> Path:
    return FLAGS.cache / "kernels"


def _shrink(folder: Path) -> int:
    """When files exceed the limit, remove those used longest ago, an eighth more than needed; gives
    the bytes that are left. Looking at every file takes long, so that is not done at every write.
    """
    found: list[tuple[float, int, str]] = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # another process was faster
            status = entry.stat()
            found.append((status.st_mtime, status.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    goal = LIMIT if total <= LIMIT else LIMIT - LIMIT // 8
    for _, size, path in sorted(found):
        if total <= goal:
            break
        total -= size
        with suppress(FileNotFoundError):
            os.unlink(path)
    return total
