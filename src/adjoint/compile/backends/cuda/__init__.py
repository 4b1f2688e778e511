"""NVIDIA GPUs: kernels written in LLVM IR, compiled to PTX, run through the driver's library."""
