"""The paper's two headline claims: what BYOL and SimCLR lose when batches shrink or transformations are removed."""

from byol.paper.figures import drops_figure
from byol.paper.ranks import Row, in_seeds, on_shared_seeds, points
from byol.paper.summary import TableResult, drops
from byol.report.document import Block, Figure, Grid, Heading, Items

HEADLINES = {
    "batch-size": ("Smaller batches", ("256", "128", "64")),
    "augmentations": (
        "Transformations removed",
        ("remove color (jittering and grayscale)", "remove grayscale", "crop only"),
    ),
}
"""Table of each headline claim to the title of its section and the rows that get a sentence."""
FIGURE_3B = (
    "baseline",
    "remove grayscale",
    "remove color (jittering and grayscale)",
    "crop and blur only",
    "crop only",
)
"""Rows that the paper plots for the removed transformations, in its order."""


def drops_blocks(result: TableResult) -> list[Block]:
    """A headline claim in words, as a figure and as a table; nothing if a method has no results."""
    lost = drops(result)
    if set(lost) != {"byol", "simclr"}:
        return []
    when, names = HEADLINES[result.table.name]
    rows = {group: {drop.name: drop for drop in found} for group, found in lost.items()}
    both = [name for name in rows["byol"] if name in rows["simclr"]]
    said = [
        f"{name}: {_compared(rows['byol'][name], rows['simclr'][name])}"
        for name in both
        if any(name == wanted or name.startswith(f"{wanted} (") for wanted in names)
    ]
    head = ("row", "paper: BYOL", "paper: SimCLR", "here: BYOL", "here: SimCLR")
    grid = Grid(
        head,
        tuple(
            (
                name,
                *(points(-rows[group][name].paper) for group in ("byol", "simclr")),
                *(_signed(rows[group][name]) for group in ("byol", "simclr")),
            )
            for name in both[1:]
        ),
    )
    plotted = {
        group: [drop for drop in found if result.table.name != "augmentations" or drop.name in FIGURE_3B]
        for group, found in lost.items()
    }
    if result.table.name == "augmentations":
        plotted = {
            group: sorted(found, key=lambda drop: FIGURE_3B.index(drop.name)) for group, found in plotted.items()
        }
    title = f"{when}: points lost from each method's own baseline"
    file = f"paper-{result.table.name}-{result.scale.name}.svg"
    return [
        Heading(f"{when}: what BYOL and SimCLR lose ({result.scale.name})", 3),
        *([Items(tuple(said))] if said else []),
        Figure(drops_figure(plotted, title), title, file),
        grid,
    ]


def _compared(byol: Row, simclr: Row) -> str:
    both = on_shared_seeds([byol, simclr])
    if not both:
        return "no seed has both rows."
    byol, simclr = both
    gap, paper = simclr.mean - byol.mean, simclr.paper - byol.paper
    weight = in_seeds([(theirs > ours) == (gap > 0) for ours, theirs in zip(byol.ours, simclr.ours, strict=True)])
    here, there = (f"{abs(value):.1f} points {'less' if value > 0 else 'more'}" for value in (gap, paper))
    lost = f"BYOL loses {byol.mean:.1f} points, SimCLR {simclr.mean:.1f}"
    return f"{lost}: BYOL **{here}** ({weight}); in the paper {there}."


def _signed(drop: Row) -> str:
    return points(-drop.mean) + (f" ± {drop.spread:.1f}" if len(drop.ours) > 1 else "")
