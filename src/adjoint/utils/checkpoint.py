"""``torch.utils.checkpoint``: the same functions as ``adjoint.checkpoint`` and its like."""

from adjoint.tensors.checkpoint import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
