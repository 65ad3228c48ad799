"""What a file of weights holds, by its first bytes and never by its name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from byol.encoders.weights.deepmind_pickle import read_deepmind
from byol.encoders.weights.pickles import Unreadable, check_zip, read_legacy, read_zip
from byol.encoders.weights.stand_in import StandIn, is_module, module_state
from byol.errors import UserError

ZIP = b"PK\x03\x04"
LEGACY = bytes.fromhex("80028a0a6cfc9c46")
"""A pickle of the number with which `torch.save` began its files before PyTorch 1.6."""
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF", "an HDF5 file, as Keras writes"),
    (b"\x08\x08\x12", "an ONNX graph"),
    (b"\x08\x07\x12", "an ONNX graph"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself"),
    (b"<!DOCTYPE", "a web page, not the file behind it"),
    (b"<html", "a web page, not the file behind it"),
)
"""How other files begin."""
BESIDE = ("config.json", "args.json")
"""JSON files that say more of a file of weights: timm's hub writes the one, solo-learn the other."""
CONVERT = (
    "where the library that wrote it is installed, write plain weights by "
    "torch.save(network.state_dict(), 'weights.pt')"
)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file holds: a tree of dicts, tensors, plain values and stand-ins."""

    path: Path
    container: str
    """What kind of file it is, in words."""
    top: Mapping[str, Any]
    beside: Mapping[str, Any]
    """What a JSON file beside it says: `config.json` of timm's hub, `args.json` of solo-learn."""
    metadata: Mapping[str, str]
    """Of a safetensors file."""

    def at(self, *keys: str) -> Mapping[str, Any]:
        """What lies at a path of keys, if it is a dict; else an empty one."""
        node: Any = self.top
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else {}


def read_contents(path: Path) -> Contents:
    """Read a file of weights. Nothing in it is run, and nothing is imported by a name from it.

    Args:
        path: the file, or a folder with a `model.safetensors` and its `config.json`.

    Raises:
        UserError: there is no such file, or it cannot be read safely.
    """
    if path.is_dir():
        found = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).is_file()]
        if not found:
            raise UserError(
                f"The folder {path} holds no encoder.safetensors, model.safetensors or pytorch_model.bin; give the "
                "file of weights itself."
            )
        path = found[0]
    try:
        with path.open("rb") as file:
            head = file.read(64)
        container, top, metadata = _read(path, head)
    except Unreadable as error:
        raise UserError(f"{path} cannot be read as weights ({error}); {CONVERT}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error
    if is_module(top):
        container, top = f"{container} of a whole module", {"": top}
    if not isinstance(top, Mapping):
        raise UserError(f"{path} holds {_kind(top)} and no dict of weights; {CONVERT}.")
    plain = _plain(top)
    assert isinstance(plain, Mapping)
    if set(plain) == {""}:
        plain = plain[""]
    return Contents(path=path, container=container, top=plain, beside=_beside(path), metadata=metadata)


def _read(path: Path, head: bytes) -> tuple[str, Any, Mapping[str, str]]:
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= path.stat().st_size:
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
                return "safetensors", tensors, file.metadata() or {}
        except SafetensorError as error:
            raise Unreadable(f"safetensors that are not whole: {error}") from error
    if head.startswith(ZIP):
        check_zip(path)  # PyTorch would hand a program to another reader
    if head.startswith((ZIP, LEGACY)):
        try:
            return "PyTorch file", torch.load(path, map_location="cpu", weights_only=True), {}
        except Exception:  # of a damaged pickle any kind; what the reader tells better
            return "PyTorch file", read_zip(path) if head.startswith(ZIP) else read_legacy(path), {}
    for begin, what in OTHERS:
        if head.startswith(begin):
            raise Unreadable(what)
    if head[:1] == b"\x80":
        return "dill pickle", read_deepmind(path), {}
    raise Unreadable("it begins like no file of weights that is known" if head else "it is empty")


def _plain(node: Any, above: frozenset[int] = frozenset()) -> Any:
    """The same with the state dicts of whole modules in their places; a dict within itself is left out."""
    if id(node) in above:
        return None
    if is_module(node):
        return module_state(node)
    if isinstance(node, Mapping):
        inside = above | {id(node)}
        return {str(key): _plain(value, inside) for key, value in node.items()}
    return node


def _beside(path: Path) -> dict[str, Any]:
    for name in BESIDE:
        file = path.parent / name
        try:
            said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        except (OSError, ValueError):
            continue
        if isinstance(said, dict):
            return said
    return {}


def _kind(value: Any) -> str:
    if isinstance(value, StandIn):
        return f"an object of {value.origin}"
    return "a single tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def is_state(node: Any) -> bool:
    """Whether a node of the tree is a state dict: names with a dot to tensors."""
    return isinstance(node, Mapping) and any("." in key and isinstance(value, Tensor) for key, value in node.items())


def state_dicts(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """All state dicts of a tree and where each lies, the uppermost first."""
    if is_state(node):
        yield path, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from state_dicts(value, (*path, key))
