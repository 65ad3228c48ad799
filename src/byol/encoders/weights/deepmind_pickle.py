"""A reader of the official BYOL checkpoints: pickles of dill's with the trees of Haiku.

It makes arrays and plain containers and nothing else. The helpers of dill, NumPy and Haiku that such a file names are
answered by functions of our own, for just these names; every other name becomes a stand-in.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol.encoders.weights.pickles import KNOWN, Reader, Unreadable
from byol.encoders.weights.stand_in import StandIn, stand_in_for

CODES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
"""NumPy's names of the values that arrays may have."""
MAPPINGS = ("haiku._src.data_structures.",)
"""Haiku's read-only dicts, of several names over the years."""


class _DType:
    """The kind of an array's values."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in CODES:
            raise Unreadable(f"an array of {code}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = "<" if state[1] in ("<", "|", "=") else ">"


class _Array:
    """An array that is being made."""

    def __init__(self, *_: Any) -> None:
        self.value = torch.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, content = state
        if not isinstance(dtype, _DType) or not isinstance(content, bytes):
            raise Unreadable("an array of other things than numbers")
        values = np.frombuffer(content, dtype=np.dtype(dtype.order + dtype.code))
        values = values.reshape(shape, order="F" if by_columns else "C")
        self.value = torch.from_numpy(values.astype(np.dtype("=" + dtype.code), order="C"))  # a copy


class _Fields(StandIn):
    """A named tuple, whose class dill makes on the spot."""

    names: tuple[str, ...] = ()


def _named_tuple(name: str, fields: Any, *_: Any) -> type[_Fields]:
    return type("Fields", (_Fields,), {"names": tuple(map(str, fields)), "origin": str(name)})


def _dill_array(_: Any, __: Any, state: tuple[Any, ...], *___: Any) -> _Array:
    """dill's way to keep an array: how it is begun, then its state."""
    made = _Array()
    made.__setstate__(state)
    return made


def _module_named(name: str, *_: Any) -> str:
    """Where dill imports a module, its name alone."""
    return str(name)


def _part_of(module: str, name: str, *_: Any) -> Any:
    """Where dill takes a function from a module: one of our list, or a stand-in."""
    return ALLOWED[module, name] if (module, name) in ALLOWED else stand_in_for(str(module), str(name))


ALLOWED: dict[tuple[str, str], Any] = {
    **KNOWN,
    ("dill._dill", "_create_namedtuple"): _named_tuple,
    ("dill._dill", "_create_array"): _dill_array,
    ("dill._dill", "_import_module"): _module_named,
    ("dill._dill", "_get_attr"): _part_of,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    **{
        (module, "_reconstruct"): _Array
        for module in (
            *("numpy.core.multiarray", "numpy._core.multiarray"),
            *("numpy.core._multiarray_umath", "numpy._core._multiarray_umath"),
        )
    },
}
"""All that such a file can make besides stand-ins."""


def read_deepmind(path: Path) -> dict[str, Any]:
    """What an official checkpoint holds, as dicts and tensors.

    Raises:
        Unreadable: it is another pickle, or torn.
    """
    try:
        with path.open("rb") as file:
            content = _plain(Reader(file, known=ALLOWED).load())
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"a pickle that is not whole: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("experiment_state"), dict):
        raise Unreadable("a pickle that PyTorch did not write")
    return content


def _plain(node: Any, depth: int = 0) -> Any:
    if depth > 50:
        raise Unreadable("a tree that is too deep")
    if isinstance(node, _Array):
        return node.value
    if isinstance(node, _Fields):
        return {name: _plain(value, depth + 1) for name, value in zip(node.names, node.arguments, strict=False)}
    if isinstance(node, Mapping):
        return {str(key): _plain(value, depth + 1) for key, value in node.items()}
    if isinstance(node, StandIn) and node.origin.startswith(MAPPINGS):
        return _plain(_inside(node), depth + 1)
    return node


def _inside(node: StandIn) -> Mapping[str, Any]:
    """The dict in a read-only one of Haiku's: what it was made of, or what its state keeps."""
    parts = node.state if isinstance(node.state, tuple) else (node.state,)  # a class with slots keeps two
    kept = [value for part in parts if isinstance(part, Mapping) for value in part.values()]
    return next((value for value in (*node.arguments, *kept, *parts) if isinstance(value, Mapping)), {})
