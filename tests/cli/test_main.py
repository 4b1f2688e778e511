"""The command line as a whole: help without the engine, nearest names, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adjoint.cli import main as entry
from adjoint.cli.main import FAILED, INTERRUPTED, MISUSED, OK, main
from adjoint.cli.own_name import own_name

HEAVY = {"numpy", "adjoint.ir", "adjoint.ops", "adjoint.tensors", "llvmlite", "matplotlib", "tqdm"}


def text(capsys: pytest.CaptureFixture[str]) -> str:
    """All that was printed, without the frames that the width of the terminal decides."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "mentions"),
    [
        ([], ["train", "predict", "doctor", "--debug"]),
        (["--help"], ["train", "predict", "doctor"]),
        (["train"], ["lenet"]),
        (["train", "lenet", "--help"], ["--epochs", "--seed", "--data-dir", "--download", "--out"]),
        (["predict", "--help"], ["FILE", "--weights"]),
        (["doctor", "--help"], ["versions"]),
    ],
    ids=" ".join,
)
def test_help(words: list[str], mentions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == OK
    shown = text(capsys)
    assert [word for word in mentions if word not in shown] == []


@pytest.mark.parametrize("words", ["--help", "--version", "train lenet --help"])
def test_help_loads_neither_numpy_nor_the_engine(words: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "adjoint", *words.split()]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    modules = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "adjoint.cli.main" in modules
    assert modules & HEAVY == set()


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import adjoint

    assert main(["--version"]) == OK
    assert text(capsys) == adjoint.__version__


@pytest.mark.parametrize(
    ("words", "status", "mentions"),
    [
        (["trian"], MISUSED, 'Did you mean "train"'),
        (["train", "lennet"], MISUSED, 'Did you mean "lenet"'),
        (["train", "lenet", "--epoch", "3"], MISUSED, "Did you mean --epochs"),
        (["train", "lenet", "--epochs", "many"], MISUSED, "--epochs"),
        (["predict"], MISUSED, "FILE"),
        (["train", "lenet", "--data", "minst"], FAILED, "did you mean 'mnist'?"),
        (["train", "lenet", "--epochs", "0"], FAILED, "--epochs must be 1 or more, not 0"),
        (["train", "lenet", "--batch-size", "0"], FAILED, "--batch-size must be 1 or more"),
        (["train", "lenet", "--lr", "nan"], FAILED, "--lr must be a positive number"),
        (["train", "lenet", "--download"], FAILED, "belong to MNIST"),
        (["train", "lenet", "--data", "mnist", "--data-dir", "no"], FAILED, "no has neither"),
        (["predict", "a.png"], FAILED, "there are no weights at"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(
    words: list[str],
    status: int,
    mentions: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == status
    shown = text(capsys)
    assert mentions in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback() -> None:
    from adjoint.base.errors import ArgumentError

    with pytest.raises(ArgumentError):
        main(["train", "lenet", "--debug", "--epochs", "0"])


def test_an_error_of_the_system_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["train", "lenet", "--out", str(tmp_path / "file" / "sub")]) == FAILED
    shown = text(capsys)
    assert shown.startswith("error: NotADirectoryError")
    assert "Traceback" not in shown


def test_ctrl_c_outside_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_run", stop)
    assert main([]) == INTERRUPTED
    assert text(capsys) == "stopped"


def test_without_the_command_line_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    monkeypatch.delitem(sys.modules, "adjoint.cli.app", raising=False)
    assert main(["train", "lenet"]) == FAILED
    assert "pip install 'adjoint[cli]'" in text(capsys)
    assert main(["doctor"]) == OK
    assert "cyclopts missing" not in text(capsys).partition("python ")[0]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/no/such/folder/bin/adjoint", "/no/such/folder/bin/adjoint"),
        ("/usr/bin/pytest", "adjoint"),
        ("/somewhere/adjoint/__main__.py", "-m adjoint"),
    ],
)
def test_own_name(program: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setenv("PATH", "")
    assert own_name().endswith(expected)


def test_own_name_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "adjoint"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_name() == "adjoint"
