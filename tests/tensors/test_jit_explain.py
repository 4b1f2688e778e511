"""Why a captured function was recorded again."""

from __future__ import annotations

import pytest

import adjoint as ad


@pytest.mark.feature("T29")
def test_explain_names_the_argument_and_the_axis() -> None:
    @ad.jit
    def double(x: ad.Tensor, times: int = 2) -> ad.Tensor:
        return x * times

    double(ad.ones(3, 4))
    double(ad.ones(5, 4))
    double(ad.ones(5, 4), 3)
    double(ad.ones(5, 4).double(), 3)
    double(ad.ones(5, 4))
    lines = double.explain().splitlines()
    assert lines[0] == "double: recorded 4 times"
    assert lines[1].endswith("it was the first call")
    assert lines[2].endswith("axis 0 of argument 0 is 5, before 3")
    assert lines[3].endswith("it has 2 arguments, before 1")
    assert lines[4].endswith("argument 0 is float64[5, 4], before float32[5, 4]")


def test_explain_tells_of_settings() -> None:
    layer = ad.nn.Dropout(0.5)
    step = ad.jit(lambda x: layer(x))
    step(ad.ones(4))
    layer.eval()
    step(ad.ones(4))
    assert "train or eval" in step.explain().splitlines()[2]


@pytest.mark.feature("T29")
def test_many_recordings_warn_once() -> None:
    @ad.jit
    def double(x: ad.Tensor) -> ad.Tensor:
        return x * 2

    for n in range(1, 5):
        double(ad.ones(n))
    with pytest.warns(UserWarning, match=r"recorded 5 times.*axis 0 of argument 0 is 5"):
        double(ad.ones(5))
    double(ad.ones(6))
