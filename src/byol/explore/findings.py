"""What there is to find in a set of images: near-duplicates, outliers, label suspects, leaks, what to label first."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, cached_features
from byol.evals.calibration import calibrated
from byol.evals.evaluation import Progress, silent
from byol.explore.approximate import ApproximateIndex, check_faiss
from byol.explore.coverage import suggest
from byol.explore.duplicates import Duplicates, Pairs, find_duplicates, find_leaks
from byol.explore.listing import Rows
from byol.explore.neighbors import ExactIndex, K, Neighbors
from byol.explore.outliers import Outliers, find_outliers
from byol.explore.projection import MapKind, check_map
from byol.explore.small import small_copies
from byol.explore.suspects import Suspects, find_suspects
from byol.runtime.checkpoint import write_atomically
from byol.runtime.device import cores


@dataclass(frozen=True, kw_only=True)
class ExploreConfig:
    """What is looked for."""

    suggest: int = 0
    """Images to suggest for labeling first, which stand for the whole set; 0 for none."""
    map: MapKind = "auto"
    """What makes the map: umap (the extra `explore`), or pca, the first two principal components; auto is umap where it
    is installed."""
    exact_up_to: int = 1_000_000
    """Images up to which neighbors are exact; those of more are approximate, by faiss (the extra `explore`), and how
    many of the exact ones are among them is measured on a sample and said."""
    seed: int = 0
    """Of clusters, of splits, of the map and of approximate neighbors."""
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        if self.suggest < 0:
            raise UserError(f"suggest is {self.suggest}, but must be 0 or more.")
        if self.exact_up_to < 1:
            raise UserError(f"exact_up_to is {self.exact_up_to}, but must be 1 or more.")
        check_map(self.map)


@dataclass(frozen=True)
class Part:
    """Images with their features."""

    rows: Rows
    values: Tensor
    """(N, D) float32."""
    labels: Tensor
    """(N,) int64; -1 where an image has none."""
    small: Tensor
    """(N, SIDE, SIDE) uint8, small copies."""


@dataclass(frozen=True)
class Findings:
    """All that was found. Rows are those of `part`."""

    part: Part
    neighbors: Neighbors
    duplicates: Duplicates
    outliers: Outliers
    suspects: Suspects
    suggested: list[int]
    test: Rows | None = None
    """The images of the test part, where one was given."""
    leaks: Pairs | None = None
    """Pairs (row, test row) of near-duplicates in both parts, where a test part was given."""
    search: str = ""
    """How neighbors were found, in words; empty where they are exact."""


def explore(
    encoder: LoadedEncoder,
    source: Source,
    config: ExploreConfig,
    device: torch.device,
    *,
    test: Source | None = None,
    progress: Progress = silent,
) -> Findings:
    """Look at the features of a set of images for all that can be found in it.

    Args:
        encoder: its batch norm sees images first where it was never trained.
        source: the images, with or without labels.
        config: what is looked for.
        device: where features and neighbors are computed.
        test: another part that should share no image with the first.
        progress: receives the number of finished images.

    Raises:
        UserError: no image can be read, a feature is not finite, or more suggestions than images are asked for.
    """
    encoder.check(source)
    check_faiss(len(source), config.exact_up_to)
    if encoder.fresh:
        encoder = calibrated(encoder, source, device)
    part = _part(encoder, source, config, device, progress)
    index = _index(part.values, config, device)
    neighbors = index.others()
    duplicates = find_duplicates(neighbors, part.small)
    labeled = part.labels >= 0

    def others(known: Tensor) -> Neighbors:
        return neighbors if len(known) == len(part.values) else _index(known, config, device).others()

    some = labeled.any() and not labeled.all()  # of a set that is labeled throughout all may be suggested
    found = Findings(
        part,
        neighbors,
        duplicates,
        find_outliers(neighbors),
        find_suspects(part.values, part.labels, config.seed, others),
        suggest(part.values, neighbors, config.suggest, labeled & some, config.seed) if config.suggest else [],
        search=index.words,
    )
    if test is None:
        return found
    other = _part(encoder, test, config, device, progress)
    near = index.find(other.values)
    leaks = find_leaks(near, part.small, other.small, duplicates.threshold)
    return Findings(**{**vars(found), "test": other.rows, "leaks": leaks})


def _index(values: Tensor, config: ExploreConfig, device: torch.device) -> ExactIndex | ApproximateIndex:
    if len(values) > config.exact_up_to:
        return ApproximateIndex(values, K, config.seed)
    return ExactIndex(values, K, device)


def _part(
    encoder: LoadedEncoder, source: Source, config: ExploreConfig, device: torch.device, progress: Progress
) -> Part:
    features = cached_features(encoder, source, config.features, device, progress)
    indices = features.indices.tolist()
    labels = source.labels or [-1] * len(source)
    small = small_copies(source, indices, config.features.workers or cores())
    return Part(Rows.of(source, indices), features.values, torch.tensor([labels[i] for i in indices]), small)


def in_words(found: Findings) -> list[str]:
    """A sentence for each kind of finding."""
    rows, copies = found.part.rows, found.duplicates
    doubled, far = sum(map(len, copies.groups)), len(found.outliers.rows)
    said = [
        f"near-duplicates: {doubled:,} images in {counted(len(copies.groups), 'group')} "
        f"(likeness {copies.threshold:.2f} or more)",
        f"outliers: {far:,} {'image is' if far == 1 else 'images are'} unusually far from the nearest; all are ranked",
    ]
    if rows.labeled:
        mixed = sum(len({rows.labels[row] for row in group} - {None}) > 1 for group in copies.groups)
        judged = int((found.suspects.suggested >= 0).sum())
        said.append(f"label suspects: {len(found.suspects.rows):,} of {judged:,} labels that could be judged")
        if mixed:
            have = "has" if mixed == 1 else "have"
            said.append(f"{counted(mixed, 'group')} of near-duplicates {have} different labels")
    if found.leaks is not None and found.test is not None:
        leaked = len(torch.unique(found.leaks.rows[:, 1]))
        have = "has" if leaked == 1 else "have"
        said.append(f"leaks: {leaked:,} of {len(found.test):,} test images {have} a near-duplicate among the others")
    if found.search:
        said.append(found.search)
    if found.suggested:
        said.append(f"suggested: {counted(len(found.suggested), 'image')} to label first")
    return said


def counted(count: int, noun: str) -> str:
    """`1 group`, `2,000 groups`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def write_tables(folder: Path, found: Findings) -> list[Path]:
    """Write a CSV file for each kind of finding, and return their paths.

    `duplicates.csv`, `outliers.csv` always; `suspects.csv` with labels, `leaks.csv` with a test part, `suggested.csv`
    where suggestions were asked for.

    Raises:
        UserError: the disk is full or not writable.
    """
    rows = found.part.rows
    tables = {"duplicates": _duplicates(found), "outliers": _outliers(found)}
    if rows.labeled:
        tables["suspects"] = _suspects(found)
    if found.leaks is not None and found.test is not None:
        tables["leaks"] = _leaks(found.leaks, rows, found.test)
    if found.suggested:
        picked = ([rank, *_named(rows, row)] for rank, row in enumerate(found.suggested, start=1))
        tables["suggested"] = [["rank", "index", "path", "label"], *picked]
    written = []
    for name, lines in tables.items():
        written.append(folder / f"{name}.csv")
        write_atomically(written[-1], as_csv(lines))
    return written


def as_csv(lines: Iterable[Sequence[object]]) -> str:
    """Lines as CSV; floats have 6 digits."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(
        [f"{cell:.6g}" if isinstance(cell, float) else cell for cell in line] for line in lines
    )
    return file.getvalue()


def _named(rows: Rows, row: int) -> list[object]:
    return [rows.indices[row], rows.paths[row], rows.labels[row] or ""]


def _duplicates(found: Findings) -> list[list[object]]:
    return [
        ["group", "index", "path", "label", "likeness"],
        *(
            [number, *_named(found.part.rows, row), found.duplicates.likeness_of(row)]
            for number, group in enumerate(found.duplicates.groups, start=1)
            for row in group
        ),
    ]


def _outliers(found: Findings) -> list[list[object]]:
    score, listed = found.outliers.score, set(found.outliers.rows)
    order = score.nan_to_num(-1).argsort(descending=True, stable=True).tolist()
    return [
        ["rank", "index", "path", "label", "distance", "outlier"],
        *(
            [rank, *_named(found.part.rows, row), float(score[row]), "yes" if row in listed else "no"]
            for rank, row in enumerate(order, start=1)
        ),
    ]


def _suspects(found: Findings) -> list[list[object]]:
    suspects, rows = found.suspects, found.part.rows
    names = dict(zip(found.part.labels.tolist(), rows.labels, strict=True))
    return [
        ["rank", "index", "path", "label", "suggested", "probability", "votes"],
        *(
            [
                rank,
                *_named(rows, row),
                names[int(suspects.suggested[row])],
                float(suspects.probability[row]),
                float(suspects.votes[row]),
            ]
            for rank, row in enumerate(suspects.rows, start=1)
        ),
    ]


def _leaks(leaks: Pairs, rows: Rows, test: Rows) -> list[list[object]]:
    lines: list[list[object]] = [["test_index", "test_path", "test_label", "index", "path", "label", "likeness"]]
    for pair in leaks.likeness.argsort(descending=True, stable=True).tolist():
        row, test_row = leaks.rows[pair].tolist()
        lines.append([*_named(test, test_row), *_named(rows, row), float(leaks.likeness[pair])])
    return lines
