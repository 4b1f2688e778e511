"""The CPU: its targets, and the way from LLVM IR to a function of this process."""
