"""Features kept on the disk, so that one pass over the images serves every evaluation of an encoder."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from byol.config.run import Precision
from byol.data.sample import evenly
from byol.data.sources.digest import digest
from byol.data.sources.named import data_home
from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.errors import BadImage, UserError
from byol.evals.features import Features, feature_blocks
from byol.runtime.device import choose_precision, cores

SAMPLED = 32
"""Images whose pixels, decoded as small as may be, tell a source from others of the same names and sizes."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How features are computed and kept."""

    batch_size: int = 256
    """Images per pass; changes nothing but speed and memory."""
    workers: int | None = None
    """Threads that decode; one per core by default."""
    precision: Precision = "auto"
    """Of the pass: bf16 where the hardware multiplies it, else float32. Features are float32 either way."""
    cache: bool = True
    """Keep features below `$BYOL_HOME/features` (`~/.cache/byol/features`), under a name made from the encoder's
    weights, the data, the transform and the precision."""


def cached_features(
    opened: LoadedEncoder,
    source: Source,
    config: FeatureConfig,
    device: torch.device,
    progress: Progress = silent,
) -> Features:
    """Features of a source: read from the disk where they are there, else computed and written as they come.

    Kept features are mapped from their file, so that a set larger than the memory can be walked through.

    Raises:
        UserError: no image can be read, a feature is NaN or infinite, the channels do not fit, or the disk is full.
    """
    opened.check(source)
    what = f"features of {source.name}"
    precision, _ = choose_precision(config.precision, device)
    if not config.cache:
        blocks = list(_blocks(opened, source, config, device, precision, what, progress))
        return _labeled(
            source, torch.cat([block for _, block in blocks]), [i for numbers, _ in blocks for i in numbers]
        )
    key = digest([opened.fingerprint, source.fingerprint(), *_sample(source), repr(opened.transform), precision])
    folder = data_home() / "features" / key
    if not folder.is_dir():
        _write(folder, len(source), _blocks(opened, source, config, device, precision, what, progress))
    indices = np.load(folder / "indices.npy")
    progress(what, len(indices), len(source))  # what is missing could not be read
    mapped = np.load(folder / "values.npy", mmap_mode="c")[: len(indices)]  # "c": in memory only, never on the disk
    return _labeled(source, torch.from_numpy(mapped), indices.tolist())


def _sample(source: Source) -> Iterator[bytes]:
    """The pixels of a few images: a fingerprint knows names and sizes, which other images may share."""
    for index in evenly(len(source), SAMPLED):
        try:
            yield source.image(index, shrink_to=1).cpu().contiguous().numpy().tobytes()
        except BadImage:
            yield b""


def _blocks(
    opened: LoadedEncoder,
    source: Source,
    config: FeatureConfig,
    device: torch.device,
    precision: str,
    what: str,
    progress: Progress,
) -> Iterator[tuple[list[int], Tensor]]:
    done = 0
    blocks = feature_blocks(
        opened.module.to(device),
        source,
        opened.transform,
        device=device,
        batch_size=config.batch_size,
        workers=config.workers or cores(),
        autocast=precision == "bf16",
    )
    for indices, block in blocks:
        if not torch.isfinite(block).all():
            bad = indices[int((~torch.isfinite(block).all(dim=1)).nonzero()[0])]
            raise UserError(
                f"The encoder {opened.name} answers {source.where(bad)} with NaN or infinite features; it has "
                "diverged, so give an earlier checkpoint, or --features.precision float32."
            )
        yield indices, block
        done += len(indices)
        progress(what, done, len(source))
    if done == 0:
        raise UserError(f"No image of {source.name} can be read; check the path and the files.")


def _write(folder: Path, count: int, blocks: Iterator[tuple[list[int], Tensor]]) -> None:
    """Write features beside their place and move them there when whole."""
    kept: list[int] = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        try:
            values: np.memmap[tuple[int, int], np.dtype[np.float32]] | None = None
            for indices, block in blocks:
                if values is None:
                    shape = (count, block.shape[1])
                    values = np.lib.format.open_memmap(temporary / "values.npy", "w+", np.float32, shape)
                values[len(kept) : len(kept) + len(indices)] = block.numpy()
                kept += indices
            assert values is not None, "a source without a readable image was refused"
            values.flush()
            np.save(temporary / "indices.npy", np.array(kept, dtype=np.int64))
            if not folder.is_dir():  # another process may have been faster
                os.replace(temporary, folder)  # noqa: PTH105
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"Features cannot be kept in {folder.parent} ({error.strerror}); free the disk, set BYOL_HOME to another "
            "folder, or give --features.no-cache."
        ) from error


def _labeled(source: Source, values: Tensor, indices: list[int]) -> Features:
    labels = None if source.labels is None else torch.tensor([source.labels[i] for i in indices])
    return Features(values, labels, torch.tensor(indices))
