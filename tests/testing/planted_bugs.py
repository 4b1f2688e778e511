"""Differentiable functions with their right backward and several wrong ones.

A backward takes the cotangent and the inputs and gives one gradient per input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import adjoint as ad
from adjoint import Tensor
from adjoint.autograd import Context, Function

Forward = Callable[..., Tensor]
Backward = Callable[..., tuple[Any, ...]]


class Subject(NamedTuple):
    """A function, its inputs, its right backward, and wrong ones by what is wrong in them."""

    forward: Forward
    inputs: tuple[tuple[int, ...], ...]
    right: Backward
    wrong: dict[str, Backward]


def custom(forward: Forward, backward: Backward) -> Callable[..., Tensor]:
    """The user-written Function with this forward and backward."""

    class Custom(Function):
        @staticmethod
        def forward(ctx: Context, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return forward(*args)

        @staticmethod
        def backward(ctx: Context, *gradients: Any) -> Any:
            return backward(*gradients, *ctx.saved_tensors)

    return Custom.apply


def inputs_of(subject: Subject) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(5)
    return tuple(ad.tensor(rng.uniform(0.4, 2, s) * rng.choice([-1, 1], s)) for s in subject.inputs)


INDEX = ad.tensor([2, 0, 2, 1, 2])


def softmax(x: Tensor) -> Tensor:
    e = ad.exp(x)
    return e / e.sum(1, keepdim=True)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + ad.exp(-x))


def normalised(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred / ad.sqrt((centred * centred).mean(1, keepdim=True))


def deviation(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return ad.sqrt((centred * centred).mean(1, keepdim=True))


def normalised_back(ct: Tensor, x: Tensor) -> tuple[Tensor]:
    y = normalised(x)
    part = ct - ct.mean(1, keepdim=True) - y * (ct * y).mean(1, keepdim=True)
    return (part / deviation(x),)


def taken_back(ct: Tensor, x: Tensor) -> tuple[Tensor]:
    rows = [sum((ct[k] for k in range(5) if int(INDEX[k]) == i), x[0] * 0) for i in range(3)]
    return (ad.stack(rows),)


def overwritten(ct: Tensor, x: Tensor) -> tuple[Tensor]:
    return (ad.stack([ct[1], ct[3], ct[4]]),)


def poked(ct: Tensor, place: tuple[int, int], factor: float) -> Tensor:
    mask = np.ones(ct.shape)
    mask[place] = factor
    return ct * ad.tensor(mask)


def unit(x: Tensor) -> Tensor:
    return x / ad.sqrt((x * x).sum())


SUBJECTS: dict[str, Subject] = {
    "square": Subject(
        lambda x: x * x, ((3, 4),), lambda ct, x: (2 * x * ct,),
        {
            "wrong sign": lambda ct, x: (-2 * x * ct,),
            "missing factor": lambda ct, x: (x * ct,),
            "missing term": lambda ct, x: (2 * ct,),
            "cotangent ignored": lambda ct, x: (2 * x,),
            "detached": lambda ct, x: (None,),
            "one element zero": lambda ct, x: (poked(2 * x * ct, (1, 2), 0.0),),
            "one element a little off": lambda ct, x: (poked(2 * x * ct, (2, 3), 1.0001),),
        },
    ),
    "softplus": Subject(
        lambda x: ad.log(1 + ad.exp(x)), ((5,),), lambda ct, x: (ct * sigmoid(x),),
        {
            "derivative of the derivative": lambda ct, x: (ct * sigmoid(x) * (1 - sigmoid(x)),),
            "complement": lambda ct, x: (ct * (1 - sigmoid(x)),),
            "straight through": lambda ct, x: (ct,),
            "sign inside": lambda ct, x: (ct * sigmoid(-x),),
        },
    ),
    "matmul": Subject(
        lambda a, b: a @ b, ((3, 3), (3, 3)), lambda ct, a, b: (ct @ b.T, a.T @ ct),
        {
            "first not transposed": lambda ct, a, b: (ct @ b, a.T @ ct),
            "second not transposed": lambda ct, a, b: (ct @ b.T, a @ ct),
            "swapped": lambda ct, a, b: (a.T @ ct, ct @ b.T),
            "cotangent transposed": lambda ct, a, b: (ct.T @ b.T, a.T @ ct),
            "second detached": lambda ct, a, b: (ct @ b.T, None),
            "order": lambda ct, a, b: (b.T @ ct, a.T @ ct),
        },
    ),
    "mean": Subject(
        lambda x: x.mean(0), ((4, 3),), lambda ct, x: (ct / 4 + 0 * x,),
        {
            "not divided": lambda ct, x: (ct + 0 * x,),
            "divided by the wrong size": lambda ct, x: (ct / 3 + 0 * x,),
            "divided twice": lambda ct, x: (ct / 16 + 0 * x,),
        },
    ),
    "bias": Subject(
        lambda x, b: x + b, ((3, 3), (3,)), lambda ct, x, b: (ct, ct.sum(0)),
        {
            "wrong axis": lambda ct, x, b: (ct, ct.sum(1)),
            "mean": lambda ct, x, b: (ct, ct.mean(0)),
            "first row": lambda ct, x, b: (ct, ct[0]),
            "detached": lambda ct, x, b: (ct, None),
        },
    ),
    "normalise": Subject(
        normalised, ((2, 5),), normalised_back,
        {
            "statistics as constants": lambda ct, x: (ct / deviation(x),),
            "deviation as a constant": lambda ct, x: (
                (ct - ct.mean(1, keepdim=True)) / deviation(x),
            ),
            "not divided": lambda ct, x: (normalised_back(ct, x)[0] * deviation(x),),
        },
    ),
    "softmax": Subject(
        softmax, ((3, 3),),
        lambda ct, x: (softmax(x) * (ct - (ct * softmax(x)).sum(1, keepdim=True)),),
        {
            "diagonal only": lambda ct, x: (softmax(x) * (1 - softmax(x)) * ct,),
            "missing term": lambda ct, x: (softmax(x) * ct,),
            "wrong axis": lambda ct, x: (
                softmax(x) * (ct - (ct * softmax(x)).sum(0, keepdim=True)),
            ),
            "mean for sum": lambda ct, x: (
                softmax(x) * (ct - (ct * softmax(x)).mean(1, keepdim=True)),
            ),
        },
    ),
    "product": Subject(
        lambda x, y: x * y, ((2, 3), (2, 3)), lambda ct, x, y: (ct * y, ct * x),
        {
            "swapped": lambda ct, x, y: (ct * x, ct * y),
            "first detached": lambda ct, x, y: (None, ct * x),
            "sign of one": lambda ct, x, y: (ct * y, -ct * x),
            "size only": lambda ct, x, y: (ct * abs(y), ct * abs(x)),
        },
    ),
    "relu": Subject(
        lambda x: ad.where(x > 0, x, 0 * x), ((6,),), lambda ct, x: (ad.where(x > 0, ct, 0 * ct),),
        {
            "wrong side": lambda ct, x: (ad.where(x < 0, ct, 0 * ct),),
            "leaky": lambda ct, x: (ad.where(x > 0, ct, 0.01 * ct),),
            "straight through": lambda ct, x: (ct,),
        },
    ),
    "take": Subject(
        lambda x: x[INDEX], ((3, 2),), taken_back,
        {"overwritten, not added": overwritten, "first rows": lambda ct, x: (ct[:3],)},
    ),
    "cumsum": Subject(
        lambda x: ad.cumsum(x, 0), ((5,),), lambda ct, x: (ad.cumsum(ct.flip(0), 0).flip(0),),
        {
            "not reversed": lambda ct, x: (ad.cumsum(ct, 0),),
            "reversed once": lambda ct, x: (ad.cumsum(ct.flip(0), 0),),
        },
    ),
    "quotient": Subject(
        lambda x, y: x / y, ((4,), (4,)), lambda ct, x, y: (ct / y, -ct * x / (y * y)),
        {
            "sign": lambda ct, x, y: (ct / y, ct * x / (y * y)),
            "not squared": lambda ct, x, y: (ct / y, -ct * x / y),
            "numerator lost": lambda ct, x, y: (ct / y, -ct / (y * y)),
        },
    ),
    "roll": Subject(
        lambda x: ad.roll(x, 1, 0), ((5,),), lambda ct, x: (ad.roll(ct, -1, 0),),
        {
            "same direction": lambda ct, x: (ad.roll(ct, 1, 0),),
            "not rolled": lambda ct, x: (ct,),
        },
    ),
    "transpose": Subject(
        lambda x: x.T * 1, ((3, 3),), lambda ct, x: (ct.T,),
        {"forgotten": lambda ct, x: (ct,), "reshaped": lambda ct, x: (ct.T.flip(0),)},
    ),
    "unit vector": Subject(
        unit, ((4,),),
        lambda ct, x: ((ct - unit(x) * (ct * unit(x)).sum()) / ad.sqrt((x * x).sum()),),
        {
            "length as a constant": lambda ct, x: (ct / ad.sqrt((x * x).sum()),),
            "not divided": lambda ct, x: (ct - unit(x) * (ct * unit(x)).sum(),),
            "squared length": lambda ct, x: (
                (ct - unit(x) * (ct * unit(x)).sum()) / (x * x).sum(),
            ),
        },
    ),
    "inner function": Subject(
        lambda x: ad.sin(3 * x), ((4,),), lambda ct, x: (3 * ad.cos(3 * x) * ct,),
        {
            "inner derivative lost": lambda ct, x: (ad.cos(3 * x) * ct,),
            "inner function lost": lambda ct, x: (3 * ad.cos(x) * ct,),
            "sign of the cosine": lambda ct, x: (-3 * ad.cos(3 * x) * ct,),
        },
    ),
}  # fmt: skip
BUGS = [(name, bug) for name, subject in SUBJECTS.items() for bug in subject.wrong]
