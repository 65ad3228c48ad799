"""The pictures of a run's page: views as trained on, neighbors before and after training, a map.

They are made at the end of a run, from a sample that is bounded by what the run has seen: two forward passes for one of
20 images that it saw, where an update of BYOL takes as much as eight for each. That is about a hundredth of the run.
"""

import base64
import dataclasses
import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from byol.config.values import replace
from byol.data.sources.open import Source
from byol.data.transform import Transform
from byol.evals.features import extract
from byol.explore.listing import Rows
from byol.explore.neighbors import Neighbors, find_others
from byol.explore.projection import project
from byol.explore.thumbnails import PAPER, as_jpeg, fitted, thumbnail
from byol.pretraining.run_folder import RunFolder
from byol.pretraining.setup import Run
from byol.runtime.checkpoint import write_atomically
from byol.runtime.distributed import Member
from byol.runtime.seeds import generator_of

SAMPLE, FEWEST, SHARE = 1000, 50, 20
"""Images of the sample at most; at least, where there are as many; and images that a run sees for each of them."""
ASKED, NEAR = 10, 5
"""Images whose neighbors are shown, and neighbors of each."""
SHOWN, MOST_VIEWS = 6, 8
"""Images whose views are shown, and views of each."""
VIEW_SIDE, NEIGHBOR_SIDE, MAP_SIDE = 96, 64, 32
"""Pixels of a picture's side."""
ACROSS = 20
"""Pictures of the map in a row, at most."""
GAP = 4
"""Pixels between pictures."""


@dataclass(frozen=True)
class Sheet:
    """Small pictures in one image, and what they are."""

    title: str
    note: str
    jpeg: bytes


@dataclass(frozen=True)
class MapPoints:
    """Where the images of the sample lie on the map."""

    points: list[tuple[float, float]]
    """In [0, 1] each."""
    labels: list[str | None]
    method: str
    kept: float
    """Share of the 10 nearest neighbors that the map keeps."""


@dataclass(frozen=True)
class Pictures:
    """All that a page shows of images."""

    sheets: list[Sheet]
    map: MapPoints | None

    def save(self, folder: RunFolder) -> None:
        """Keep them for the page."""
        sheets = [{**vars(sheet), "jpeg": base64.b64encode(sheet.jpeg).decode()} for sheet in self.sheets]
        content = {"sheets": sheets, "map": None if self.map is None else asdict(self.map)}
        write_atomically(folder.pictures, json.dumps(content) + "\n")

    @classmethod
    def load(cls, folder: RunFolder) -> Self:
        """Those of a run's folder; none where there are none."""
        if not folder.pictures.is_file():
            return cls([], None)
        content: dict[str, Any] = json.loads(folder.pictures.read_text())
        sheets = [Sheet(each["title"], each["note"], base64.b64decode(each["jpeg"])) for each in content["sheets"]]
        return cls(sheets, None if content["map"] is None else MapPoints(**content["map"]))


def views_of(run: Run) -> Pictures:
    """Views as the method of a run is given them, of a few of its images."""
    return Pictures([_views(run)], None)


def pictures_of(run: Run, before: nn.Module | None, after: nn.Module) -> Pictures:
    """All pictures of a run that has ended.

    Args:
        run: whose images they are. Under torchrun all processes make them; the first one keeps them.
        before: the encoder that the run began with; None where no update was made.
        after: the encoder that it leaves.
    """
    sheets = [_views(run)]
    sample = sampled(run)
    transform = Transform.of(run.config.read_encoder())
    features = [extract(encoder, sample, transform, run.passes) for encoder in (before, after) if encoder is not None]
    indices, values = features[-1].indices.tolist(), [each.values for each in features]
    if len(indices) < 2 or not all(torch.isfinite(each).all() for each in values):
        return Pictures(sheets, None)
    rows = Rows.of(sample, indices)
    near = [find_others(each, NEAR) for each in values]
    sheets.append(_neighbors(sample, rows, near, run.config.seed))
    projection = project(values[-1], find_others(values[-1]), "pca")
    sheets.append(_map(sample, indices, projection.points))
    points = [(round(x, 4), round(y, 4)) for x, y in projection.points.tolist()]
    return Pictures(sheets, MapPoints(points, rows.labels, projection.method, projection.kept))


def sampled(run: Run) -> Source:
    """The images of a run that its page looks at, in their order: random ones, the same for a seed."""
    seen = run.config.total_steps(run.images) * run.config.batch_size
    count = min(run.images, SAMPLE, max(FEWEST, seen // SHARE))
    chosen = torch.randperm(run.images, generator=generator_of(run.config.seed, "page"))[:count]
    return run.source.subset(sorted(chosen.tolist()))


def _views(run: Run) -> Sheet:
    """A row per image: the image, then its views."""
    count = min(SHOWN, run.images)
    config = replace(run.config, batch_size=max(2, count), optim__accumulate=1)
    pipeline = dataclasses.replace(run.loader.pipeline, needs=frozenset({"index"}), fused=False)
    loader = dataclasses.replace(run.loader, config=config, pipeline=pipeline, member=Member())
    batch = next(loader.batches(0, 1))[0].augmented()
    assert batch.index is not None
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (config.encoder.mean, config.encoder.std))
    views = [(view.float().cpu() * std + mean).clamp(0, 1) for view in batch.views[:MOST_VIEWS]]
    rows = []
    for number, index in enumerate(batch.index.tolist()[:count]):
        row = [thumbnail(run.source, index, VIEW_SIDE), None]
        rows.append([*row, *(fitted(_enlarged(view[number]), VIEW_SIDE) for view in views)])
    sizes = sorted({view.size for view in run.loader.pipeline.views}, reverse=True)
    px = " and ".join(f"{size} px" for size in sizes)
    made = len(batch.views)
    more = f", {len(views)} of them shown" if made > len(views) else ""
    note = (
        f"Each row is an image, then its {made} view{'s' if made > 1 else ''} ({px}{more}), drawn as in training. "
        "What no view shows, the encoder does not learn."
    )
    return Sheet("Views as trained on", note, as_jpeg(_grid(rows, VIEW_SIDE)))


def _enlarged(view: Tensor) -> Tensor:
    """A small view (C, S, S), each pixel as several, so that what the encoder sees is not smoothed."""
    times = max(1, VIEW_SIDE // view.shape[-1])
    return view.repeat_interleave(times, 1).repeat_interleave(times, 2)


def _neighbors(sample: Source, rows: Rows, near: list[Neighbors], seed: int) -> Sheet:
    """A row per image: the image, its nearest before training, its nearest after."""
    asked = torch.randperm(len(rows), generator=generator_of(seed, "page neighbors"))[:ASKED].tolist()
    drawn: list[list[Tensor | None]] = []
    for row in asked:
        line: list[Tensor | None] = [thumbnail(sample, rows.indices[row], NEIGHBOR_SIDE)]
        for each in near:
            found = [thumbnail(sample, rows.indices[other], NEIGHBOR_SIDE) for other in each.rows[row].tolist()]
            line += [None, *found]
        drawn.append(line)
    trained, k = len(near) == 2, near[-1].rows.shape[1]
    when = f"before training and its {k} nearest after it" if trained else "(no update was made)"
    words = [f"Each row is one of {len(rows):,} random training images, then its {k} nearest among them {when}."]
    if trained:
        same = sum(len(set(near[0].rows[row].tolist()) & set(near[1].rows[row].tolist())) for row in asked)
        words.append(f"Of {k * len(asked)} neighbors {same} are the same before and after.")
    judged = [row for row in asked if rows.labels[row] is not None]
    if judged:
        agree = [
            sum(rows.labels[other] == rows.labels[row] for row in judged for other in each.rows[row].tolist())
            for each in near
        ]
        told = f"{agree[0]} before and {agree[1]} after" if trained else str(agree[0])
        words.append(f"Of {k * len(judged)} neighbors of labeled images {told} have the label of their image.")
    return Sheet("Neighbors before and after", " ".join(words), as_jpeg(_grid(drawn, NEIGHBOR_SIDE)))


def _map(sample: Source, indices: list[int], points: Tensor) -> Sheet:
    """The map as a grid: in each cell the image that lies nearest to its middle."""
    across = max(2, min(ACROSS, math.isqrt(4 * len(indices))))
    cells = (points * across).long().clamp(0, across - 1)
    apart = ((points * across - cells - 0.5) ** 2).sum(dim=1)
    nearest: dict[tuple[int, int], int] = {}
    for row in apart.argsort(descending=True, stable=True).tolist():
        x, y = cells[row].tolist()
        nearest[across - 1 - y, x] = row
    drawn: list[list[Tensor | None]] = [[None] * across for _ in range(across)]
    for (line, column), row in nearest.items():
        drawn[line][column] = thumbnail(sample, indices[row], MAP_SIDE)
    note = (
        f"{len(indices):,} random training images by the first two principal components of their features; each place "
        f"shows one of the images that lie there. The command byol explore makes a map of all images, to pan and zoom."
    )
    return Sheet("The map", note, as_jpeg(_grid(drawn, MAP_SIDE, gap=0)))


def _grid(rows: list[list[Tensor | None]], side: int, gap: int = GAP) -> Tensor:
    """Pictures (side, side, 3) in rows, as pixels (H, W, 3); None is an empty place."""
    across = max(map(len, rows))
    step = side + gap
    pixels = torch.full((len(rows) * step - gap, across * step - gap, 3), PAPER, dtype=torch.uint8)
    for line, row in enumerate(rows):
        for column, picture in enumerate(row):
            if picture is not None:
                pixels[line * step : line * step + side, column * step : column * step + side] = picture
    return pixels
