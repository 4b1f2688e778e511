"""The networks of the benchmarks: Adjoint, eager and captured, has PyTorch's losses and scores."""

from __future__ import annotations

import numpy as np
import pytest

from bench import libraries
from bench.prepare import weights
from bench.steps import steps_of
from bench.workloads import WORKLOADS

LOSSES = 3


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_first_losses_and_the_scores_after_them_are_torchs(name: str) -> None:
    workload = WORKLOADS[name]
    start = weights(workload, small=True)[1]
    found = {}
    for library in (libraries.TORCH, libraries.OURS_EAGER, libraries.OURS):
        steps = steps_of(library, workload, start, small=True, agreeing=True)
        losses = [steps.train() for _ in range(LOSSES)]
        steps.use()
        found[library] = losses, steps.scores()
    losses, scores = found[libraries.TORCH]
    assert losses[0] != losses[2]
    for library in (libraries.OURS_EAGER, libraries.OURS):
        np.testing.assert_allclose(found[library][0], losses, rtol=1e-4, err_msg=library)
        np.testing.assert_allclose(found[library][1], scores, rtol=1e-3, atol=1e-4)
