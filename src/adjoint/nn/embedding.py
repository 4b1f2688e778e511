"""Embedding: a table of learned vectors."""

from __future__ import annotations

from adjoint.base import errors
from adjoint.base.shape import as_size
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


class Embedding(Module):
    """Row ``weight[i]`` for every index i: (...) -> (..., embedding_dim).

    weight (num_embeddings, embedding_dim) starts standard normal. The row ``padding_idx`` starts
    at 0 and gets no gradient.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings = as_size("Embedding", num_embeddings)
        self.embedding_dim = as_size("Embedding", embedding_dim)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise errors.index(
                    f"Embedding: padding_idx {padding_idx} is outside a table of {num_embeddings}",
                    hint=f"allowed: {-num_embeddings} to {num_embeddings - 1}",
                )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        shape = (self.num_embeddings, self.embedding_dim)
        self.weight = Parameter(creation.empty(shape, dtype=dtype, device=device))
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls, embeddings: Handle, freeze: bool = True, padding_idx: int | None = None
    ) -> Embedding:
        """A layer around a given table (V, D); ``freeze`` keeps it from being trained."""
        if embeddings.ndim != 2:
            raise errors.shape(
                "from_pretrained",
                "the table needs 2 dimensions",
                embeddings,
                hint="(number of entries, size of each)",
            )
        made = cls(*embeddings.shape, padding_idx, device="meta")
        made.weight = Parameter(embeddings, requires_grad=not freeze)
        return made

    def reset_parameters(self) -> None:
        """Draw new values."""
        init.normal_(self.weight)
        if self.padding_idx is not None and not self.weight.node.is_abstract:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
