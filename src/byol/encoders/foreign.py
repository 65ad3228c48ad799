"""Files that are no encoder of this package: what they are, and what to do to use their weights, in one sentence."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

__all__ = ["HOW_TO", "is_safetensors", "misfit", "what_file_it_is", "what_folder_it_is"]

HOW_TO = "docs/encoder-file.md"
"""The page that describes the files of an encoder, and how to bring weights from elsewhere."""

SAVE = (
    "save its weights under timm's names by safetensors.torch.save_file(state_dict, 'NAME.safetensors'), and write a "
    f"card NAME.json beside them ({HOW_TO})"
)
MARKS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, such as Keras writes",
    b"GGUF": "a GGUF file, a language model's",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    b"\x93NUMPY": "a NumPy array",
}
"""What files begin with. HDF5 specification, section II.A; GGUF specification; RFC 1952; PKZIP APPNOTE; NEP 1."""
SUFFIXES = {
    ".onnx": "an ONNX graph, whose weights have no names that a network could take them by",
    ".pb": "a TensorFlow graph",
    ".index": "a part of a TensorFlow checkpoint",
    ".tflite": "a TensorFlow Lite model",
    ".safetensors": "no whole file of safetensors: it may be cut short, so copy it again",
    ".json": "a JSON file and not the weights",
    ".toml": "a text file and not the weights",
}
HUGGING_FACE = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header in 8 bytes, then the header, a JSON object."""
    with path.open("rb") as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], "little")
    return head[8:] == b"{" and length <= path.stat().st_size - 8


def what_file_it_is(path: Path) -> str:
    """A sentence about a file that is no safetensors: what it is, and what to do."""
    with path.open("rb") as file:
        head = file.read(8)
    names = _zip_names(path)
    if any(name.endswith("constants.pkl") for name in names):
        return f"{path} is a TorchScript program; load it by torch.jit.load, and {SAVE}."
    if any(name.endswith("data.pkl") for name in names) or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
        return (
            f"{path} is a PyTorch checkpoint, a pickle, which may run any code when it is loaded, so it is not read "
            f"here: load it where you trust it, and {SAVE}."
        )
    if names and all(name.endswith(".npy") for name in names):
        kind = "a NumPy archive"
    else:
        marked = next((what for mark, what in MARKS.items() if head.startswith(mark)), None)
        kind = SUFFIXES.get(path.suffix.lower()) or marked or "no safetensors file"
    beside = path.with_suffix(".safetensors")
    if path.suffix.lower() == ".json" and beside.is_file():
        return f"{path} is the card of an encoder; give the weights beside it, {beside}."
    return f"{path} is {kind}; give a run's folder or its encoder.safetensors, or {SAVE}."


def what_folder_it_is(folder: Path) -> str | None:
    """A sentence about a folder of another tool, or None where it may be a run's."""
    found = next((name for name in HUGGING_FACE if (folder / name).is_file()), None)
    if found is not None:
        return (
            f"{folder} holds a model of Hugging Face's transformers ({found}), not an encoder of this package; give "
            f"timm:NAME where timm has it, or {SAVE}."
        )
    if (folder / "saved_model.pb").is_file():
        return f"{folder} is a SavedModel of TensorFlow, not an encoder of this package; {SAVE}."
    return None


def misfit(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """How the weights of a file differ from those that a network takes, in part of a sentence."""
    missing = [name for name in wanted if name not in given]
    strange = [name for name in given if name not in wanted]
    said = [f"lacks {_first(missing)}"] if missing else []
    said += [f"has {_first(strange)}, which the network lacks"] if strange else []
    if not said:
        for name, weight in wanted.items():
            if given[name].shape != weight.shape:
                return f"has {name} of shape {tuple(given[name].shape)} where {tuple(weight.shape)} is wanted"
    return " and ".join(said)


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _zip_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []
