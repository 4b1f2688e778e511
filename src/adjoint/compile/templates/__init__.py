"""Templates: ops and regions with kernels of their own, each in a module that is imported when a
program first needs it."""

from __future__ import annotations

MODULES: dict[str, str] = {
    "argmax": "extreme",
    "argsort": "sorting",
    "attention": "attention",
    "attention_gradient": "attention_gradient",
    "cumsum": "scanning",
    "from_first_max": "pooling_choice",
    "gather": "indexing",
    "index_set": "indexing",
    "largest_at": "indexing",
    "place_of_max": "pooling_choice",
    "random_bits": "random",
    "running_argmax": "scanning",
    "running_logsumexp": "scanning",
    "running_product": "scanning",
    "scatter_add": "indexing",
    "search": "searching",
    "to_first_max": "pooling_gradient",
    "top_indices": "sorting",
    "window_max": "pooling",
    "window_spread": "pooling_gradient",
    "window_sum": "pooling",
}
"""By the name of an op or a region, the module of this package that enters its template."""
