"""Files and other programs: weights in and out."""

from adjoint.interop.safetensors import load, load_metadata, save

__all__ = ["load", "load_metadata", "save"]
