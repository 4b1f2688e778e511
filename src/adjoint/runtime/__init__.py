"""Floor 1: bytes and devices."""
