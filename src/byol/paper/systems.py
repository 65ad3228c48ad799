"""The systems that the talk behind the project presents before BYOL, side by side: `byol paper pretext`."""

from dataclasses import replace
from typing import Any

from byol.paper.cells import Cell
from byol.paper.costs import costs_at
from byol.paper.numbers import PaperNumber, number
from byol.paper.scales import Scale
from byol.paper.tables import methods

TILES_SIDE = 32
"""Side of the views that are cut into tiles, where the scale's own views are smaller: tiles of them would have few
pixels. The encoder is evaluated at the scale's own size all the same."""
UNTRAINED = "random"
"""Name of the row that costs nothing."""
NEGATIVES = 4096
"""Negatives from a memory bank below the paper's scale: the papers' 16384 and 32000 are more than its images."""

NAMES = {
    "exemplar": "Exemplar",
    "context": "relative position",
    "jigsaw": "jigsaw",
    "colorization": "colorization",
    "inpainting": "inpainting",
    "vae": "variational autoencoder",
    "rotation": "rotation",
    "deepcluster": "DeepCluster",
    "selfla": "SeLa",
    "local-aggregation": "local aggregation",
    "npid++": "NPID++",
    "pirl": "PIRL",
    "cpc": "CPC v2",
    "cmc": "CMC",
    "amdim": "AMDIM",
    "infomin": "InfoMin",
}
"""Systems that other tables do not have, in the order of their ideas."""
TILED = ("context", "jigsaw", "pirl", "cpc")
PRINTED = {"jigsaw", "npid++", "pirl", "cpc", "cmc"}
"""Systems with a figure in the talk."""


def systems(scale: Scale) -> list[Cell]:
    """Every system under one encoder, one data set and one evaluation, with the talk's ImageNet figures."""
    known = {cell.name: cell for cell in methods(scale)}
    moco = known["moco"].changes
    first: dict[str, Any] = {
        **moco,
        "method__projector_depth": 1,
        "method__output": 128,
        "method__temperature": 0.07,
        "augment__view1__blur": 0.0,
        "augment__view2__blur": 0.0,
        "augment__view2__solarize": 0.0,
    }
    cells = [
        known["random"],
        *(
            Cell(
                name=name,
                row=row,
                paper=_printed(row) if name in PRINTED else None,
                changes=_changes(name, scale, moco),
                note="views of 32 px, which are cut into tiles" if name in TILED and _enlarges(scale) else "",
            )
            for name, row in NAMES.items()
        ),
        Cell(name="moco-v1", row="MoCo", paper=_printed("MoCo"), changes=first),
        Cell(name="moco", row="MoCo v2", paper=_printed("MoCo v2"), changes=moco),
        Cell(name="simclr", row="SimCLR", paper=_printed("SimCLR"), changes={"method": "simclr"}),
        Cell(name="byol", row="BYOL", paper=_printed("BYOL")),
        known["supervised"],
    ]
    return [replace(cell, layers=True) for cell in cells]


def at_equal_minutes(scale: Scale) -> list[Cell]:
    """The same rows, each with the passes over the images that it gets through in BYOL's minutes.

    BYOL itself and the untrained network are the same runs as in `systems`. Systems whose cost was not measured at the
    scale are left out.
    """
    costs = costs_at(scale)
    if not costs:
        return []
    known = (cell for cell in systems(scale) if cell.name in (*costs, UNTRAINED))
    return [_at_equal_minutes(cell, scale, costs.get(cell.name, 1.0)) for cell in known]


def _at_equal_minutes(cell: Cell, scale: Scale, cost: float) -> Cell:
    epochs = round(scale.config.epochs / cost, 2)
    return cell if cost == 1 else replace(cell, changes={**cell.changes, "epochs": epochs})


def _printed(row: str) -> PaperNumber:
    return number("systems_of_the_talk", method=row)


def _enlarges(scale: Scale) -> bool:
    return scale.config.image_size < TILES_SIDE


def _changes(name: str, scale: Scale, moco: dict[str, Any] | Any) -> dict[str, Any]:
    """What a system's row sets."""
    changes: dict[str, Any] = {"method": "instdisc" if name == "npid++" else name}
    if name == "infomin":
        changes |= {**moco, "method": name}
    if name == "npid++":
        changes["method__negatives"] = 32000
    if name in ("npid++", "pirl", "cmc") and not scale.printed:
        changes["method__negatives"] = NEGATIVES
    if name in TILED and _enlarges(scale):
        changes["image_size"] = TILES_SIDE
    return changes
