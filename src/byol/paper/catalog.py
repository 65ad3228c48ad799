"""Every table by name, in the order of `byol paper all`, with its claim and what a scale cannot show of it."""

from fnmatch import fnmatchcase

from byol.errors import UserError, nearest
from byol.paper import headlines, tables
from byol.paper.cells import Cell, Table
from byol.paper.scales import SCALES, Scale

_NO_LARS = "the optimizer here is not LARS, which adapts the rate to each tensor"

_LONG = "The paper's numbers are of {epochs} epochs, the rows here of fewer; rankings move with the length of a run."
_OF_1000 = _LONG.format(epochs="1000")

_ALL = (
    Table(
        name="targets",
        title="What the target is, and how fast it moves",
        source="Tables 5a and 21",
        claim="a slowly moving average is best, a fixed random target still teaches, no average at all collapses, "
        "and a faster predictor rescues it",
        cells=tables.targets,
        limits={
            "cpu": "A run has {updates} updates, the paper's 94,000: tau = 0.999 averages over a thousand, which is "
            "much of a run, and the best tau of a short run is lower than that of a long one. What ends in a useless "
            "encoder in the paper may not have come to its end here. The scale's predictor learns ten times as fast as "
            "the rest; rows of tau 0 have the rates that the paper names."
        },
    ),
    Table(
        name="bridge",
        title="From BYOL to SimCLR: predictor, target network, negatives",
        source="Tables 5b and 19",
        claim="without negatives both predictor and target network are needed; with them neither is",
        cells=tables.bridge,
        limits={
            "cpu": "The scale's predictor learns ten times as fast as the rest; in rows whose target is the online "
            "network itself, with a gradient that stops, it learns at the paper's rate, or it would stand in for the "
            "moving average. A short run shows a collapse by its verdict more surely than by its accuracy."
        },
    ),
    Table(
        name="batch-size",
        title="Batch size, BYOL against SimCLR",
        source="Table 16, Figure 3a",
        claim="BYOL keeps its accuracy from 4096 down to 256 images, SimCLR loses with every halving",
        cells=headlines.batch_size,
        limits={
            "cpu": "A batch of 4096 of {images} images is no batch: the update here has {batch} images, and a row of "
            "the paper's 4096 / N stands for parts of {batch} / N: ratios are the paper's, sizes are not. Rows of 128 "
            "and 64 would have parts of 4 and 2 images, where batch norm is starved as the paper's never was, and are "
            "left out.",
            "small": "The update here has {batch} images, and a row of the paper's 4096 / N stands for parts of "
            "{batch} / N: the smallest have 8 images.",
        },
    ),
    Table(
        name="augmentations",
        title="Transformations removed, BYOL against SimCLR",
        source="Table 17, Figure 3b",
        claim="BYOL loses less than SimCLR when transformations go, above all color",
        cells=headlines.augmentations,
        limits={
            "cpu": "The scale's own views have neither blur nor solarizing; this table starts from views with the "
            "paper's solarizing put back. Views of 16 px are too small for any blur (its kernel, a tenth of the side, "
            "is a single pixel), so rows that differ by blur alone are left out.",
            "small": "Small images want no blur (arXiv:2002.05709, Appendix B.9), so the scale's own views have none; "
            "this table starts from views with the paper's blur, at half its width, and solarizing put back, or there "
            "would be nothing to remove. Rows without them may well gain.",
        },
    ),
    Table(
        name="normalization",
        title="Normalization inside the loss",
        source="Table 20",
        claim="l2 and layer normalization are alike, none and batch normalization are worse",
        cells=tables.normalization,
        limits={"cpu": f"What goes wrong without normalization takes time, a hundred epochs in the paper; {_NO_LARS}."},
    ),
    Table(
        name="projection",
        title="Size of the projection",
        source="Table 14b",
        claim="from 64 up it matters little",
        cells=tables.projection,
    ),
    Table(
        name="heads",
        title="Depth of projector and predictor",
        source="Table 14a",
        claim="a linear projector costs ten points; the predictor's depth matters little",
        cells=tables.heads,
    ),
    Table(
        name="lr",
        title="Learning rate",
        source="Table 15a",
        claim="0.2 to 0.5 are nearly alike, a thirtieth of the default loses half",
        cells=tables.lr,
        limits={
            "cpu": f"Rows are multiples of the scale's own rate; {_NO_LARS}.",
            "small": f"Rows are multiples of the scale's own rate; {_NO_LARS}.",
        },
    ),
    Table(
        name="weight-decay",
        title="Weight decay",
        source="Table 15b",
        claim="less is harmless, ten times as much costs three points",
        cells=tables.weight_decay,
        limits={
            "cpu": "Rows are multiples of the scale's own decay, which AdamW subtracts from the weights apart from the "
            "gradient: another quantity than LARS's, in a run too short for it to matter much.",
            "small": "Rows are multiples of the scale's own decay of SGD, which knows no trust ratio.",
        },
    ),
    Table(
        name="mean-teacher",
        title="BYOL without a predictor",
        source="Table 5b, Section 5",
        claim="an unsupervised Mean Teacher collapses",
        cells=tables.mean_teacher,
    ),
    Table(
        name="init",
        title="Initial weights",
        source="Section 5",
        claim="BYOL stays above 72 when the initial scale changes",
        cells=tables.init,
        limits=dict.fromkeys(SCALES, "The paper prints no table; there is nothing to rank."),
    ),
    Table(
        name="methods",
        title="BYOL beside other methods, labels, and nothing",
        source="Tables 1a and 9, Section 3",
        claim="labels first, then BYOL, MoCo v2, SimCLR, and an untrained network far behind",
        cells=tables.methods,
        limits=dict.fromkeys(SCALES, _LONG.format(epochs="800 and 1000")),
    ),
    Table(
        name="label-efficiency",
        title="Few labels",
        source="Table 2a",
        claim="with 1 % and 10 % of the labels BYOL is ahead of SimCLR, and far ahead of labels alone",
        cells=tables.label_efficiency,
        limits={
            "cpu": f"{_OF_1000} 1 % of the labels are a handful of images a class; two of the paper's ten settings are "
            "tried.",
            "small": f"{_OF_1000} Two of the paper's ten settings are tried.",
            "paper": _OF_1000,
        },
    ),
    Table(
        name="encoders",
        title="Deeper and wider encoders",
        source="Table 9",
        claim="deeper and wider is better",
        cells=tables.encoders,
        limits={
            "cpu": f"{_OF_1000} Shallow networks stand for deep ones, in the paper's order of size; the widest are "
            "left out.",
            "small": f"{_OF_1000} ResNet-18 to ResNet-50 stand for the paper's; the largest are left out.",
            "paper": _OF_1000,
        },
    ),
    Table(
        name="temperature",
        title="Weight of the negatives, and temperature",
        source="Table 18",
        claim="with predictor and target network, negatives neither help nor harm from alpha 0.3 up",
        cells=tables.temperature,
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
"""In the order of a run of all, those that carry the paper's claims first."""


def table_named(name: str) -> Table:
    """A table by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in TABLES:
        known = [*TABLES, "all", "report"]
        raise UserError(f"There is no table {name!r}.{nearest(name, known)} There are: {', '.join(known)}.")
    return TABLES[name]


def chosen(table: Table, scale: Scale, only: tuple[str, ...]) -> list[Cell]:
    """Cells of a table whose names match one of the patterns, or all of them where there is no pattern."""
    cells = table.cells(scale)
    return [cell for cell in cells if not only or any(fnmatchcase(cell.name, pattern) for pattern in only)]
