"""The images of a set that are nearest to other pictures."""

from dataclasses import dataclass, field, replace

import torch

from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.evals.cache import FeatureConfig, cached_features
from byol.evals.calibration import calibrated
from byol.evals.evaluation import Progress, silent
from byol.explore.listing import Rows
from byol.explore.neighbors import find_neighbors


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How many images are looked for."""

    k: int = 20
    """Neighbors of each picture."""
    features: FeatureConfig = field(default_factory=FeatureConfig)


@dataclass(frozen=True)
class Hit:
    """One of the nearest images of a query."""

    query: str
    """Where the query is stored."""
    rank: int
    """From 1."""
    similarity: float
    """Cosine of the features."""
    index: int
    """The image's number in the set."""
    path: str
    label: str
    """The name of its class; empty where it has none."""


def search(
    encoder: LoadedEncoder,
    source: Source,
    queries: Source,
    config: SearchConfig,
    device: torch.device,
    progress: Progress = silent,
) -> list[list[Hit]]:
    """For each readable query its k nearest images of a source, nearest first.

    Raises:
        UserError: no image can be read, or a feature is not finite.
    """
    if encoder.fresh:
        encoder = calibrated(encoder, source, device)
    bank = cached_features(encoder, source, config.features, device, progress)
    asked = cached_features(encoder, queries, replace(config.features, cache=False), device, progress)
    near = find_neighbors(bank.values, asked.values, config.k, device)
    found = []
    for query, rows, similarity in zip(asked.indices.tolist(), near.rows, near.similarity, strict=True):
        (name,) = Rows.of(queries, [query]).paths
        images = Rows.of(source, bank.indices[rows].tolist())
        named = zip(similarity.tolist(), images.indices, images.paths, images.labels, strict=True)
        found.append([Hit(name, rank, s, i, path, label or "") for rank, (s, i, path, label) in enumerate(named, 1)])
    return found
