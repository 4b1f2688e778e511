"""Floor 0: knows no tensor. Dtypes, shapes, trees, errors, flags."""
