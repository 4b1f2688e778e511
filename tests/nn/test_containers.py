"""Lists and dicts of modules and parameters: PyTorch's operations and names."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import adjoint as ad
from adjoint import nn
from adjoint.base.errors import AdjointError


def names(module: Any) -> list[str]:
    return list(module.state_dict())


def edited(lib: Any) -> list[Any]:
    """The same edits with either library: what is left after each."""

    def layers(count: int) -> list[Any]:
        return [lib.Linear(i + 1, 2, bias=False) for i in range(count)]

    found: list[Any] = []
    for make in (lambda items: lib.Sequential(*items), lib.ModuleList):
        box = make(layers(3))
        box.insert(1, lib.Linear(9, 2, bias=False))
        found.append(shapes(box))
        found.append(tuple(box.pop(0).weight.shape))
        del box[1]
        found.append(shapes(box))
        box += make(layers(2))
        found.append(shapes(box + make(layers(1))))
        box[0] = lib.Linear(7, 2, bias=False)
        box.extend(layers(1))
        del box[1:3]
        found.append((shapes(box), len(box), shapes(box[:2])))
    doubled = lib.Sequential(*layers(2)) * 2
    doubled *= 2
    found.append((len(doubled), names(doubled)))
    return found


def shapes(box: Any) -> list[Any]:
    return [(name, tuple(value.shape)) for name, value in box.state_dict().items()]


def test_edits_of_lists_are_pytorchs() -> None:
    assert edited(nn) == edited(torch.nn)


def dicts(lib: Any, one: Any) -> list[Any]:
    box = lib.ModuleDict({"b": lib.Linear(1, 1), "a": lib.Tanh()})
    box.update([("c", lib.Linear(2, 1, bias=False))])
    found: list[Any] = [list(box), names(box), type(box.pop("a")).__name__, len(box), "a" in box]
    box.clear()
    found.append(len(box))
    params = lib.ParameterDict({"left": lib.Parameter(one), "plain": 5})
    params["right"] = one
    found += [sorted(params), names(params), params["plain"], params.get("none", 3)]
    params |= {"more": one}
    found += [names(params), params.setdefault("left", None).requires_grad, params.popitem()[0]]
    del params["left"]
    both = params | lib.ParameterDict({"other": one})
    found += [sorted(both), len(params.copy()), sorted(params.fromkeys(["x"], one))]
    listed = lib.ParameterList([one, 3])
    listed.append(one)
    listed += [one]
    listed[1] = 4
    found += [names(listed), len(listed), listed[1], listed[-1].requires_grad, len(listed[1:])]
    return found


def test_dicts_and_lists_of_parameters_are_pytorchs() -> None:
    assert dicts(nn, ad.ones(2)) == dicts(torch.nn, torch.ones(2))


def test_wrong_containers() -> None:
    box = nn.Sequential(nn.Tanh())
    for wrong in (
        lambda: box.pop(3), lambda: box + nn.ModuleList(), lambda: box * 0,
        lambda: box.insert(5, nn.Tanh()),
        lambda: nn.ModuleDict({"a": nn.Tanh()})["b"], lambda: nn.ModuleDict([1, 2]),
        lambda: nn.ParameterDict({"a": ad.ones(1)})["b"], lambda: nn.ParameterDict({"keys": 1}),
        lambda: nn.ParameterList(3), lambda: nn.ParameterList([1])[1],
    ):  # fmt: skip
        with pytest.raises(AdjointError):
            wrong()
