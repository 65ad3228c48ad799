"""Data sets by name: the embedded photographs, and well-known sets through torchvision."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.channels import to_channels
from byol.data.sources.base import Source
from byol.data.sources.embedded import embedded_photos
from byol.data.sources.files import file_source
from byol.data.sources.tensor import TensorSource
from byol.errors import UserError, nearest

__all__ = ["NAMES", "data_home", "is_name", "open_named", "suggestion"]


class _Dataset(Protocol):
    """The part of a torchvision data set that is used here."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[str, int]: ...


@dataclass(frozen=True)
class _Entry:
    """A data set of torchvision."""

    cls: str
    """Name of its class."""
    parts: dict[str, dict[str, str | bool]]
    """The arguments that choose each part."""
    read: Callable[[str, _Dataset], Source]
    """Makes a source, given a name and the opened data set."""
    with_loader: bool = False
    """Whether its images are files, so that `loader=str` makes it return their paths."""


def _arrays(name: str, dataset: _Dataset) -> Source:
    """A set that torchvision keeps in memory, as (N, H, W), (N, H, W, C) or (N, C, H, W)."""
    images = torch.as_tensor(np.asarray(getattr(dataset, "data")))  # noqa: B009
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    targets = getattr(dataset, "targets", None)
    targets = getattr(dataset, "labels", None) if targets is None else targets
    labels = [int(label) for label in targets] if targets is not None else None
    if labels is not None and min(labels) < 0:  # torchvision writes -1 for no label
        labels = None
    return TensorSource(images.contiguous(), labels, _classes(dataset), name)


def _files(name: str, dataset: _Dataset) -> Source:
    """A set of image files; with `str` as its loader it returns their paths."""
    pairs = [dataset[index] for index in range(len(dataset))]
    return file_source(name, [path for path, _ in pairs], [label for _, label in pairs], _classes(dataset))


def _pets(name: str, dataset: _Dataset) -> Source:
    # The only set without a loader. Its lists have had these names since it was added (torchvision 0.12).
    paths: list[Path] = getattr(dataset, "_images")  # noqa: B009
    labels: list[int] = getattr(dataset, "_labels")  # noqa: B009
    return file_source(name, [str(path) for path in paths], list(labels), _classes(dataset))


def _classes(dataset: _Dataset) -> list[str] | None:
    classes = getattr(dataset, "classes", None)
    return [str(label) for label in classes] if classes else None


_TRAIN_TEST: dict[str, dict[str, str | bool]] = {"train": {"train": True}, "test": {"train": False}}


def _splits(**splits: str) -> dict[str, dict[str, str | bool]]:
    return {part: {"split": split} for part, split in splits.items()}


_SETS = {
    "cifar10": _Entry("CIFAR10", _TRAIN_TEST, _arrays),
    "cifar100": _Entry("CIFAR100", _TRAIN_TEST, _arrays),
    "mnist": _Entry("MNIST", _TRAIN_TEST, _arrays),
    "fashion_mnist": _Entry("FashionMNIST", _TRAIN_TEST, _arrays),
    "stl10": _Entry("STL10", _splits(train="train", unlabeled="unlabeled", test="test"), _arrays),
    "svhn": _Entry("SVHN", _splits(train="train", extra="extra", test="test"), _arrays),
    "aircraft": _Entry("FGVCAircraft", _splits(train="trainval", test="test"), _files, with_loader=True),
    "dtd": _Entry("DTD", _splits(train="train", val="val", test="test"), _files, with_loader=True),
    "eurosat": _Entry("EuroSAT", {"train": {}}, _files, with_loader=True),
    "flowers102": _Entry("Flowers102", _splits(train="train", val="val", test="test"), _files, with_loader=True),
    "food101": _Entry("Food101", _splits(train="train", test="test"), _files, with_loader=True),
    "imagenette": _Entry("Imagenette", _splits(train="train", test="val"), _files, with_loader=True),
    "pets": _Entry("OxfordIIITPet", _splits(train="trainval", test="test"), _pets),
    "sun397": _Entry("SUN397", {"train": {}}, _files, with_loader=True),
}

_PHOTOS = "photos"

NAMES = (_PHOTOS, *sorted(_SETS))
"""Every name that `open_named` knows, without parts."""


def data_home() -> Path:
    """Where downloaded sets are kept: `$BYOL_HOME`, or `~/.cache/byol`."""
    return Path(os.environ.get("BYOL_HOME") or Path.home() / ".cache" / "byol").expanduser()


def is_name(text: str) -> bool:
    """Whether a text is the name of a data set, with or without a part (`cifar10:test`)."""
    return text.partition(":")[0].lower() in NAMES


def suggestion(text: str) -> str:
    """` Did you mean 'cifar10'?` for a name that is nearly right, or an empty string."""
    name, colon, part = text.partition(":")
    return nearest(name, NAMES).replace("'?", f"{colon}{part}'?")


def open_named(text: str, channels: int | None = None) -> Source:
    """A data set by name; its training part unless `:part` follows.

    `photos` is embedded. The others are read from `data_home()`, and are downloaded there the first time.

    Raises:
        UserError: no such name or part, or it is neither on the disk nor can it be downloaded.
    """
    name, _, part = text.lower().partition(":")
    part = part or "train"
    parts = ["train", "test"] if name == _PHOTOS else list(_SETS[name].parts) if name in _SETS else None
    if parts is None:
        raise UserError(f"no data set is called {name!r}; there are {', '.join(NAMES)}.{suggestion(name)}")
    if part not in parts:
        raise UserError(f"{name} has no part {part!r}; give {' or '.join(f'{name}:{known}' for known in parts)}.")
    if name == _PHOTOS:
        source: Source = embedded_photos("test" if part == "test" else "train")
    else:
        source = _from_torchvision(text, name, part)
    if channels is not None and channels != source.channels:
        if isinstance(source, TensorSource):
            images = _converted(source.images, channels, text)
            return TensorSource(images, source.labels, source.classes, source.name)
        source.channels = channels
    return source


def _converted(images: Tensor, channels: int, name: str) -> Tensor:
    if channels not in (1, 3):
        raise UserError(f"{channels} channels were asked of {name}, which has {images.shape[1]}; ask for 1 or 3.")
    return to_channels(images, channels)


def _from_torchvision(text: str, name: str, part: str) -> Source:
    import torchvision

    entry, root = _SETS[name], data_home()
    arguments: dict[str, object] = {"root": root, "download": True, **entry.parts[part]}
    if entry.with_loader:
        arguments["loader"] = str
    try:
        root.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns about the pickles of old archives
            dataset = getattr(torchvision.datasets, entry.cls)(**arguments)
    except (
        OSError,
        RuntimeError,
        EOFError,
    ) as error:  # without a network, or after a partial download
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{name!r} is not in {str(root)!r} and cannot be downloaded ({reason}); point at a local copy instead, "
            "such as a folder of images or a Parquet file, or set BYOL_HOME to the folder that has it."
        ) from error
    return entry.read(text, dataset)
