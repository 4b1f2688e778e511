from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adjoint.base.errors import ArgumentError
from adjoint.data import read_idx

CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def encode(array: np.ndarray) -> bytes:
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim])
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


SAMPLE = encode(np.arange(24, dtype=np.int16).reshape(2, 3, 4))


@SHARED_FOLDER
@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda name: arrays.arrays(name, arrays.array_shapes(min_dims=1, min_side=0, max_side=5))
    ),
    zipped=st.booleans(),
)
def test_every_type_and_shape_round_trips(tmp_path: Path, array: np.ndarray, zipped: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(encode(array)) if zipped else encode(array))
    result = read_idx(path)
    assert result.dtype == array.dtype
    assert result.dtype.isnative
    assert result.flags.writeable
    np.testing.assert_array_equal(result, array)


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ArgumentError) as caught:
        read_idx(path)
    message = str(caught.value)
    assert str(path) in message
    assert "at byte" in message
    return message


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_truncated_files_are_refused(tmp_path: Path, length: int) -> None:
    message = refused(tmp_path / "short", SAMPLE[:length])
    assert f"at byte {length}: it ends here" in message


@pytest.mark.parametrize("length", range(2, len(gzip.compress(SAMPLE)), 3))
def test_truncated_gzip_streams_are_refused(tmp_path: Path, length: int) -> None:
    refused(tmp_path / "short.gz", gzip.compress(SAMPLE)[:length])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", "at byte 0: the magic number is 89 50 4e 47"),
        (b"\0\0\x0a\x01" + SAMPLE[4:], "at byte 0: the magic number is 00 00 0a 01"),
        (b"\0\0\x08\x00", "at byte 3: 0 dimensions"),
        (b"\0\0\x08\xff" + bytes(2000), "at byte 3: 255 dimensions"),
        (SAMPLE + b"\0", "at byte 64: bytes follow the (2, 3, 4) array"),
        (b"\0\0\x08\x04" + bytes(4) + b"\xff" * 12, "at byte 4: the shape (0, 4294967295"),
    ],
)
def test_the_message_names_file_and_offset(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in refused(tmp_path / "file", content)
    assert expected in refused(tmp_path / "file.gz", gzip.compress(content))


@settings(SHARED_FOLDER, max_examples=300)
@given(
    changes=st.dictionaries(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255), max_size=6),
    zipped=st.sampled_from(["", "before", "after"]),
)
def test_mutated_files_are_read_or_refused(
    tmp_path: Path, changes: dict[int, int], zipped: str
) -> None:
    content = bytearray(gzip.compress(SAMPLE) if zipped == "before" else SAMPLE)
    for position, value in changes.items():
        content[position % len(content)] = value
    path = tmp_path / "mutated"
    path.write_bytes(gzip.compress(content) if zipped == "after" else content)
    try:
        result = read_idx(path)
    except ArgumentError as error:
        assert str(path) in str(error)
    else:
        assert result.nbytes <= len(SAMPLE)


@pytest.mark.parametrize("shape", [(2**32 - 1,), (2**16, 2**16), (60_000, 28, 28)])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_lying_header_costs_no_memory(
    tmp_path: Path, shape: tuple[int, ...], zipped: bool
) -> None:
    content = bytes([0, 0, 0x0E, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(99)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    with pytest.raises(ArgumentError, match="bytes are missing"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")


def test_mnist_as_a_straight_parse_reads_it(mnist_dir: Path) -> None:
    for path in sorted(mnist_dir.glob("*.gz")):
        content = gzip.decompress(path.read_bytes())
        rank = content[3]
        expected = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
        result = read_idx(path)
        assert result.shape == tuple(np.frombuffer(content, ">u4", rank, 4))
        np.testing.assert_array_equal(result.ravel(), expected)
