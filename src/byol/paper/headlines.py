"""The two tables behind the paper's headline claims: batch size and augmentations, BYOL against SimCLR (Figure 3)."""

from typing import Any

from byol.config.run import PretrainConfig
from byol.paper.cells import Cell
from byol.paper.numbers import number
from byol.paper.scales import Scale

METHODS: dict[str, dict[str, Any]] = {"byol": {}, "simclr": {"method": "simclr"}}
"""SimCLR as the paper first reproduces it (67.9), with the method's own temperature of 0.1."""

BATCHES = (4096, 2048, 1024, 512, 256, 128, 64)
"""Images over which batch norm and SimCLR's negatives extend (Table 16)."""

LEAST_PART = 8
"""Least images of a micro-batch; rows with fewer are left out. With 2 images, which 64 of 4096 would be at a batch of
128, batch norm after the last stage turns every value into 1 or -1, unlike any row of the paper."""

Settings = dict[str, Any]


def batch_size(scale: Scale) -> list[Cell]:
    """Batch sizes by gradient accumulation: gradients of N micro-batches are averaged, so updates keep their size."""
    cells = []
    for method, changes in METHODS.items():
        for batch in BATCHES:
            parts = BATCHES[0] // batch
            here = scale.config.batch_size // parts
            if here < LEAST_PART:
                continue
            cells.append(
                Cell(
                    name=f"{method}-{batch}",
                    row=f"{batch}" if here == batch else f"{batch} ({here} here)",
                    paper=number("ablation_batch_size", f"{method}_top1", batch_size=batch),
                    changes={**changes, **({"optim__accumulate": parts} if parts > 1 else {})},
                    group=method,
                )
            )
    return cells


def both(**settings: Any) -> Settings:
    """The same settings in both views."""
    return {f"augment__{view}__{name}": value for view in ("view1", "view2") for name, value in settings.items()}


NO_COLOR = {"jitter": 0.0, "gray": 0.0}
NO_BLUR = {"blur": 0.0, "solarize": 0.0}

REMOVED: dict[str, tuple[str, Settings, str]] = {
    "baseline": ("baseline", {}, ""),
    "flip": ("remove flip", both(flip=0.0), ""),
    "blur": ("remove blur", both(blur=0.0), ""),
    "color": ("remove color (jittering and grayscale)", both(**NO_COLOR), ""),
    "jitter": ("remove color jittering", both(jitter=0.0), ""),
    "gray": ("remove grayscale", both(gray=0.0), ""),
    "blur-in-t2": ("remove blur in T'", {"augment__view2__blur": 0.0}, ""),
    "solarize-in-t2": ("remove solarize in T'", {"augment__view2__solarize": 0.0}, ""),
    "both-in-t2": (
        "remove blur and solarize in T'",
        {"augment__view2__blur": 0.0, "augment__view2__solarize": 0.0},
        "",
    ),
    "symmetric": ("symmetric blurring/solarization", both(blur=0.5, solarize=0.2), ""),
    "crop": ("crop only", both(flip=0.0, **NO_COLOR, **NO_BLUR), ""),
    "crop-flip": ("crop and flip only", both(**NO_COLOR, **NO_BLUR), ""),
    "crop-color": (
        "crop and color only",
        both(flip=0.0, **NO_BLUR),
        "without the flip, since only the row above names it; the paper does not say",
    ),
    "crop-blur": (
        "crop and blur only",
        both(flip=0.0, solarize=0.0, **NO_COLOR),
        "without flip and solarization; the paper does not say",
    ),
}
"""Rows of Table 17: the paper's name, the settings of the views, and a remark where the paper leaves something open."""


def augmentations(scale: Scale) -> list[Cell]:
    """Transformations removed from views that have all transformations that their size allows.

    A row that equals an earlier one, because there was nothing to remove, is left out.
    """
    start: Settings = {} if scale.everything == scale.config.augment else {"augment": scale.everything}
    blurred = scale.everything.view1.blur > 0
    solarizing_alone = "" if blurred else "only solarization: views of this size have no blur"
    cells: dict[PretrainConfig, Cell] = {}
    for method, changes in METHODS.items():
        for name, (row, settings, note) in REMOVED.items():
            cell = Cell(
                name=f"{method}-{name}",
                row=row,
                paper=number("ablation_augmentations", f"{method}_top1", augmentation_set=row),
                changes={**changes, **start, **settings},
                group=method,
                note=note or (solarizing_alone if name == "symmetric" else ""),
            )
            cells.setdefault(cell.config(scale), cell)
    return list(cells.values())
