"""Adjoint beside PyTorch and JAX, on one machine, in one run: ``python bench/run.py``."""
