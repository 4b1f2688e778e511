"""Edge and blur filters against SciPy, and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as nd
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.nn import functional as F
from tests.tensors.twins import floats, maps, smooth

MODES = {
    "replicate": "nearest", "reflect": "mirror", "circular": "wrap", "constant": "constant",
}  # fmt: skip


@pytest.mark.feature("O20", "O21")
@pytest.mark.parametrize("mode", MODES)
def test_filters_are_scipys(mode: str) -> None:
    x = floats(8, 9)
    for dim in (-2, -1):
        for name in ("sobel", "prewitt"):
            ours = getattr(F, name)(ad.tensor(x), dim, mode).numpy()
            np.testing.assert_allclose(ours, getattr(nd, name)(x, dim, mode=MODES[mode]),
                                       atol=1e-12)  # fmt: skip
    laplace = F.laplacian(ad.tensor(x), mode).numpy()
    np.testing.assert_allclose(laplace, nd.laplace(x, mode=MODES[mode]), atol=1e-12)
    for sigma in (0.8, (0.7, 1.2)):
        blur = F.gaussian_filter(ad.tensor(x), sigma, 3.0, mode=mode).numpy()
        twin = nd.gaussian_filter(x, sigma, mode=MODES[mode], truncate=3.0)
        np.testing.assert_allclose(blur, twin, atol=1e-12)


@pytest.mark.feature("O21")
def test_the_separable_path_is_the_full_kernel() -> None:
    x = floats(2, 3, 9, 10)
    kernel = F.gaussian_kernel((0.6, 1.1)).numpy()
    assert kernel.sum() == pytest.approx(1, rel=1e-12)
    wide = F.pad(ad.tensor(x), (kernel.shape[1] // 2,) * 2 + (kernel.shape[0] // 2,) * 2,
                 "replicate").numpy()  # fmt: skip
    full = torch.nn.functional.conv2d(
        torch.tensor(wide.copy()).reshape(6, 1, *wide.shape[2:]), torch.tensor(kernel)[None, None]
    )
    np.testing.assert_allclose(
        F.gaussian_filter(ad.tensor(x), (0.6, 1.1)).numpy(), full.reshape(x.shape), atol=1e-12
    )


@pytest.mark.feature("O20")
def test_the_edge_of_a_disc_is_found() -> None:
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(rows - 31.5, columns - 31.5)
    disc = (distance < 20).astype(np.float64)
    edge = (nd.binary_dilation(disc) > 0) & (nd.binary_erosion(disc) == 0)
    for found in (F.sobel(ad.tensor(disc)), F.prewitt(ad.tensor(disc))):
        assert (found.numpy()[edge] > 0.5).mean() >= 0.99
        assert (found.numpy()[np.abs(distance - 20) > 3] == 0).all()
    assert (np.abs(F.laplacian(ad.tensor(disc)).numpy())[edge] > 0).mean() >= 0.99


def test_derivatives_batching_and_mistakes() -> None:
    smooth(F.sobel, floats(4, 5), order=1)
    smooth(lambda a: F.gaussian_filter(a, 0.8), floats(4, 5))
    maps(F.laplacian, floats(2, 4, 5))
    with pytest.raises(ArgumentError, match="last two axes"):
        F.sobel(ad.ones(2, 3, 3), 0)
    with pytest.raises(ArgumentError, match="sigma"):
        F.gaussian_filter(ad.ones(3, 3), -1.0)
    with pytest.raises(ArgumentError, match="mode"):
        F.laplacian(ad.ones(3, 3), "nearest")
    with pytest.raises(ShapeError):
        F.sobel(ad.ones(3))
    with pytest.raises(DTypeError):
        F.sobel(ad.ones(3, 3).long())
