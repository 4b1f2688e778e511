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


@pytest.mark.feature("T35")
def test_compare_runs_node_by_node_too() -> None:
    weight = ad.randn(8, 8, requires_grad=True)

    @ad.jit(compare=True)
    def step(x: ad.Tensor) -> ad.Tensor:
        loss = ((x @ weight).tanh() ** 2).sum()
        loss.backward()
        with ad.no_grad():
            weight.copy_(weight - 0.001 * weight.grad)
        weight.grad = None
        return loss

    losses = [step(ad.ones(4, 8)).item() for _ in range(3)]
    assert losses[2] < losses[0]


@pytest.mark.feature("O28")
def test_a_memory_budget_changes_nothing_but_memory() -> None:
    layers = ad.nn.Sequential(*[ad.nn.Linear(16, 16) for _ in range(12)])
    x = ad.randn(64, 16)

    def gradients(**options: float) -> tuple[list[object], int]:
        layers.zero_grad()

        @ad.jit(**options)
        def step(x: ad.Tensor) -> ad.Tensor:
            value = x
            for layer in layers:
                value = layer(value).tanh()
            value.sum().backward()
            return value.sum()

        step(x)
        return [p.grad.tolist() for p in layers.parameters()], step.memory().arena

    wanted, most = gradients()
    found, less = gradients(memory_budget=0.6)
    assert found == wanted
    assert less <= 0.7 * most


@pytest.mark.feature("T27")
def test_a_captured_step_is_saved(tmp_path: object) -> None:
    scale = ad.tensor(3.0)
    step = ad.jit(lambda x: x * scale)
    step(ad.ones(2))
    path = f"{tmp_path}/step.safetensors"
    step.graph.save(path)
    loaded = ad.load_graph(path)
    assert loaded.run(feeds={"argument0": ad.ones(2)}).tolist() == [3, 3]
