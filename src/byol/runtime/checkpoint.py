"""Checkpoints: written atomically, loaded strictly, never unpickled.

A checkpoint is a pair of files: tensors in `step-N.safetensors`, and `step-N.json` with the step and the checksum of
the first, which is written last. Without a JSON file that fits its tensors, there is no checkpoint. The JSON file holds
a checksum of itself too.
"""

import errno
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from byol.errors import UserError

KEPT = 2
"""Checkpoints that stay in a run's folder."""
KEYS = {"step", "crc32", "bytes", "extra"}
OWN = "json_crc32"
"""What the JSON file holds: these, and a checksum of them."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a run after `step` updates."""

    step: int
    tensors: dict[str, Tensor]
    extra: dict[str, Any]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error of writing say which file it is of: the system names it where a file is opened, but not later."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees either the old one or the whole new one.

    Raises:
        UserError: the disk is full or not writable.
    """
    content = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # the rename itself must survive a power cut
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of some shared file systems, for folders
                    raise
            finally:
                os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path}: {error.strerror}. Free the disk or choose another --out.") from error


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> int:
    """Write tensors as safetensors, atomically; returns the file's CRC-32.

    Tensors that share memory, as layers do that a network uses twice, are written once under each name.
    """
    content = save(_apart(tensors), metadata)
    write_atomically(path, content)
    return zlib.crc32(content)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, no two of them in the same memory: safetensors refuses what shares it."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        result[name] = value.clone() if memory in seen else value
        seen.add(memory)
    return result


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], extra: dict[str, Any]) -> Path:
    """Write the state after `step` updates; of earlier ones the last is kept, torn later ones go."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:09d}.safetensors"
    checksum = save_tensors(path, tensors)
    content = {"step": step, "crc32": checksum, "bytes": path.stat().st_size, "extra": extra}
    content[OWN] = _own_checksum(content)
    write_atomically(path.with_suffix(".json"), json.dumps(content, indent=2) + "\n")
    names = _names(folder)
    here = names.index(path.stem)
    # what is later than this state was torn, or it would have been taken: it must not push whole ones out
    for old in names[: max(0, here + 1 - KEPT)] + names[here + 1 :]:
        (folder / f"{old}.json").unlink(missing_ok=True)
        (folder / f"{old}.safetensors").unlink(missing_ok=True)
    return path


def _own_checksum(content: dict[str, Any]) -> int:
    """Of the values of a checkpoint's JSON file, however they are laid out."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _read_json(path: Path) -> dict[str, Any]:
    """A checkpoint's JSON file.

    Raises:
        ValueError, TypeError, AttributeError: it is not as it was written.
    """
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    own = content.pop(OWN, None)
    if content.keys() != KEYS or (own is not None and own != _own_checksum(content)):  # older versions wrote none
        raise ValueError(f"the checksum of {path.name} is wrong")
    return content


def _names(folder: Path) -> list[str]:
    """Checkpoints in a folder, whole or torn, the earliest first."""
    return sorted({file.stem for file in folder.glob("step-*") if file.suffix in (".json", ".safetensors")})


def load_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, or None, and a message for each torn one that was passed over."""
    messages: list[str] = []
    for name in reversed(_names(folder)):
        path, tensors_path = folder / f"{name}.json", folder / f"{name}.safetensors"
        try:
            if not path.is_file():
                raise ValueError(f"{path.name} is missing")
            content = _read_json(path)
            if zlib.crc32(tensors_path.read_bytes()) != content["crc32"]:
                raise ValueError("its checksum is wrong")
            return Checkpoint(content["step"], load_file(tensors_path), content["extra"]), messages
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            messages.append(f"Checkpoint {tensors_path.name} is torn ({error}); it is passed over.")
    return None, messages


def gather_state(method: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights, buffers and the optimizer's memory under flat names."""
    tensors = {f"method.{name}": value for name, value in method.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{number}.{key}"] = torch.as_tensor(value)
    return tensors


def restore_state(method: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put a gathered state back, strictly: every name must fit.

    Raises:
        UserError: the tensors belong to another network or another optimizer.
    """
    weights = {k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")}
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        method.load_state_dict(weights, strict=True)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".", 2)
                if int(number) >= len(trained) or value.shape not in (trained[int(number)].shape, ()):
                    raise ValueError(f"{name} of shape {tuple(value.shape)} fits no weight")
                state.setdefault(int(number), {})[key] = value
            elif not name.startswith("method."):
                raise ValueError(f"{name} is neither a weight nor an optimizer's")
        if len({frozenset(memory) for memory in state.values()}) > 1:
            raise ValueError("the optimizer's memory is not whole")
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for weight, memory in optimizer.state.items():
            for key, value in memory.items():
                if value.shape == weight.shape:  # the weight's own memory layout: a fused step goes by it
                    memory[key] = torch.empty_like(weight, memory_format=torch.preserve_format).copy_(value)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"This checkpoint belongs to another network or optimizer: {error}") from error
