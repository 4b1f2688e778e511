"""Work shared between threads: complete, without leftovers, with errors and settings passed on."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import ArgumentError
from adjoint.nn import functional as F
from adjoint.runtime import threads


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_POOL", threads._Pool())
    threads.set_num_threads(4)
    monkeypatch.setattr(threads, "GRAIN", 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 100])
def test_every_item_is_handled_once(count: int) -> None:
    done = np.zeros(count, int)
    names: set[int] = set()

    def work(first: int, last: int) -> None:
        done[first:last] += 1
        names.add(threading.get_ident())

    for _ in range(5):
        threads.share(count, 1 << 30, work)
    assert (done == 5).all()
    assert threading.get_ident() in names


def test_little_work_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GRAIN", 1 << 18)
    ranges: list[tuple[int, int]] = []
    threads.share(10, 1000, lambda first, last: ranges.append((first, last)))
    assert ranges == [(0, 10)]


def test_errors_are_raised_after_all_have_stopped() -> None:
    finished: list[int] = []

    def work(first: int, last: int) -> None:
        if first >= 50:
            raise ValueError(f"in {first}")
        finished.append(first)

    with pytest.raises(ValueError, match="in "):
        threads.share(100, 1 << 30, work)
    assert finished == sorted(finished) or len(finished) == 2
    threads.share(4, 1 << 30, lambda first, last: finished.append(-1))  # the pool still works
    assert -1 in finished


def test_numpy_error_settings_reach_the_threads() -> None:
    def work(first: int, last: int) -> None:
        np.divide(np.ones(3), np.zeros(3))

    with np.errstate(all="ignore"):
        threads.share(8, 1 << 30, work)  # warnings are errors in these tests


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    x = ad.tensor(rng.normal(size=(9, 4, 20, 20)), requires_grad=True)
    w = ad.tensor(rng.normal(size=(6, 4, 3, 3)), requires_grad=True)
    found: list[list[np.ndarray]] = []
    for num in (1, 3):
        ad.runtime.threads.set_num_threads(num)
        assert threads.get_num_threads() == num
        x.grad = w.grad = None
        out = F.max_pool2d(F.conv2d(x, w, padding=1), 3, 2)
        out.square().sum().backward()
        found.append([out.detach().numpy(), x.grad.numpy(), w.grad.numpy()])
    for one, three in zip(*found, strict=True):
        np.testing.assert_allclose(one, three, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_its_own_threads() -> None:
    threads.share(8, 1 << 30, lambda first, last: None)
    child = os.fork()
    if child == 0:
        threads._POOL.forget()
        done = np.zeros(8)
        threads.share(8, 1 << 30, lambda first, last: done.__setitem__(slice(first, last), 1))
        os._exit(0 if done.all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_wrong_numbers() -> None:
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(ArgumentError, match="positive integer"):
            threads.set_num_threads(wrong)  # type: ignore[arg-type]


def test_runs_are_repeated_bit_by_bit() -> None:
    """Partial sums of threads are added in one order, whoever is done first."""
    rng = np.random.default_rng(0)
    x = ad.tensor(rng.normal(size=(64, 2, 16, 16)).astype(np.float32))
    w = ad.tensor(rng.normal(size=(3, 2, 3, 3)).astype(np.float32), requires_grad=True)
    found: list[np.ndarray] = []
    for _ in range(10):
        w.grad = None
        F.conv2d(x, w).square().sum().backward()
        found.append(w.grad.numpy())
    assert all((g == found[0]).all() for g in found)
