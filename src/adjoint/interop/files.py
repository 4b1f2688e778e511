"""Files that are either the old one or the new one, never half of each: see ``base/files.py``."""

from adjoint.base.files import replace_file, write_text

__all__ = ["replace_file", "write_text"]
