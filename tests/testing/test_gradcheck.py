"""gradcheck: it finds planted bugs, says where, and does not cry wolf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as ad
from adjoint import Tensor
from adjoint.base.errors import ArgumentError, DTypeError, GradcheckError
from adjoint.tensors.handle import wrap
from adjoint.testing import gradcheck, gradgradcheck
from tests.ops.op_cases import Case, split
from tests.ops.test_op_table import SMOOTH
from tests.testing.planted_bugs import BUGS, SUBJECTS, custom, inputs_of, poked


def tensor(*shape: int, seed: int = 0) -> Tensor:
    return ad.tensor(np.random.default_rng(seed).uniform(0.5, 2, shape))


@pytest.mark.feature("T3", "T21")
@pytest.mark.parametrize("name", SUBJECTS)
def test_right_functions_pass(name: str) -> None:
    subject = SUBJECTS[name]
    assert gradcheck(custom(subject.forward, subject.right), inputs_of(subject), order=2)


@pytest.mark.feature("T21")
@pytest.mark.parametrize("mode", ["random", "elementwise"])
@pytest.mark.parametrize(("name", "bug"), BUGS)
def test_planted_bugs_are_caught(name: str, bug: str, mode: str) -> None:
    subject = SUBJECTS[name]
    function = custom(subject.forward, subject.wrong[bug])
    with pytest.raises(GradcheckError, match=r"worst element: input|no result depends"):
        gradcheck(function, inputs_of(subject), mode=mode)
    assert not gradcheck(function, inputs_of(subject), mode=mode, raise_exception=False)


@pytest.mark.feature("T21")
def test_there_are_fifty_planted_bugs() -> None:
    assert len(BUGS) >= 50


@pytest.mark.feature("T21")
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_no_false_alarm_on_the_op_table(case: Case) -> None:
    """The public function, on the rows of the table, with other seeds than theirs."""
    function, args = split(case, seed=11)
    inputs = [wrap(a) for a in args]

    def on_tensors(*x: Tensor) -> list[Tensor]:
        return [wrap(n) for n in function(*(t.node for t in x))]

    assert gradcheck(on_tensors, inputs, mode="random", seed=7)


@pytest.mark.feature("T21")
def test_the_worst_element_is_named() -> None:
    def backward(ct: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return ct * y, poked(ct * x, (1, 2), 3.0)

    function = custom(lambda x, y: x * y, backward)
    for mode in ("random", "elementwise", "both"):
        with pytest.raises(GradcheckError) as caught:
            gradcheck(function, (tensor(2, 3), tensor(2, 3, seed=1)), mode=mode)
        assert "input 1, element (1, 2)" in str(caught.value)
    x, y = tensor(2, 3), tensor(2, 3, seed=1)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(function, (x, y), mode="elementwise")
    numeric = float(x[1, 2])
    message = str(caught.value)
    assert "for result 0, element (1, 2)" in message
    analytic, measured = message.split("analytic ")[1].split("\n")[0].split(", numeric ")
    assert float(analytic) == pytest.approx(3 * numeric)
    assert float(measured) == pytest.approx(numeric)


@pytest.mark.feature("T16", "T21")
def test_a_wrong_second_derivative_is_caught_at_order_two() -> None:
    """The first derivative is right, but its own derivative takes x for a constant."""
    function = custom(lambda x: x * x, lambda ct, x: (2 * x.detach() * ct,))
    assert gradcheck(function, tensor(3))
    with pytest.raises(GradcheckError, match="at order 2"):
        gradgradcheck(function, tensor(3))
    assert not gradcheck(function, tensor(3), order=2, raise_exception=False)


def test_order_three() -> None:
    assert gradcheck(lambda x: ad.tanh(x) * x, tensor(3), order=3, mode="random")

    def backward(ct: Tensor, x: Tensor) -> tuple[Tensor]:
        return (ct * third(x),)

    third = custom(lambda x: 3 * x * x, lambda ct, x: (6 * x.detach() * ct,))
    cube = custom(lambda x: x * x * x, backward)
    assert gradgradcheck(cube, tensor(2))
    with pytest.raises(GradcheckError, match="at order 3"):
        gradcheck(cube, tensor(2), order=3)


def test_trees_of_inputs_and_results() -> None:
    def function(batch: dict[str, Any], scale: Tensor) -> dict[str, Any]:
        x, (y, z) = batch["x"], batch["rest"]
        return {"sum": (x * y).sum(), "parts": [z * scale, (x, y * y)], "count": ad.tensor(3)}

    inputs = ({"x": tensor(2), "rest": [tensor(2, seed=1), tensor(3, seed=2)]}, tensor(1, seed=3))
    assert gradgradcheck(function, inputs)

    def broken(batch: dict[str, Any], scale: Tensor) -> Tensor:
        wrong = custom(lambda v: v * v, lambda ct, v: (ct * v,))
        return wrong(batch["rest"][1]).sum() + (batch["x"] * scale).sum()

    with pytest.raises(GradcheckError, match="input 0 leaf 2, element"):
        gradcheck(broken, inputs, mode="elementwise")


def test_integer_inputs_and_results_are_carried_along() -> None:
    index = ad.tensor([2, 0])
    assert gradgradcheck(lambda x, i: (x[i] * x[i], i + 1), (tensor(3), index))


@pytest.mark.feature("T3")
def test_a_user_function_of_three_inputs_and_two_results() -> None:
    """One input is an integer, one is not used; a wrong backward of either result is caught."""

    class Twisted(ad.autograd.Function):
        slip = 1.0

        @staticmethod
        def forward(ctx: Any, x: Tensor, times: Tensor, unused: Tensor) -> Any:
            ctx.save_for_backward(x, times)
            return x * times.double(), ad.sin(x)

        @staticmethod
        def backward(ctx: Any, first: Tensor, second: Tensor) -> Any:
            x, times = ctx.saved_tensors
            return first * times.double() + second * ad.cos(x) * Twisted.slip, None, None

    inputs = (tensor(3), ad.tensor([1, 2, 3]), tensor(2, seed=1))
    assert gradgradcheck(Twisted.apply, inputs)
    Twisted.slip = 1.01
    with pytest.raises(GradcheckError, match="for result 1"):
        gradcheck(Twisted.apply, inputs, mode="elementwise")


def test_only_inputs_that_require_grad_are_moved() -> None:
    x, y = tensor(2), tensor(2, seed=1)
    wrong_in_y = custom(lambda x, y: x * y, lambda ct, x, y: (ct * y, -ct * x))
    assert gradcheck(wrong_in_y, (x.requires_grad_(), y))
    with pytest.raises(GradcheckError, match="input 1"):
        gradcheck(wrong_in_y, (x, y.requires_grad_()))


def test_zero_size_and_zero_dimensions() -> None:
    assert gradgradcheck(lambda x: ad.exp(x), tensor(0, 3))
    assert gradgradcheck(lambda x, y: x * y, (tensor(), tensor(2, 0)))
    assert gradgradcheck(lambda x: ad.exp(x).sum(), tensor())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.detach() * 2, "no result depends on the inputs"),
        (lambda x: ad.argsort(x), "no result depends on the inputs"),
        (lambda x: ad.tensor(x.detach().numpy() * 2), "no result depends on the inputs"),
        (lambda x: ad.log(x - x), "result 0 of the function is -inf at element (0,)"),
        (lambda x: (x, (x - x) / (x - x)), "result 1 of the function is nan at element (0,)"),
        (lambda x: x * ad.tensor(np.random.default_rng().uniform(size=3)), "from call to call"),
        (custom(lambda x: x, lambda ct, x: (ct * float("nan"),)), "analytic nan"),
    ],
)
@pytest.mark.parametrize("mode", ["both", "random", "elementwise"])
def test_what_cannot_be_checked_is_reported(
    function: Callable[[Tensor], Any], message: str, mode: str
) -> None:
    with pytest.raises(GradcheckError) as caught:
        gradcheck(function, tensor(3), mode=mode)
    assert message in str(caught.value)
    assert "tests/testing/test_gradcheck.py" in str(caught.value)
    assert not gradcheck(function, tensor(3), mode=mode, raise_exception=False)


def test_nan_beside_the_point_is_a_failure() -> None:
    """Finite at the point, NaN one step to the left: the difference is NaN and must not pass."""
    for mode in ("both", "random", "elementwise"):
        with pytest.raises(GradcheckError, match="numeric"):
            gradcheck(lambda x: ad.sqrt(x), ad.tensor([1e-7, 1.0], dtype=ad.float64), mode=mode)


def test_shorter_floats_are_refused() -> None:
    for dtype in (ad.float32, ad.float16, ad.bfloat16):
        with pytest.raises(DTypeError, match=r"needs float64 inputs[\s\S]*x.double\(\)"):
            gradcheck(lambda x: x * 2, tensor(3).to(dtype))
    with pytest.raises(DTypeError, match="float64, for result 0"):
        gradcheck(lambda x: x.float(), tensor(3))
    assert gradcheck(lambda x, y: x * y.double(), (tensor(2).requires_grad_(), tensor(2).float()))


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="no float input"):
        gradcheck(lambda i: i, ad.tensor([1, 2]))
    with pytest.raises(ArgumentError, match=r"'both'|did you mean"):
        gradcheck(lambda x: x, tensor(2), mode="booth")
    for order in (0, -1, 1.5, True):
        with pytest.raises(ArgumentError, match="order must be"):
            gradcheck(lambda x: x, tensor(2), order=order)  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="must return tensors"):
        gradcheck(lambda x: x.numpy(), tensor(2))


@pytest.mark.feature("T9")
def test_large_inputs_in_random_mode() -> None:
    x = tensor(300, 200)
    assert gradcheck(lambda x: ad.tanh(x @ x.T).mean(1), x, mode="random", rtol=1e-5)


def test_tolerances_and_seed_are_used() -> None:
    slightly = custom(lambda x: x * x, lambda ct, x: (2.001 * x * ct,))
    assert not gradcheck(slightly, tensor(3), raise_exception=False)
    assert gradcheck(slightly, tensor(3), rtol=1e-2)
    assert gradcheck(slightly, tensor(3), atol=1.0)
    assert all(gradcheck(lambda x: ad.exp(x), tensor(3), seed=s) for s in range(3))
