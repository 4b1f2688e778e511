"""Every optimiser that torch has, against torch: a non-convex net, a schedule, decay, groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.optim.muon import orthogonalized
from tests.optim.cases import TWINS, Training, assert_close


@pytest.mark.feature("P1", "P7", "P8", "P9", "P10", "P15")
@pytest.mark.parametrize(("name", "options"), TWINS, ids=str)
def test_forty_steps_equal_torchs(name: str, options: dict[str, Any]) -> None:
    ours, theirs = Training(ad, name, options).run(40), Training(torch, name, options).run(40)
    assert_close(ours.values, theirs.values, 1e-9)


@pytest.mark.slow
@pytest.mark.feature("P1", "P7", "P8", "P9", "P10", "P15")
@pytest.mark.parametrize(("name", "options"), TWINS, ids=str)
def test_a_thousand_steps_equal_torchs(name: str, options: dict[str, Any]) -> None:
    ours, theirs = Training(ad, name, options), Training(torch, name, options)
    assert_close(ours.run(1000).values, theirs.run(1000).values, 1e-6)


@pytest.mark.parametrize("name", sorted({name for name, _ in TWINS}))
def test_float32_stays_float32_and_close(name: str) -> None:
    options = {} if name == "Rprop" else {"lr": 0.01}
    ours = Training(ad, name, options, "float32").run(20)
    theirs = Training(torch, name, options, "float32").run(20)
    assert all(v.dtype == np.float32 for v in ours.values)
    assert_close(ours.values, theirs.values, 5e-4)


@pytest.mark.feature("P16")
@pytest.mark.parametrize(("name", "options"), [*TWINS, ("Muon", {})], ids=str)
def test_saved_names_and_shapes_are_torchs(name: str, options: dict[str, Any]) -> None:
    ours, theirs = Training(ad, name, options).run(2), Training(torch, name, options).run(2)
    mine, other = ours.optimiser.state_dict(), theirs.optimiser.state_dict()
    for group, twin in zip(mine["param_groups"], other["param_groups"], strict=True):
        assert group == twin
    assert set(mine["state"]) == set(other["state"])
    for number, state in other["state"].items():
        assert {k: tuple(v.shape) for k, v in mine["state"][number].items()} == {
            k: tuple(v.shape) for k, v in state.items()
        }


@pytest.mark.feature("P16")
@pytest.mark.parametrize(("name", "options"), TWINS, ids=str)
def test_a_run_begun_in_torch_goes_on_here(name: str, options: dict[str, Any]) -> None:
    ours, theirs = Training(ad, name, options), Training(torch, name, options).run(7)
    for mine, other in zip(ours.params, theirs.params, strict=True):
        mine.data = ad.tensor(other.detach().numpy())
    ours.optimiser.load_state_dict(theirs.optimiser.state_dict())
    assert_close(ours.run(7, start=7).values, theirs.run(7, start=7).values, 1e-10)


@pytest.mark.feature("P16")
def test_defaults_are_torchs() -> None:
    for name in sorted({name for name, _ in TWINS} | {"Muon"}):
        groups = [
            getattr(m.optim, name)([m.ones(2, 2).requires_grad_()]).state_dict()["param_groups"]
            for m in (ad, torch)
        ]
        assert groups[0] == groups[1], name


def newton_schulz(x: np.ndarray, steps: int = 5) -> np.ndarray:
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3)])
def test_muons_matrix_is_nearly_orthogonal(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    found = orthogonalized(ad.tensor(x)).numpy()
    want = newton_schulz(x) if shape[0] <= shape[1] else newton_schulz(x.T).T
    np.testing.assert_allclose(found, want, atol=1e-12)
    sizes = np.linalg.svd(found, compute_uv=False)
    assert sizes.min() > 0.6 and sizes.max() < 1.25


@pytest.mark.parametrize("fn", [None, "match_rms_adamw"])
def test_muon_is_torchs_up_to_bfloat16(fn: str | None) -> None:
    options = {"lr": 0.01, "adjust_lr_fn": fn}
    ours, theirs = Training(ad, "Muon", options), Training(torch, "Muon", options)
    start = ours.values
    ours.run(1), theirs.run(1)
    for before, a, b in zip(start, ours.values, theirs.values, strict=True):
        np.testing.assert_allclose(a - before, b - before, atol=0.02 * (abs(b - before).max()))
    ours.run(8), theirs.run(8)
    assert_close(ours.values, theirs.values, 0.02)


def twin(name: str, p: np.ndarray, gradients: list[np.ndarray], lr: float) -> np.ndarray:
    """Lion and LAMB in ten lines of NumPy, from the papers."""
    m, v, decay = np.zeros_like(p), np.zeros_like(p), 0.1
    for t, g in enumerate(gradients, 1):
        if name == "Lion":
            p = p - lr * (np.sign(0.9 * m + 0.1 * g) + decay * p)
            m = 0.99 * m + 0.01 * g
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            r = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + decay * p
            p = p - lr * np.linalg.norm(p) / np.linalg.norm(r) * r
    return p


@pytest.mark.parametrize("name", ["Lion", "LAMB"])
def test_lion_and_lamb_equal_their_papers(name: str) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), [rng.normal(size=(4, 3)) for _ in range(50)]
    p = ad.tensor(start, requires_grad=True)
    optimiser = getattr(ad.optim, name)([p], lr=0.01, weight_decay=0.1)
    for g in gradients:
        p.grad = ad.tensor(g)
        optimiser.step()
    np.testing.assert_allclose(p.detach().numpy(), twin(name, start, gradients, 0.01), rtol=1e-12)


def test_lamb_at_zero_weights_and_zero_gradients() -> None:
    for start, slope in ((0.0, 1.0), (1.0, 0.0)):
        p = ad.tensor([start, start], requires_grad=True)
        p.grad = ad.tensor([slope, slope])
        ad.optim.LAMB([p], lr=0.1, weight_decay=0.0).step()
        assert np.isfinite(p.detach().numpy()).all()
        assert (p.tolist() == [1.0, 1.0]) == (slope == 0)
