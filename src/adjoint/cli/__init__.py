"""Floor 9: the command ``adjoint``. Nothing here imports the engine before a command needs it."""
