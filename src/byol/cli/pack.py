"""`byol pack`: images of any kind as tar shards that start in seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from byol.cli.parse import parse
from byol.config.axes import Axes
from byol.config.reading import ReadingConfig


@dataclass(frozen=True, kw_only=True)
class PackedData:
    """How the images are read; shards hold them as they were read."""

    channels: int | None = None
    """As for pretrain."""
    axes: Axes = "auto"
    """As for pretrain."""
    reading: ReadingConfig = ReadingConfig()


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Write images as tar shards (WebDataset's layout), which a run opens in seconds, however many there are."""

    images: Annotated[Positional[str], arg(metavar="DATA")]
    """As for pretrain: a folder, a list, Parquet, archives."""
    out: str
    """Folder of the shards; a pack that was stopped there goes on."""
    side: int | None = None
    """Shorter side, in pixels, that larger images are shrunk to; by default none is."""
    shard_mib: float = 256
    """Size of a shard, about, in MiB."""
    workers: int | None = None
    """Threads; by default one per core."""
    labels: str | None = None
    """CSV file of path and label, as for pretrain; the shards hold the labels."""
    groups: str | None = None
    """CSV file of path and group, or `folders`, as for pretrain; the shards hold the groups."""
    unlabeled: bool = False
    """Whether folder names, or a column of labels, are no labels."""
    data: PackedData = PackedData()


def run(arguments: list[str]) -> int:
    """Write the shards; the exit code."""
    command = parse(Pack, arguments, "byol pack", Pack.__doc__ or "")
    from byol.cli.progress import Bars
    from byol.data.labeling import Labeling, label_images
    from byol.data.pack import UNREADABLE, pack
    from byol.data.reading import opened_as
    from byol.data.sources.open import open_source
    from byol.errors import UserError
    from byol.runtime.device import cores
    from byol.runtime.program import program

    if command.side is not None and command.side < 8:
        raise UserError(f"--side is {command.side}, but must be 8 pixels or more.")
    if command.shard_mib <= 0:
        raise UserError(f"--shard-mib is {command.shard_mib:g}, but must be above 0.")
    labeling = Labeling(labels=command.labels, groups=command.groups, unlabeled=command.unlabeled)
    out = Path(command.out).expanduser()
    with opened_as(command.data):
        source = open_source(command.images, command.data.channels)
    if labeling != Labeling():
        source = label_images(source, None, labeling).source
    with Bars() as bars:
        packed = pack(
            source,
            out,
            side=command.side,
            shard_mib=command.shard_mib,
            workers=command.workers or cores(),
            progress=lambda done: bars("packing", done, len(source)),
        )
    shards = f"{packed.shards} shard{'' if packed.shards == 1 else 's'}"
    print(f"{packed.images} images in {shards} in {out}; train on them with: {program()} pretrain {command.out}")
    if packed.unreadable:
        print(f"{packed.unreadable} could not be read and are listed in {out / UNREADABLE}")
    return 0
