"""All tables by name, in the order of `byol paper all`, each with its claims and the limits of each scale."""

from fnmatch import fnmatchcase

from byol.errors import UserError, nearest
from byol.paper import headlines, systems, tables
from byol.paper.cells import Cell, Table
from byol.paper.claims import CLAIMS
from byol.paper.scales import SCALES, Scale

_NO_LARS = "the optimizer here is not LARS, which adapts the rate to each tensor"

_LONG = "The paper's runs have {epochs} epochs, runs here have fewer; the order of rows depends on their length."
_OF_1000 = _LONG.format(epochs="1000")

_OTHER_SETTINGS = (
    "The published figures come from papers with encoders, epochs and evaluations of their own; here all rows have the "
    "same."
)

_ALL = (
    Table(
        name="targets",
        title="What the target is, and how fast it moves",
        source="Tables 5a and 21",
        claims=CLAIMS["targets"],
        cells=tables.targets,
        limits={
            "cpu": "A run has {updates} updates, the paper's 94,000. With tau = 0.999 the target averages over 1,000 "
            "updates, a large part of a run, and the best tau of a short run is lower than that of a long one. Runs "
            "that collapse in the paper may not have collapsed yet here. The scale's predictor learns ten times as "
            "fast as the rest; rows with tau 0 use the paper's rates."
        },
    ),
    Table(
        name="bridge",
        title="From BYOL to SimCLR: predictor, target network, negatives",
        source="Tables 5b and 19",
        claims=CLAIMS["bridge"],
        cells=tables.bridge,
        limits={
            "cpu": "The scale's predictor learns ten times as fast as the rest. Rows whose target is the online "
            "network with a stopped gradient use the paper's rate, because a faster predictor would replace the moving "
            "average. In a short run the verdict shows a collapse more reliably than the accuracy."
        },
    ),
    Table(
        name="batch-size",
        title="Batch size, BYOL against SimCLR",
        source="Table 16, Figure 3a",
        claims=CLAIMS["batch-size"],
        cells=headlines.batch_size,
        limits={
            "cpu": "With {images} images a batch of 4096 is too large: an update here has {batch} images, and the "
            "paper's row of 4096 / N images becomes micro-batches of {batch} / N. The ratios are the paper's, the "
            "sizes are not. Rows of 128 and 64 are left out: their micro-batches of 4 and 2 images would be too small "
            "for batch norm, which is never so in the paper.",
            "small": "An update here has {batch} images, and the paper's row of 4096 / N images becomes micro-batches "
            "of {batch} / N; the smallest have 8 images.",
        },
    ),
    Table(
        name="augmentations",
        title="Transformations removed, BYOL against SimCLR",
        source="Table 17, Figure 3b",
        claims=CLAIMS["augmentations"],
        cells=headlines.augmentations,
        limits={
            "cpu": "The scale's own views have neither blur nor solarization; this table starts from views with the "
            "paper's solarization. Views of 16 px are too small for blur (the kernel, a tenth of the side, is a single "
            "pixel), so rows that differ only by blur are left out.",
            "small": "Blur does not help small images (arXiv:2002.05709, Appendix B.9), so the scale's own views have "
            "none. This table starts from views with the paper's blur, at half its width, and solarization: otherwise "
            "there would be nothing to remove. Rows without them may gain.",
        },
    ),
    Table(
        name="normalization",
        title="Normalization inside the loss",
        source="Table 20",
        claims=CLAIMS["normalization"],
        cells=tables.normalization,
        limits={"cpu": f"Without normalization training fails slowly, after 100 epochs in the paper; {_NO_LARS}."},
    ),
    Table(
        name="projection",
        title="Size of the projection",
        source="Table 14b",
        claims=CLAIMS["projection"],
        cells=tables.projection,
    ),
    Table(
        name="heads",
        title="Depth of projector and predictor",
        source="Table 14a",
        claims=CLAIMS["heads"],
        cells=tables.heads,
    ),
    Table(
        name="lr",
        title="Learning rate",
        source="Table 15a",
        claims=CLAIMS["lr"],
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
        claims=CLAIMS["weight-decay"],
        cells=tables.weight_decay,
        limits={
            "cpu": "Rows are multiples of the scale's own weight decay, which AdamW applies separately from the "
            "gradient. It differs from the decay of LARS, and the run is too short for it to matter much.",
            "small": "Rows are multiples of the scale's own weight decay of SGD, which has no trust ratio.",
        },
    ),
    Table(
        name="mean-teacher",
        title="BYOL without a predictor",
        source="Table 5b, Section 5",
        claims=CLAIMS["mean-teacher"],
        cells=tables.mean_teacher,
    ),
    Table(
        name="init",
        title="Initial weights",
        source="Section 5",
        claims=CLAIMS["init"],
        cells=tables.init,
        limits=dict.fromkeys(SCALES, "The paper prints no table; there is nothing to rank."),
    ),
    Table(
        name="methods",
        title="BYOL, other methods, supervised and untrained networks",
        source="Tables 1a and 9, Section 3",
        claims=CLAIMS["methods"],
        cells=tables.methods,
        limits=dict.fromkeys(SCALES, _LONG.format(epochs="800 and 1000")),
    ),
    Table(
        name="label-efficiency",
        title="Few labels",
        source="Table 2a",
        claims=CLAIMS["label-efficiency"],
        cells=tables.label_efficiency,
        limits={
            "cpu": f"{_OF_1000} 1 % of the labels is a few images per class. Two of the paper's ten settings are "
            "tried.",
            "small": f"{_OF_1000} Two of the paper's ten settings are tried.",
            "paper": _OF_1000,
        },
    ),
    Table(
        name="encoders",
        title="Deeper and wider encoders",
        source="Table 9",
        claims=CLAIMS["encoders"],
        cells=tables.encoders,
        limits={
            "cpu": f"{_OF_1000} Shallow networks replace deep ones, in the paper's order of size; the widest are left "
            "out.",
            "small": f"{_OF_1000} ResNet-18 to ResNet-50 replace the paper's encoders; the largest are left out.",
            "paper": _OF_1000,
        },
    ),
    Table(
        name="temperature",
        title="Weight of the negatives, and temperature",
        source="Table 18",
        claims=CLAIMS["temperature"],
        cells=tables.temperature,
    ),
    Table(
        name="pretext",
        title="The systems before BYOL, at the same passes over the images",
        source="the talk's survey, arXiv numbers in docs/systems.md",
        claims=CLAIMS["pretext"],
        cells=systems.systems,
        limits=dict.fromkeys(
            SCALES,
            f"{_OTHER_SETTINGS} Rows are of the same passes over the images; tiles, turns and a second encoder take "
            "more time for each.",
        ),
    ),
    Table(
        name="pretext-minutes",
        title="The systems before BYOL, at the same minutes",
        source="the talk's survey, arXiv numbers in docs/systems.md",
        claims=CLAIMS["pretext-minutes"],
        cells=systems.at_equal_minutes,
        limits=dict.fromkeys(
            SCALES,
            f"{_OTHER_SETTINGS} Each row has the passes over the images that it gets through in BYOL's minutes, by "
            "what a pass of each was measured to cost (`byol.paper.costs`), not by the clock of this machine.",
        ),
        companion_of="pretext",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
"""In the order of `byol paper all`: tables of the paper's main claims first."""


def table_named(name: str) -> Table:
    """The table of this name.

    Raises:
        UserError: there is no such table.
    """
    if name not in TABLES:
        known = [*TABLES, "all", "report"]
        raise UserError(f"There is no table {name!r}.{nearest(name, known)} There are: {', '.join(known)}.")
    return TABLES[name]


def tables_named(name: str) -> list[Table]:
    """The tables that a call runs: all of them, or one with its companions.

    Raises:
        UserError: there is no such table.
    """
    if name == "all":
        return list(TABLES.values())
    first = table_named(name)
    return [first, *(table for table in TABLES.values() if table.companion_of == first.name)]


def chosen(table: Table, scale: Scale, only: tuple[str, ...]) -> list[Cell]:
    """Cells of a table whose names match one of the patterns; all cells if there are no patterns."""
    cells = table.cells(scale)
    return [cell for cell in cells if not only or any(fnmatchcase(cell.name, pattern) for pattern in only)]
