"""Every image of a source as a row of a file: in parts that survive an interruption, joined in the images' order.

The images are split into chunks. Each process computes every n-th chunk and stores it in a folder beside the result;
what is stored already is not computed again. At the end the first process joins all chunks.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from byol.config.run import Precision
from byol.data.contents import state_digest
from byol.data.sources.digest import digest
from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.encoders.patches import PatchShape, VectorAndPatches
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, finite_blocks
from byol.evals.calibration import calibrated
from byol.evals.evaluation import Progress, silent
from byol.explore.listing import Rows
from byol.explore.patch_files import PatchBlock, patches_beside, write_patches
from byol.explore.vectors import Block, Shape, Vectors, check_suffix, write_vectors
from byol.runtime import distributed
from byol.runtime.checkpoint import save_tensors
from byol.runtime.device import choose_precision

Compute = Callable[[Source], Iterator[tuple[list[int], Tensor]]]
"""From images to the numbers of those that can be read and their features (n, D), batch by batch."""
CHUNK = 4096
"""Images that are stored at once: what an interruption loses at most, and what a process takes in turn."""
CHUNK_BYTES = 2**26
"""Of a chunk with patches, whose images take up to megabytes each; memory holds a few chunks and a batch."""


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How embeddings are computed."""

    batch_size: int = 256
    """Images per forward pass; it affects speed and memory only."""
    workers: int | None = None
    """Threads that decode images; one per core by default."""
    precision: Precision = "auto"
    """Precision of the forward pass: bf16 where the hardware multiplies it, else float32. Embeddings are float32."""
    patches: bool = False
    """Also write the features of each image's patches, into a file beside the vectors: the tokens of a transformer, or
    the last map of a convolutional network."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.workers is not None and self.workers < 1):
            raise UserError(f"batch_size is {self.batch_size} and workers {self.workers}, but both must be 1 or more.")

    def for_features(self) -> FeatureConfig:
        """The same settings for a pass that stores nothing elsewhere."""
        return FeatureConfig(batch_size=self.batch_size, workers=self.workers, precision=self.precision, cache=False)


@dataclass(frozen=True)
class Embedded:
    """What was written."""

    rows: int
    features: int
    unreadable: int
    """Images that could not be read and have no row."""
    resumed: int
    """Images whose embeddings an earlier, interrupted call had stored."""
    patches: PatchShape | None = None
    """What was written of each image's patches, where they were asked for."""


def embed(
    encoder: LoadedEncoder,
    source: Source,
    out: Path,
    config: EmbedConfig,
    device: torch.device,
    progress: Progress = silent,
) -> Embedded:
    """Write the embedding of every readable image to one file, in the order of the source.

    Under torchrun every process must call it with the same arguments; each gets the same result.

    Args:
        encoder: its batch norm sees images first where it was never trained.
        source: the images.
        out: ends in `.parquet`, `.npy` or `.csv`, see `write_vectors`.
        config: how the passes are computed.
        device: where they are computed.
        progress: receives the number of finished images of this process.

    Raises:
        UserError: no image can be read, a feature is not finite, the channels do not fit, or the disk is full.
    """
    check_suffix(out)
    encoder.check(source)
    if encoder.fresh:
        encoder = calibrated(encoder, source, device)
    precision, _ = choose_precision(config.precision, device)
    origin = {
        "encoder": {"name": encoder.name, "fingerprint": encoder.fingerprint, "transform": repr(encoder.transform)},
        "data": {"name": source.name, "images": len(source), "fingerprint": source.fingerprint()},
        "precision": precision,
    }
    key = [encoder.fingerprint, state_digest(source), repr(encoder.transform), precision]
    layout = None
    if config.patches:
        both = VectorAndPatches(encoder.module)
        layout = both.shape(source.channels, encoder.transform.image_size, encoder.name)
        encoder = replace(encoder, module=both)
        key.append(repr(layout))
    chunks = Chunks.beside(out, digest(key), chunk_size(layout))
    stored = chunks.stored(len(source))
    distributed.barrier()  # all have looked before any stores
    mine = [
        number
        for number in range(-(-len(source) // chunks.size))
        if number % distributed.world_size() == distributed.rank() and number not in stored
    ]
    settings = replace(config, precision=precision).for_features()
    chunks.fill(mine, source, lambda images: finite_blocks(encoder, images, settings, device, progress))
    distributed.barrier()
    numbers = sorted(chunks.stored(len(source)))
    shapes = [chunks.shape(number) for number in numbers]
    shape = Shape(sum(each.rows for each in shapes), max(each.features for each in shapes))
    if not shape.rows:
        shutil.rmtree(chunks.folder, ignore_errors=True)
        raise UserError(f"No image of {source.name} can be read; check the path and the files.")
    distributed.barrier()
    if layout is not None:
        shape = Shape(shape.rows, layout.features)
    if distributed.is_first():
        write_vectors(out, _vectors(chunks.blocks(numbers, source), layout), shape, origin)
        if layout is not None:
            write_patches(
                patches_beside(out), _patches(chunks.blocks(numbers, source), layout), shape.rows, layout, origin
            )
        shutil.rmtree(chunks.folder, ignore_errors=True)
    distributed.barrier()
    resumed = sum(shapes[numbers.index(number)].rows for number in stored)
    return Embedded(shape.rows, shape.features, len(source) - shape.rows, resumed, layout)


def chunk_size(layout: PatchShape | None) -> int:
    """Images of a chunk: `CHUNK`, or with patches as many as take `CHUNK_BYTES`."""
    return CHUNK if layout is None else max(1, min(CHUNK, CHUNK_BYTES // (4 * layout.values)))


def _vectors(blocks: Iterable[Block], layout: PatchShape | None) -> Iterator[Block]:
    for block in blocks:
        yield block if layout is None else Block(block.rows, block.values[:, : layout.features])


def _patches(blocks: Iterable[Block], layout: PatchShape) -> Iterator[PatchBlock]:
    for block in blocks:
        yield PatchBlock(block.rows, layout.split(torch.from_numpy(block.values))[1].numpy())


@dataclass(frozen=True)
class Chunks:
    """The folder of stored chunks: `0.safetensors`, `1.safetensors`, ..."""

    folder: Path
    size: int
    """Images of each."""

    @classmethod
    def beside(cls, out: Path, key: str, size: int) -> "Chunks":
        """Those of one encoder and one state of the data; others, of an earlier call, are not taken for these."""
        folder = out.with_name(f".{out.name}.parts-{key}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot make the folder {folder}: {error.strerror}; give another --out.") from error
        return cls(folder, size)

    def stored(self, images: int) -> set[int]:
        """The numbers of the chunks that are there; one that cannot be read is computed again."""
        found = set()
        for number in range(-(-images // self.size)):
            try:
                self.shape(number)
            except (OSError, SafetensorError):
                continue
            found.add(number)
        return found

    def shape(self, number: int) -> Shape:
        """The size of a chunk, from the head of its file."""
        with safe_open(self._path(number), "pt") as file:
            rows, features = file.get_slice("values").get_shape()
        return Shape(rows, features)

    def blocks(self, numbers: Iterable[int], source: Source) -> Iterator[Block]:
        """Some chunks, read one after the other; those without a readable image are left out."""
        for indices, values in map(self.read, numbers):
            if indices:
                yield Block(Rows.of(source, indices), values)

    def read(self, number: int) -> tuple[list[int], Vectors]:
        """The numbers of a chunk's readable images, and their embeddings (n, D)."""
        tensors = load_file(self._path(number))
        return tensors["indices"].tolist(), tensors["values"].numpy()

    def fill(self, numbers: list[int], source: Source, compute: Compute) -> None:
        """Compute and store some chunks in one pass, whose decoding never waits for the end of a chunk."""
        if not numbers:
            return
        wanted = list(chain.from_iterable(range(n * self.size, min((n + 1) * self.size, len(source))) for n in numbers))
        images = source if len(wanted) == len(source) else source.subset(wanted)
        waiting = iter(numbers)
        current, indices, values = next(waiting), list[int](), list[Tensor]()
        for image, row in _rows(compute(images)):
            while wanted[image] // self.size != current:
                self._store(current, indices, values)
                current, indices, values = next(waiting), [], []
            indices.append(wanted[image])
            values.append(row)
        self._store(current, indices, values)
        for number in waiting:  # none of their images can be read
            self._store(number, [], [])

    def _store(self, number: int, indices: list[int], values: list[Tensor]) -> None:
        rows = torch.stack(values) if values else torch.empty(0, 0)
        save_tensors(self._path(number), {"indices": torch.tensor(indices, dtype=torch.int64), "values": rows})

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.safetensors"


def _rows(blocks: Iterator[tuple[list[int], Tensor]]) -> Iterator[tuple[int, Tensor]]:
    for indices, block in blocks:
        yield from zip(indices, block, strict=True)
