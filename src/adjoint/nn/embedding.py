"""Embedding: a table of learned vectors, read one by one or by the bag."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.shape import as_size
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


class _Table(Module):
    """What both layers share: the table, its start, and its options."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None

    def _setup(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None,
        weight: Handle | None, freeze: bool, device: object, dtype: object,
    ) -> None:  # fmt: skip
        kind = type(self).__name__
        self.num_embeddings = as_size(kind, num_embeddings)
        self.embedding_dim = as_size(kind, embedding_dim)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise errors.index(
                    f"{kind}: padding_idx {padding_idx} is outside a table of {num_embeddings}",
                    hint=f"allowed: {-num_embeddings} to {num_embeddings - 1}",
                )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        shape = (self.num_embeddings, self.embedding_dim)
        if weight is not None:
            if weight.shape != shape:
                raise errors.shape(
                    kind, f"_weight must be {errors.dims(shape)}", weight, hint="leave it out"
                )
            self.weight = Parameter(weight, requires_grad=not freeze)
            return
        made = creation.empty(shape, dtype=dtype, device=device)
        self.weight = Parameter(made, requires_grad=not freeze)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values."""
        init.normal_(self.weight)
        if self.padding_idx is not None and not self.weight.node.is_abstract:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text


class Embedding(_Table):
    """Row ``weight[i]`` for every index i: (...) -> (..., embedding_dim).

    weight (num_embeddings, embedding_dim) starts standard normal. The row ``padding_idx`` starts
    at 0 and gets no gradient. ``max_norm``: rows that are used and longer are cut to it.
    ``scale_grad_by_freq``: the gradient of a row is the mean over its uses. ``sparse`` changes
    nothing.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False, _weight: Handle | None = None, _freeze: bool = False,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        self._setup(num_embeddings, embedding_dim, padding_idx, _weight, _freeze, device, dtype)

    @classmethod
    def from_pretrained(
        cls, embeddings: Handle, freeze: bool = True, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """A layer around a given table (V, D); ``freeze`` keeps it from being trained."""
        count, size = _matrix(embeddings)
        return cls(
            count, size, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings,
            freeze,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return super().extra_repr() + (", sparse=True" if self.sparse else "")

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip


class EmbeddingBag(_Table):
    """The sum, mean or maximum (``mode``) of the rows that each bag of indices names.

    (B, N) -> (B, embedding_dim), or (N,) with ``offsets`` (B,): see ``functional.embedding_bag``.
    weight (num_embeddings, embedding_dim) starts standard normal.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
        sparse: bool = False, _weight: Handle | None = None, include_last_offset: bool = False,
        padding_idx: int | None = None, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = as_choice("EmbeddingBag mode", mode, ["sum", "mean", "max"])
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        self._setup(num_embeddings, embedding_dim, padding_idx, _weight, False, device, dtype)

    @classmethod
    def from_pretrained(
        cls, embeddings: Handle, freeze: bool = True, **options: Any
    ) -> EmbeddingBag:
        """A layer around a given table (V, D); ``freeze`` keeps it from being trained. Other
        arguments as for the class."""
        count, size = _matrix(embeddings)
        made = cls(count, size, _weight=embeddings, **options)
        made.weight.requires_grad_(not freeze)
        return made

    def forward(
        self, input: Tensor, offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        text += f", mode={self.mode!r}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"


def _matrix(embeddings: Handle) -> tuple[int, int]:
    if embeddings.ndim != 2:
        raise errors.shape(
            "from_pretrained", "the table needs 2 dimensions", embeddings,
            hint="(number of entries, size of each)",
        )  # fmt: skip
    count, size = embeddings.shape
    return count, size
