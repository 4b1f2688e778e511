"""Kernels become functions once: per process in memory, per machine on disk."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adjoint.compile.backends.cpu import codegen, link
from adjoint.compile.backends.cpu.target import host
from adjoint.runtime import cache
from tests.compile.handmade import combine, vector

ROOT = Path(__file__).parents[2]
PROGRAM = """
from dataclasses import replace
from adjoint.compile.backends.cpu import link
from tests.compile.handmade import combine, vector
written, compiled = [], []
original = link.compile_all
def counted(texts, target):
    compiled.extend(texts)
    return original(texts, target)
link.compile_all = counted
kernels = [combine([vector(8)] * n, [vector(8)], [[0.5] * n]) for n in (1, 2, 3, 1)]
for kernel in kernels:
    kernel.write = lambda target, write=kernel.write: written.append(1) or write(target)
found = link.addresses(kernels)
assert len(found) == 3 and len(set(found.values())) == 3 and all(found.values())
assert link.addresses(kernels) == found
print(len(written), len(compiled))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "ADJOINT_CACHE": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def work(folder: Path) -> list[int]:
    """How many kernels a new process writes and compiles."""
    out, problem = start(folder).communicate(timeout=60)
    assert problem == ""
    return [int(word) for word in out.split()]


@pytest.mark.feature("T28")
def test_a_second_process_neither_writes_nor_compiles(tmp_path: Path) -> None:
    assert work(tmp_path) == [3, 3]
    assert work(tmp_path) == [0, 0]
    stored = sorted((tmp_path / "kernels").iterdir())
    assert len(stored) == 3
    stored[0].write_bytes(stored[0].read_bytes()[:-1])
    stored[1].write_bytes(b"")
    assert work(tmp_path) == [2, 2]  # what is damaged is made again
    assert work(tmp_path) == [0, 0]


def test_two_processes_at_once(tmp_path: Path) -> None:
    both = [start(tmp_path) for _ in range(2)]
    for process in both:
        _, problem = process.communicate(timeout=60)
        assert problem == ""
    assert work(tmp_path) == [0, 0]
    assert len(list((tmp_path / "kernels").iterdir())) == 3


def test_another_compiler_does_not_use_the_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_folder", lambda: tmp_path)
    compiled: list[str] = []
    original = link.compile_all
    monkeypatch.setattr(
        link, "compile_all", lambda t, target: compiled.extend(t) or original(t, target)
    )
    kernels = [combine([vector(8)], [vector(8)], [[1.0]])]
    for version, count in (("a", 1), ("b", 2), ("a", 2)):
        monkeypatch.setattr(link, "compiler_version", lambda version=version: version)
        monkeypatch.setattr(link, "_loaded", dict)
        link.addresses(kernels)
        assert len(compiled) == count


def test_names_do_not_meet_in_one_engine() -> None:
    text = "define void @kernel(ptr %a) {\n call void @kernels()\n}\ndefine void @kernels() {\n}\n"
    text += "define internal i64 @help(i64 %x) {\n}\n"
    found = link.renamed(text, "mine")
    assert "define void @mine(ptr %a)" in found and "define internal void @kernels()" in found
    assert "call void @kernels()" in found and found.count("internal") == 2


def test_modules_compiled_at_the_same_time_are_the_same() -> None:
    kernels = [combine([vector(8)] * n, [vector(8)], [[0.5] * n]) for n in range(1, 13)]
    texts = [k.write(host()) for k in kernels]
    alone = [link.compile_object(text, host()) for text in texts]
    assert codegen.objects(texts, host(), 3) == alone
    assert codegen.objects(texts[:1], host(), 3) == alone[:1]
    assert codegen.objects([], host(), 3) == []
    with pytest.raises(RuntimeError, match="LLVM IR"):
        codegen.objects([*texts, "define nonsense"], host(), 3)


def test_an_address_is_a_function() -> None:
    kernel = combine([vector(4)], [vector(4)], [[2.0]])
    found = link.addresses([kernel])[kernel.key]
    x, y = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)
    record = (ctypes.c_int64 * 3)(x.ctypes.data, y.ctypes.data, kernel.words[0])
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    kind(found)(ctypes.addressof(record), 1, 3, None)
    assert y.tolist() == [0.0, 2.0, 4.0, 0.0]
