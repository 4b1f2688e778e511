"""The NumPy meaning of erf, which NumPy itself does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial.polynomial import polyval

Array = np.ndarray[Any, np.dtype[Any]]
Rational = tuple[tuple[float, ...], tuple[float, ...]]

# Rational approximations of FreeBSD's s_erf.c (Sun Microsystems 1993), one per interval.
_PP = (1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02,
       -5.77027029648944159157e-03, -2.37630166566501626084e-05)  # fmt: skip
_QQ = (1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03,
       1.32494738004321644526e-04, -3.96022827877536812320e-06)  # fmt: skip
_PA = (-2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01,
       3.18346619901161753674e-01, -1.10894694282396677476e-01, 3.54783043256182359371e-02,
       -2.16637559486879084300e-03)  # fmt: skip
_QA = (1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02,
       1.26171219808761642112e-01, 1.36370839120290507362e-02,
       1.19844998467991074170e-02)  # fmt: skip
_RA = (-9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e01,
       -6.23753324503260060396e01, -1.62396669462573470355e02, -1.84605092906711035994e02,
       -8.12874355063065934246e01, -9.81432934416914548592e00)  # fmt: skip
_SA = (1.0, 1.96512716674392571292e01, 1.37657754143519042600e02, 4.34565877475229228821e02,
       6.45387271733267880336e02, 4.29008140027567833386e02, 1.08635005541779435134e02,
       6.57024977031928170135e00, -6.04244152148580987438e-02)  # fmt: skip
_RB = (-9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e01,
       -1.60636384855821916062e02, -6.37566443368389627722e02, -1.02509513161107724954e03,
       -4.83519191608651397019e02)  # fmt: skip
_SB = (1.0, 3.03380607434824582924e01, 3.25792512996573918826e02, 1.53672958608443695994e03,
       3.19985821950859553908e03, 2.55305040643316442583e03, 4.74528541206955367215e02,
       -2.24409524465858183362e01)  # fmt: skip
ERX = 8.45062911510467529297e-01
# Numerator and denominator, lowest power first: for |x| below 0.84375, 1.25, 1 / 0.35, and beyond.
NEAR, MIDDLE, FAR, TAIL = (_PP, _QQ), (_PA, _QA), (_RA, _SA), (_RB, _SB)


def erf_array(x: Array) -> Array:
    """erf(x) = 2/sqrt(pi) * integral_0^x exp(-t^2) dt, to about 1 ulp in float64."""
    wide = np.asarray(x, np.float64)
    a = np.abs(wide)
    out = np.empty_like(wide)
    near, mid = a < 0.84375, (a >= 0.84375) & (a < 1.25)
    far, tail = (a >= 1.25) & (a < 1 / 0.35), (a >= 1 / 0.35) & (a < 6)
    v = wide[near]
    out[near] = v + v * _ratio(v * v, NEAR)
    v = a[mid] - 1.0
    out[mid] = ERX + _ratio(v, MIDDLE)
    out[far] = 1.0 - _erfc(a[far], FAR)
    out[tail] = 1.0 - _erfc(a[tail], TAIL)
    out[a >= 6] = 1.0
    rest = ~near
    out[rest] = np.copysign(out[rest], wide[rest])
    out[np.isnan(wide)] = np.nan
    return out.astype(x.dtype)


def _erfc(a: Array, rational: Rational) -> Array:
    return np.exp(-a * a - 0.5625 + _ratio(1.0 / (a * a), rational)) / a


def _ratio(x: Array, rational: Rational) -> Array:
    return polyval(x, rational[0]) / polyval(x, rational[1])
