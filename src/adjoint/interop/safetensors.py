"""Weights in ``.safetensors`` files: names, numbers and text, and nothing that could run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import OF_NUMPY, as_dtype
from adjoint.interop.files import replace_file
from adjoint.ir.node import constant
from adjoint.tensors.handle import wrap
from adjoint.tensors.tensor import Tensor

SUFFIX = ".safetensors"
ALIASES = "adjoint.aliases"
"""The metadata entry with the names of tied tensors: JSON, from each further name to the first."""

# The format's names of the dtypes; those missing here are missing in Adjoint too.
DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip

Path_ = str | os.PathLike[str]


def save(
    tensors: Mapping[str, Any], path: Path_, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors, such as a ``state_dict()``, to a ``.safetensors`` file.

    The file is replaced in one step: whoever reads it sees the old content or the new one. A
    tensor that stands under several names is written once, with the other names in the metadata.
    Values are tensors or NumPy arrays; metadata maps text to text. Raises ArgumentError or
    DTypeError for anything else. Source: the safetensors format, version 0.4.
    """
    target = _checked_path("save", path)
    arrays = _arrays(tensors)
    kept, aliases = _without_repeats(arrays)
    text = _checked_metadata(metadata)
    if aliases:
        text[ALIASES] = json.dumps(aliases)
    from safetensors.numpy import save_file

    # The library writes the memory as it lies, so every array must be in C order.
    flat = {name: np.asarray(array, order="C") for name, array in kept.items()}
    replace_file(target, lambda temporary: save_file(flat, temporary, text or None))


def load(path: Path_, *, tie: bool = False) -> dict[str, Tensor]:
    """The named tensors of a ``.safetensors`` file, written here or by any other library.

    Names that were saved as one tensor come back as equal tensors, or with ``tie`` as one and the
    same. Raises ArgumentError, naming the file, when it is damaged, and DTypeError for a dtype
    that Adjoint does not have (the 8-bit floats, complex).
    """
    file = _read(path)
    found = {name: _tensor(file.path, name, entry) for name, entry in file.entries}
    for name, first in _alias_table(file, found).items():
        found[name] = found[first] if tie else wrap(found[first].node)
    return found


def load_metadata(path: Path_) -> dict[str, str]:
    """The text that was saved beside the tensors of a ``.safetensors`` file."""
    return {key: value for key, value in _read(path).metadata.items() if key != ALIASES}


def _checked_path(op: str, path: Path_) -> Path:
    found = Path(path)
    if found.suffix != SUFFIX:
        raise errors.argument(
            op, f"{str(found)!r} does not end in {SUFFIX}",
            hint=f"this is the only weight format: {str(found.with_suffix(SUFFIX))!r}",
        )  # fmt: skip
    return found


def _arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(tensors, Mapping):
        hint = "save(model.state_dict(), path)" if hasattr(tensors, "state_dict") else ""
        hint = hint or "give a dict from names to tensors: save({'x': x}, path)"
        raise errors.not_a_tensor("save", tensors, hint=hint)
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            hint = "names are text, and '__metadata__' is taken by the format"
            raise errors.argument("save", f"{name!r} cannot be the name of a tensor", hint=hint)
        if isinstance(value, Tensor):
            found[name] = value.node.array("save")
        elif isinstance(value, np.ndarray) and value.dtype in OF_NUMPY:
            found[name] = value
        else:
            hint = f"the value of {name!r} must be a tensor; names are joined by dots, not nested"
            raise errors.not_a_tensor("save", value, hint=hint)
    return found


def _without_repeats(
    arrays: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays with each piece of memory once, and the other names of the rest.

    Values never change, so the same memory seen in the same way is the same tensor.
    """
    kept: dict[str, np.ndarray] = {}
    aliases: dict[str, str] = {}
    first: dict[Any, str] = {}
    for name, array in arrays.items():
        place = array.__array_interface__["data"][0]
        seen = (place, array.shape, array.strides, array.dtype) if array.size else name
        if seen in first:
            aliases[name] = first[seen]
        else:
            first[seen] = name
            kept[name] = array
    return kept, aliases


def _checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    text = dict(metadata or {})
    for key, value in text.items():
        if not isinstance(key, str) or not isinstance(value, str):
            hint = "write numbers and lists as text: str(value) or json.dumps(value)"
            raise errors.argument("save", f"metadata {key!r}: {value!r} is not text", hint=hint)
    if ALIASES in text:
        what = f"the metadata entry {ALIASES!r} is written by save itself"
        raise errors.argument("save", what, hint="choose another key")
    return text


class _File(NamedTuple):
    path: Path
    entries: list[tuple[str, dict[str, Any]]]
    metadata: dict[str, str]


def _read(path: Path_) -> _File:
    from safetensors import SafetensorError, deserialize

    source = _checked_path("load", path)
    content = source.read_bytes()
    try:
        entries = deserialize(content)
    except SafetensorError as problem:
        reason = str(problem).removeprefix("Error while deserializing: ")
        raise errors.argument(
            "load", f"{source} is not a whole safetensors file: {reason}",
            hint=f"it has {len(content)} bytes; was it cut off, or is it another format?",
        ) from None  # fmt: skip
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return _File(source, entries, header.get("__metadata__") or {})


def _tensor(path: Path, name: str, entry: dict[str, Any]) -> Tensor:
    known = DTYPES.get(entry["dtype"])
    if known is None:
        raise errors.wrong_dtype(
            f"load: {name!r} in {path}", entry["dtype"], f"one of {', '.join(DTYPES)}",
            hint="convert the file with the library that wrote it",
        )  # fmt: skip
    array = np.frombuffer(entry["data"], as_dtype(known).numpy).reshape(entry["shape"])
    return wrap(constant(array))


def _alias_table(file: _File, found: dict[str, Tensor]) -> dict[str, str]:
    if ALIASES not in file.metadata:
        return {}
    try:
        table = json.loads(file.metadata[ALIASES])
        good = all(first in found and name not in found for name, first in table.items())
    except (ValueError, AttributeError, TypeError):
        good, table = False, {}
    if not good:
        what = f"{file.path}: the metadata entry {ALIASES!r} makes no sense"
        raise errors.argument("load", what, hint="it maps each further name to a saved one")
    return table
