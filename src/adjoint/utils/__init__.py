"""What PyTorch keeps under ``torch.utils`` and old code imports from there; it stands elsewhere."""

from adjoint.utils import checkpoint

__all__ = ["checkpoint"]
