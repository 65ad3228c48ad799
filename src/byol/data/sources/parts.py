"""The parts of a data set, such as train and test, of which pretraining should see one."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from byol.errors import UserError

__all__ = ["FolderParts", "PartsWithin", "SeveralParts", "find_parts", "part_of", "parts_within"]

WORDS = {
    "train": "train|training|trains",
    "test": "test|testing|tests",
    "validation": "val|vals|valid|validation|validations|dev|eval|evaluation",
    "unlabeled": "unsupervised|unlabeled|unlabelled|extra",
}
"""What the folders and files of each part are called, in lower case."""
AROUND = r"([a-z0-9]+[-_ ])?({})([-_ ]?(set|sets|data|images?|imgs?|split|part|\d+)|[ab])?"
"""What may stand around such a word: `seg_train` (Intel's scenes), `Test_Data`, `trainset`, `train2017` (COCO),
`trainA` (CycleGAN's domains)."""
READINGS = ("validation", "test")
"""Parts that readings during training can be of, in the order of preference: a test part is best left for the end."""


class SeveralParts(UserError):  # noqa: N818  (it names what is there, as UserError does)
    """A folder holds more than one part of a data set; the error says which, and this object where."""

    def __init__(self, folder: object, places: Sequence[tuple[str, str]]) -> None:
        order = [*WORDS]
        self._places = sorted(places, key=lambda found: order.index(found[0]))
        self.names = ", ".join(Path(place).name.removesuffix("*.parquet") for _, place in self._places)
        readings = f" to train on and {self.readings[-1]!r} to test on" if self.training and self.readings else ""
        super().__init__(
            f"the folder {str(folder)!r} holds several parts ({self.names}); give one of them, for example "
            f"{self._places[0][1]!r}{readings}."
        )

    @property
    def training(self) -> str | None:
        """Where the training part is; None where there is none, or several."""
        return self._only("train")

    @property
    def readings(self) -> list[str]:
        """Where parts are that readings can be of, the best one first."""
        return [place for part in READINGS if (place := self._only(part)) is not None]

    def _only(self, part: str) -> str | None:
        places = [place for known, place in self._places if known == part]
        return places[0] if len(places) == 1 else None


@dataclass(frozen=True)
class FolderParts:
    """Folders that are parts of a data set."""

    above: str
    """The folder that they are in, relative to the images' root; empty where that is the root itself."""
    parts: dict[str, str]
    """From the name of each folder to its part, a key of `WORDS`."""


def part_of(name: str) -> str | None:
    """The part that a folder of this name is, a key of `WORDS`, or None."""
    return next(
        (part for part, words in WORDS.items() if re.fullmatch(AROUND.format(words), name.strip().lower())), None
    )


def files_of_a_part(folder: Path, suffix: str) -> list[Path]:
    """The files of a suffix in a folder itself, not below it, sorted.

    Raises:
        UserError: they are several parts of a data set, such as train and test, of which one should be given.
    """
    files = sorted(file for file in folder.glob(f"*{suffix}") if not file.name.startswith("."))
    # the first word of each name: train-00000-of-00001, test_2, validation
    words = sorted({re.split(r"[-_. ]", file.stem)[0] for file in files})
    parts = [(part, str(folder / f"{word}*{suffix}")) for word in words if (part := part_of(word)) is not None]
    if len({part for part, _ in parts}) > 1:
        raise SeveralParts(folder, parts)
    return files


def find_parts(paths: Iterable[str]) -> FolderParts | None:
    """The folders of the first level that are parts, or None.

    Folders are parts where all have such names, or where a training part lies beside one to test on. A single folder
    around them does not matter.

    Args:
        paths: of images, with `/` between folders.
    """
    steps, above = [path.split("/") for path in paths], ""
    while True:
        folders = sorted({step[0] for step in steps if len(step) > 1})
        parts = {name: part for name in folders if (part := part_of(name)) is not None}
        kinds = set(parts.values())
        if len(kinds) > 1 and (len(parts) == len(folders) or ("train" in kinds and kinds & set(READINGS))):
            return FolderParts(above, parts)
        if len(folders) != 1:
            return None
        above, steps = above + folders[0] + "/", [step[1:] for step in steps if len(step) > 1]


@dataclass(frozen=True)
class PartsWithin:
    """Parts further down, such as `bottle/train` and `bottle/test`."""

    names: list[str]
    """Of the folders that are parts, sorted."""
    depth: int
    """Folders above the parts."""
    folders: str
    """Which folders hold them, in words."""


def parts_within(paths: Iterable[str]) -> PartsWithin | None:
    """The parts that folders below the first level are divided into, if any has one to train on and one to test on.

    Args:
        paths: of images, with `/` between folders.
    """
    below: dict[str, set[str]] = {}
    for folder in {path.rpartition("/")[0] for path in paths}:
        steps = folder.split("/")
        for depth, step in enumerate(steps):
            below.setdefault("/".join(steps[:depth]), set()).add(step)
    divided = {}
    for above, names in below.items():
        parts = {name: part for name in names if (part := part_of(name)) is not None}
        if above and "train" in parts.values() and set(parts.values()) & set(READINGS):
            divided[above] = parts
    if not divided:
        return None
    first = {folder for folder in below[""] if folder}
    every = set(divided) == first
    called = sorted({name for parts in divided.values() for name in parts})
    depths = {above.count("/") + 1 for above in divided}
    which = "each folder" if every else f"the folder {min(divided)!r}"
    return PartsWithin(called, depths.pop() if len(depths) == 1 else 0, which)
