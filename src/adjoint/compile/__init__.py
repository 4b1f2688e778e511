"""Floor 5: a Graph becomes a Program."""
