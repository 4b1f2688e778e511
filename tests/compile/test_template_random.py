"""The template of random_bits gives the bits of the row."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adjoint.base.dtype import uint32
from adjoint.ir.node import Type
from adjoint.ops.source import random_bits
from tests.compile.running import compiles_elsewhere, lowered, outputs

pytestmark = pytest.mark.feature("T30")


@pytest.mark.parametrize("lead", [(), (3,), (2, 2)])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (64,), (63, 3), (4096,), (3, 4099), (0,)])
def test_same_bits(lead: tuple[int, ...], shape: tuple[int, ...]) -> None:
    key = np.random.default_rng(0).integers(0, 2**32, (*lead, 2)).astype(np.uint32)
    for job in (None, 1):
        found = outputs(random_bits, [key], {"shape": shape}, job)
        assert found is not None
        assert_array_equal(found[0], random_bits.ref(key, shape=shape))


def test_other_cpus() -> None:
    kernels, *_ = lowered(random_bits, [Type((3, 2), uint32)], {"shape": (70,)})
    assert kernels is not None
    compiles_elsewhere(kernels)
