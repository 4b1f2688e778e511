"""Floor 1: bytes and devices."""

from adjoint.base.config import FLAGS
from adjoint.runtime.memory import keep_freed_memory

if FLAGS.keep_memory:
    keep_freed_memory()
