"""Training from the command line, and using what it saved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from adjoint.cli import handwriting
from adjoint.cli import train as command
from adjoint.cli.handwriting import Handwriting
from adjoint.cli.main import FAILED, INTERRUPTED, OK, main
from adjoint.data import load_digits, write_png
from adjoint.models import LeNet

FILES = {"lenet.safetensors", "config.json", "history.json", "curves.png", "example.png"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training run on some of the digits."""
    folder = tmp_path_factory.mktemp("runs") / "short"

    def some(*args: object) -> Handwriting:
        whole = handwriting.load("digits", None, False)
        (x, y), (tx, ty) = whole.train, whole.test
        return Handwriting("digits", (x[:600], y[:600]), (tx[:100], ty[:100]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "load", some)
        assert main(f"train lenet --epochs 4 --seed 3 --out {folder}".split()) == OK
    return folder


@pytest.mark.feature("C6")
def test_what_a_run_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["another program"])
    x, y = load_digits("test", size=32)
    small = Handwriting("digits", (x[:64], y[:64]), (x[64:164], y[64:164]))
    monkeypatch.setattr(command, "load", lambda *_: small)
    assert main(["train", "lenet", "--epochs", "2", "--seed", "5"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"data   digits: 64 training and 100 test images of 32x32, sha256 {small.digest}"
    )
    assert lines[1] == "model  LeNet, 61,706 parameters"
    assert lines[2].startswith("run    seed 5, epochs 2, batch 32")
    assert [line.split()[:2] for line in lines[3:5]] == [["epoch", "1"], ["epoch", "2"]]
    assert "of 100 images of digits" in lines[5]
    names = "lenet.safetensors, config.json, history.json, curves.png"
    assert lines[6] == f"saved in runs/lenet: {names}"
    assert lines[7] == "next: adjoint predict runs/lenet/example.png"


@pytest.mark.feature("M14")
def test_the_files_of_a_run_fit_together(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == FILES
    config = json.loads((run / "config.json").read_text())
    history = json.loads((run / "history.json").read_text())
    assert config["parameters"] == 61_706
    assert config["seed"] == 3
    assert config["test_images"] == 100
    assert config["epochs_finished"] == len(history["epochs"]) == 4
    matrix = np.array(history["confusion_matrix"])
    assert matrix.shape == (10, 10)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(config["test_accuracy"])
    assert history["epochs"][-1]["test_accuracy"] == pytest.approx(config["test_accuracy"])
    theirs = safetensors.torch.load_file(run / "lenet.safetensors")
    assert set(theirs) == set(LeNet().state_dict())
    assert sum(t.numel() for t in theirs.values()) == 61_706


def test_the_example_is_a_test_image(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = run / "lenet.safetensors"
    assert main(["predict", str(run / "example.png"), "--weights", str(weights)]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert " shows a " in lines[0]
    shares = [float(line.split()[1].rstrip("%")) for line in lines[1:]]
    assert [line.split()[0] for line in lines[1:]] == [str(digit) for digit in range(10)]
    assert sum(shares) == pytest.approx(100, abs=0.1)
    assert f"shows a {np.argmax(shares)} " in lines[0]


@pytest.mark.parametrize("paper", ["white", "black", "transparent", "photograph"])
def test_a_digit_is_known_on_any_paper(paper: str, run: Path, tmp_path: Path, capsys) -> None:
    images, labels = load_digits("train")
    right = 0
    for image, label in zip(images[:20, 0], labels[:20], strict=True):
        ink = np.kron(np.pad(image, 2), np.ones((12, 12)))
        draw(ink, paper, tmp_path / "digit.png")
        words = ["predict", str(tmp_path / "digit.png"), "--weights"]
        assert main([*words, str(run / "lenet.safetensors")]) == OK
        right += f"shows a {label} " in capsys.readouterr().out
    assert right >= 15  # after a short run; chance would be 2


def draw(ink: np.ndarray, paper: str, path: Path) -> None:
    """Ink between 0 and 1 on a sheet."""
    if paper == "transparent":
        clear = np.zeros((*ink.shape, 4), np.uint8)
        clear[..., 3] = ink * 255
        Image.fromarray(clear).save(path)
        return
    level = ink if paper == "black" else 1 - ink
    if paper == "photograph":
        level = 0.25 + 0.5 * level
    gray = np.rint(level * 255).astype(np.uint8)
    write_png(np.stack([gray] * 3) if paper == "photograph" else gray, path)


def test_the_same_seed_gives_the_same_weights(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # pictures take longer than this
    x, y = load_digits("test", size=32)
    small = Handwriting("digits", (x[:64], y[:64]), (x[:50], y[:50]))
    monkeypatch.setattr(command, "load", lambda *_: small)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(f"train lenet --epochs 1 --seed {seed} --out {tmp_path / name}".split()) == OK
    a, b, c = ((tmp_path / name / "history.json").read_text() for name in "abc")
    drop = {"seconds"}
    plain = [
        [{k: v for k, v in e.items() if k not in drop} for e in json.loads(text)["epochs"]]
        for text in (a, b, c)
    ]
    assert plain[0] == plain[1] != plain[2]


def test_ctrl_c_still_saves(tmp_path: Path, capsys, monkeypatch) -> None:
    x, y = load_digits("test", size=32)
    small = Handwriting("digits", (x[:64], y[:64]), (x[:50], y[:50]))
    monkeypatch.setattr(command, "load", lambda *_: small)
    import adjoint.train.loop as loop

    def stop(*args: object, **kwargs: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return real(*args, **kwargs)

    real = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", stop)
    assert main(f"train lenet --epochs 5 --out {tmp_path / 'a'}".split()) == INTERRUPTED
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["interrupted"]
    assert config["epochs_finished"] == 1
    assert "stopped after 1 of 5 epochs" in capsys.readouterr().out


def test_without_matplotlib_everything_else_is_saved(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    x, y = load_digits("test", size=32)
    small = Handwriting("digits", (x[:64], y[:64]), (x[:50], y[:50]))
    monkeypatch.setattr(command, "load", lambda *_: small)
    assert main(f"train lenet --epochs 1 --out {tmp_path / 'a'}".split()) == OK
    shown = capsys.readouterr()
    assert "pip install 'adjoint[plot]'" in shown.err
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES - {
        "curves.png", "example.png"
    }  # fmt: skip


def test_weights_of_something_else_are_refused(tmp_path: Path, capsys) -> None:
    from adjoint.interop import save

    weights, picture = tmp_path / "other.safetensors", tmp_path / "a.png"
    write_png(np.zeros((8, 8), np.uint8), picture)
    for metadata in ({}, {"config": "[]"}, {"config": '{"model": "resnet"}'}, {"config": "{"}):
        save({"x": np.zeros(3)}, weights, metadata)
        assert main(["predict", str(picture), "--weights", str(weights)]) == FAILED
        assert "was not saved by 'train lenet'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.feature("C6")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_reach_their_accuracy(seed: int, tmp_path: Path) -> None:
    assert main(f"train lenet --seed {seed} --out {tmp_path}".split()) == OK
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["test_accuracy"] >= 0.975
    assert config["test_images"] == 359


@pytest.mark.slow
@pytest.mark.feature("C6")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mnist_reaches_its_accuracy(seed: int, tmp_path: Path, mnist_dir: Path) -> None:
    words = f"train lenet --data mnist --data-dir {mnist_dir} --seed {seed} --out {tmp_path}"
    assert main(words.split()) == OK
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["test_accuracy"] >= 0.99
    assert config["epochs"] <= 10
    assert config["test_images"] == 10_000


@pytest.mark.slow
def test_ctrl_c_in_a_real_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "adjoint", "train", "lenet", "--out", str(tmp_path / "a")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            break
    rest = process.stdout.read()
    assert process.wait() == INTERRUPTED
    assert "stopped after" in rest
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES
