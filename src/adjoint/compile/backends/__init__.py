"""Where kernels become machine code."""
