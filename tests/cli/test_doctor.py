"""The report that an issue should hold, also where things are missing."""

from __future__ import annotations

import platform
import sys

import pytest

from adjoint.base.config import FLAGS
from adjoint.cli import doctor as module
from adjoint.cli.doctor import doctor


def test_a_sound_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor() == 0
    shown = capsys.readouterr().out
    for word in ("adjoint", platform.python_version(), "GiB", "usable of", str(FLAGS.cache)):
        assert word in shown
    for name in ("numpy", "llvmlite", "safetensors", "ml", "tqdm", "matplotlib", "scikit-learn"):
        assert name in shown
    assert "missing" not in shown
    assert "the engine works" in shown


def test_a_missing_extra_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_importable", lambda name: name != "matplotlib")
    assert doctor() == 0
    shown = capsys.readouterr().out
    assert "matplotlib missing" in shown
    assert "pip install 'adjoint[plot]'" in shown


def test_a_missing_core_package_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_importable", lambda name: name != "numpy")
    assert doctor() == 1
    assert "broken: pip install numpy" in capsys.readouterr().out


def test_a_broken_engine_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "adjoint.tensors.creation", None)
    assert doctor() == 1
    assert "broken: ModuleNotFoundError" in capsys.readouterr().out
