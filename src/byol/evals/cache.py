"""Features stored on the disk: one pass over the images serves every evaluation of an encoder."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from byol.config.evaluations import FeatureConfig as FeatureConfig
from byol.data.contents import state_digest
from byol.data.sources.digest import digest
from byol.data.sources.named import data_home
from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.evaluation import Progress, Task, silent
from byol.evals.features import Features, LabeledFeatures, Passes, feature_blocks
from byol.evals.labels import LabeledParts
from byol.runtime.device import choose_precision, cores


class NonFiniteFeatures(UserError):  # noqa: N818  (it names what is wrong, as UserError does)
    """An encoder gives features that are NaN or infinite."""


def cached_features(
    encoder: LoadedEncoder,
    source: Source,
    config: FeatureConfig,
    device: torch.device,
    progress: Progress = silent,
) -> Features:
    """The features of a source: read from the disk if they are stored there, else computed, and stored batch by batch.

    Stored features are mapped from their file, so a set may be larger than the memory.

    Raises:
        NonFiniteFeatures: a feature is NaN or infinite.
        UserError: no image can be read, the channels do not fit, or the disk is full.
    """
    encoder.check(source)
    if not config.cache:
        blocks = list(_blocks(encoder, source, config, device, progress))
        values = torch.cat([block for _, block in blocks])
        features = Features(values, torch.tensor([number for numbers, _ in blocks for number in numbers]))
    else:
        precision, _ = choose_precision(config.precision, device)
        key = digest([encoder.fingerprint, state_digest(source), repr(encoder.transform), precision])
        folder = (Path(config.folder) if config.folder else data_home() / "features") / key
        if not folder.is_dir():
            _write(folder, len(source), _blocks(encoder, source, config, device, progress))
        indices = torch.from_numpy(np.load(folder / "indices.npy"))
        mapped = np.load(folder / "values.npy", mmap_mode="c")[: len(indices)]  # "c": changes stay in memory
        features = Features(torch.from_numpy(mapped), indices)
    if len(features.indices) < len(source):
        progress.unreadable(source.name, len(source) - len(features.indices), len(source))
    return features


def labeled_features(task: Task, parts: LabeledParts, config: FeatureConfig) -> tuple[LabeledFeatures, LabeledFeatures]:
    """The features of the training and the test part, with their labels; see `cached_features`."""
    train, test = (
        cached_features(task.encoder, part.images, config, task.device, task.progress).with_labels(part.labels)
        for part in (parts.train, parts.test)
    )
    return train, test


def _blocks(
    encoder: LoadedEncoder, source: Source, config: FeatureConfig, device: torch.device, progress: Progress
) -> Iterator[tuple[list[int], Tensor]]:
    readable = False
    for indices, block in finite_blocks(encoder, source, config, device, progress):
        readable = True
        yield indices, block
    if not readable:
        raise UserError(f"No image of {source.name} can be read; check the path and the files.")


def finite_blocks(
    encoder: LoadedEncoder, source: Source, config: FeatureConfig, device: torch.device, progress: Progress
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the numbers of readable images and their features (n, D), batch by batch, computed anew.

    Raises:
        NonFiniteFeatures: a feature is NaN or infinite.
    """
    done = 0
    blocks = feature_blocks(
        encoder.module.to(device),
        source,
        encoder.transform,
        Passes(
            device,
            batch_size=config.batch_size,
            workers=config.workers or cores(),
            autocast=choose_precision(config.precision, device)[0] == "bf16",
        ),
    )
    for indices, block in blocks:
        if not torch.isfinite(block).all():
            bad = indices[int((~torch.isfinite(block).all(dim=1)).nonzero()[0])]
            raise NonFiniteFeatures(
                f"The encoder {encoder.name} gives NaN or infinite features for {source.where(bad)}; it has "
                "diverged, so give an earlier checkpoint, or --features.precision float32."
            )
        yield indices, block
        done += len(indices)
        progress(f"features of {source.name}", done, len(source))


def _write(folder: Path, count: int, blocks: Iterator[tuple[list[int], Tensor]]) -> None:
    """Write features to a temporary folder and move it into place when it is complete."""
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
            assert values is not None, "a source without a readable image is refused"
            values.flush()
            np.save(temporary / "indices.npy", np.array(kept, dtype=np.int64))
            if not folder.is_dir():  # another process may have finished first
                os.replace(temporary, folder)  # noqa: PTH105
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"Features cannot be stored in {folder.parent} ({error.strerror}); free the disk, set BYOL_HOME to another "
            "folder, or give --features.no-cache."
        ) from error
