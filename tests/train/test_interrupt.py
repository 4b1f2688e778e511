"""Ctrl-C ends a run between two steps; handlers are put back."""

from __future__ import annotations

import signal
import threading

import pytest

from adjoint.train import stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_the_second_ctrl_c_acts_as_usual() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signal():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_in_another_thread_nothing_changes() -> None:
    found: list[bool] = []

    def run() -> None:
        with stop_on_signal() as stop:
            found.append(stop.asked)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGINT) is before
