"""The idx format of MNIST: a big-endian array with a small header, often gzipped.

Source: the MNIST database page, "File formats" (LeCun, Cortes and Burges).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from adjoint.base import errors

# The third byte of a file names its element type.
ELEMENT_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 32
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an idx file, plain or gzipped, into an array of its own element type and shape.

    At most one chunk more than the file really holds is ever allocated, whatever its header says.
    Raises ArgumentError, with the file and the offset, for anything that is not a whole idx file.
    """
    path = Path(path)
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not is_gzip:
            return _parse(path, raw)
        with gzip.GzipFile(fileobj=raw) as stream:
            return _parse(path, stream)


def _parse(path: Path, stream: BufferedIOBase) -> np.ndarray:
    magic = _read(path, stream, 0, 4)
    if magic[:2] != b"\0\0" or magic[2] not in ELEMENT_TYPES:
        raise _malformed(path, 0, f"the magic number is {magic.hex(' ')}, not 00 00 TYPE RANK")
    dtype, rank = np.dtype(ELEMENT_TYPES[magic[2]]), magic[3]
    if not 1 <= rank <= MAX_DIMENSIONS:
        raise _malformed(path, 3, f"{rank} dimensions; 1 to {MAX_DIMENSIONS} can be read")
    shape = struct.unpack(f">{rank}I", _read(path, stream, 4, 4 * rank))
    start, size = 4 + 4 * rank, math.prod(shape) * dtype.itemsize
    # Zeros aside: NumPy refuses (0, 2**32, 2**32) too.
    if math.prod(max(extent, 1) for extent in shape) * dtype.itemsize > sys.maxsize:
        raise _malformed(path, 4, f"the shape {shape} is larger than the address space")
    content = _read(path, stream, start, size)
    if _read_some(path, stream, start + size, 1):
        raise _malformed(path, start + size, f"bytes follow the {shape} array, which ends here")
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read(path: Path, stream: BufferedIOBase, offset: int, count: int) -> bytearray:
    """Read exactly `count` bytes, in chunks: the header is not to be trusted with memory."""
    content = bytearray()
    while len(content) < count:
        chunk = _read_some(path, stream, offset + len(content), min(CHUNK, count - len(content)))
        if not chunk:
            end = offset + len(content)
            raise _malformed(path, end, f"it ends here; {count - len(content)} bytes are missing")
        content += chunk
    return content


def _read_some(path: Path, stream: BufferedIOBase, offset: int, count: int) -> bytes:
    try:
        return stream.read(count)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _malformed(path, offset, f"the gzip stream is damaged: {error}") from error


def _malformed(path: Path, offset: int, what: str) -> errors.AdjointError:
    hint = "fetch the file again; was it cut off, or is it another format?"
    return errors.argument("read_idx", f"{path}: at byte {offset}: {what}", hint=hint)
