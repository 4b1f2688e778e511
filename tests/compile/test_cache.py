"""Compiled kernels on disk: shared by processes, rebuilt when damaged, bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adjoint.runtime import cache

PROGRAM = """
import numpy as np
from adjoint.compile.backends.cpu import link
compiled = []
one, many = link.compile_object, link.compile_all
link.compile_object = lambda text, target: compiled.append(text) or one(text, target)
link.compile_all = lambda texts, target: compiled.extend(texts) or many(texts, target)
from adjoint.compile import products
a = np.arange(200 * 200, dtype=np.float32).reshape(200, 200) % 7
assert np.array_equal(products.product(a, a), a @ a)
print(len(compiled))
"""

MODULES = 3  # the product, what shares its work, and the functions of the threads


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "ADJOINT_CACHE": str(folder), "ADJOINT_NUM_THREADS": "2"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def compiles(folder: Path) -> int:
    """How many modules a new process compiles for one product on two threads."""
    out, problem = start(folder).communicate(timeout=60)
    assert problem == ""
    return int(out)


@pytest.mark.feature("T28")
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    assert compiles(tmp_path) == MODULES
    assert compiles(tmp_path) == 0
    assert len(list((tmp_path / "kernels").iterdir())) == MODULES


def test_damaged_entries_are_rebuilt(tmp_path: Path) -> None:
    assert compiles(tmp_path) == MODULES
    first, second, *_ = sorted((tmp_path / "kernels").iterdir())
    first.write_bytes(first.read_bytes()[:100])
    content = bytearray(second.read_bytes())
    content[200] ^= 1
    second.write_bytes(content)
    assert compiles(tmp_path) == 2
    assert compiles(tmp_path) == 0


def test_two_processes_at_once(tmp_path: Path) -> None:
    both = [start(tmp_path) for _ in range(2)]
    for process in both:
        out, problem = process.communicate(timeout=60)
        assert problem == ""
        assert int(out) <= MODULES
    assert compiles(tmp_path) == 0
    assert len(list((tmp_path / "kernels").iterdir())) == MODULES  # no file is left half written


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the cache."""
    monkeypatch.setattr(cache, "_folder", lambda: tmp_path / "kernels")
    return tmp_path / "kernels"


def test_what_was_written_is_read(folder: Path) -> None:
    assert cache.read("key") is None
    cache.write("key", b"content")
    assert cache.read("key") == b"content"


def test_keys_tell_their_parts_apart() -> None:
    keys = {cache.key_of("a", "b"), cache.key_of("ab", ""), cache.key_of("b", "a")}
    assert len(keys) == 3


def test_what_was_used_longest_ago_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 9 * 132)
    for i in range(9):
        cache.write(str(i), bytes(100))
        os.utime(folder / str(i), (i, i))
    assert cache.read("0") is not None  # used now
    cache.write("9", bytes(100))  # too much: down to seven eighths
    assert all(cache.read(key) is None for key in "123")
    assert all(cache.read(key) is not None for key in "0456789")


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="ADJOINT_CACHE"):
        cache.write("key", b"content")
    assert cache.read("key") is None
