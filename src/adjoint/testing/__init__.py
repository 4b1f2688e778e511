"""What tests of numerical code need: checked derivatives and comparison with a tolerance."""

from adjoint.base.errors import GradcheckError
from adjoint.testing.closeness import assert_close
from adjoint.testing.derivatives import gradcheck, gradgradcheck

__all__ = ["GradcheckError", "assert_close", "gradcheck", "gradgradcheck"]
