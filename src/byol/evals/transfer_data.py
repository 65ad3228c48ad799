"""The paper's twelve transfer sets by name: where they are, how they are split, and their metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from byol.data.sources.digest import digest
from byol.data.sources.open import Source, open_source
from byol.data.sources.wrapped import WrappedSource
from byol.errors import UserError, nearest
from byol.evals.labels import by_class, labeled
from byol.evals.voc import VOC_CLASSES, voc_images, voc_names, voc_presence, voc_root

MetricName = Literal["top1", "mean_per_class", "map11"]


@dataclass(frozen=True)
class TransferSet:
    """One row of the paper's table of data sets (arXiv:2006.07733, Appendix D.1)."""

    title: str
    classes: int
    train: int
    valid: int
    test: int
    metric: MetricName
    named: str | None = None
    """Its name for `open_source`; None if a local copy is needed."""

    @property
    def held_out(self) -> float:
        """Share of the training part that is held out if there is no validation part."""
        return self.valid / (self.train + self.valid)


TRANSFER_SETS = {
    "food101": TransferSet("Food101", 101, 68175, 7575, 25250, "top1", "food101"),
    "cifar10": TransferSet("CIFAR-10", 10, 45000, 5000, 10000, "top1", "cifar10"),
    "cifar100": TransferSet("CIFAR-100", 100, 44933, 5067, 10000, "top1", "cifar100"),
    "birdsnap": TransferSet("Birdsnap", 500, 42405, 4981, 2443, "top1"),
    "sun397": TransferSet("SUN397", 397, 15880, 3970, 19850, "top1"),
    "cars": TransferSet("Cars", 196, 6494, 1650, 8041, "top1"),
    "aircraft": TransferSet("Aircraft", 100, 3334, 3333, 3333, "mean_per_class", "aircraft"),
    "voc2007": TransferSet("VOC2007", 20, 2501, 2510, 4952, "map11"),
    "dtd": TransferSet("DTD", 47, 1880, 1880, 1880, "top1", "dtd"),
    "pets": TransferSet("Pets", 37, 2940, 740, 3669, "mean_per_class", "pets"),
    "caltech101": TransferSet("Caltech-101", 101, 2550, 510, 6084, "mean_per_class"),
    "flowers": TransferSet("Flowers", 102, 1020, 1020, 6149, "mean_per_class", "flowers102"),
}
"""Counts and metrics of Appendix D.1: `mean_per_class` is averaged over classes, `map11` is VOC 2007's metric."""

CALTECH_TRAIN, CALTECH_VALID = 25, 5
"""Images per category of Caltech-101 for training and validation; the rest is the test part (D.1)."""


@dataclass(frozen=True)
class OpenedSet:
    """The parts of a set."""

    train: Source
    valid: Source | None
    """None: held out from the training part, with the share of the table."""
    test: Source

    def sources(self) -> dict[str, Source]:
        """The parts that there are, by role."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {role: part for role, part in parts.items() if part is not None}


class ManyLabels(WrappedSource):
    """Images that may have several labels each, such as VOC's."""

    def __init__(self, base: Source, truth: Tensor, classes: Sequence[str]) -> None:
        assert len(base) == len(truth), "one row of truth per image"
        super().__init__(base)
        self.truth = truth
        """(N, C) int64: 1 yes, 0 no, -1 unknown."""
        self.labels = None
        self.classes: list[str] = list(classes)

    def fingerprint(self) -> str:
        return digest([self._base.fingerprint(), self.truth.to(torch.int8).numpy().tobytes()])


def transfer_set(name: str) -> TransferSet:
    """One of the paper's sets by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in TRANSFER_SETS:
        raise UserError(
            f"There is no transfer set {name!r}; there are {', '.join(TRANSFER_SETS)}.{nearest(name, TRANSFER_SETS)}"
        )
    return TRANSFER_SETS[name]


def open_transfer(name: str, root: str | Path | None = None, channels: int = 3, seed: int = 0) -> OpenedSet:
    """Open one of the paper's sets.

    Args:
        name: a key of `TRANSFER_SETS`.
        root: a folder with local copies: `ROOT/NAME/train`, `valid` (or `val`, may be missing) and `test`, each a
            folder with one sub-folder per class, or a Parquet file; `ROOT/voc2007` a VOC folder with test annotations;
            `ROOT/caltech101` a folder with one sub-folder per category.
        channels: of the images.
        seed: of Caltech-101's random split.

    Raises:
        UserError: no such name, or the set is neither there nor downloadable.
    """
    entry = transfer_set(name)
    folder = None if root is None else Path(root) / name
    if folder is not None and folder.is_dir():
        if name == "voc2007":
            train, valid, test = (_voc(folder, part, channels) for part in ("train", "val", "test"))
            return OpenedSet(train, valid, test)
        if name == "caltech101" and not (folder / "train").exists():
            return _caltech(folder, channels, seed)
        return _local(folder, channels)
    if entry.named is None:
        where = "a local copy" if folder is None else str(folder)
        raise UserError(
            f"{entry.title} cannot be downloaded here; put {where} with train, valid and test (a folder with one "
            f"sub-folder per class each, or Parquet files) and give --root the folder above {name}."
        )
    parts = {"train": f"{entry.named}:train", "test": f"{entry.named}:test"}
    valid_part = open_source(f"{entry.named}:val", channels) if name in ("dtd", "flowers") else None
    return OpenedSet(open_source(parts["train"], channels), valid_part, open_source(parts["test"], channels))


def _local(folder: Path, channels: int) -> OpenedSet:
    def find(*names: str) -> Path | None:
        options = [folder / (name + ending) for name in names for ending in ("", ".parquet")]
        return next((path for path in options if path.exists()), None)

    train, valid, test = find("train"), find("valid", "val"), find("test")
    if train is None or test is None:
        raise UserError(f"{folder} has no {'train' if train is None else 'test'} part; put a folder or Parquet there.")
    opened = None if valid is None else open_source(valid, channels)
    return OpenedSet(open_source(train, channels), opened, open_source(test, channels))


def _voc(folder: Path, part: str, channels: int) -> ManyLabels:
    root = voc_root(folder)
    names = voc_names(root, "Main", part)
    truth = torch.tensor([voc_presence(root, name) for name in names])
    return ManyLabels(voc_images(root, names, channels), truth, VOC_CLASSES)


def _caltech(folder: Path, channels: int, seed: int) -> OpenedSet:
    known = labeled(open_source(folder, channels), "Caltech-101")
    train, valid, test = [], [], []
    for members in by_class(known.labels, seed):
        train += members[:CALTECH_TRAIN]
        valid += members[CALTECH_TRAIN : CALTECH_TRAIN + CALTECH_VALID]
        test += members[CALTECH_TRAIN + CALTECH_VALID :]
    return OpenedSet(*(known.images.subset(sorted(part)) for part in (train, valid, test)))
