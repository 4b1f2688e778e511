"""Floor 6: what users touch. Tensors, functions of tensors, and transforms of such functions."""
