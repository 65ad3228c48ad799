"""Compare two scales that differ only in epochs: does a longer run bring the order of rows closer to the paper's?"""

import math

from byol.paper.ranks import Row, decided, on_shared_seeds, tau_of
from byol.paper.summary import Gathered, TableResult
from byol.report.document import Block, Grid, Heading, Paragraph


def on_both(short: TableResult, long: TableResult) -> tuple[list[Row], list[Row]]:
    """Rows that both scales have, on the seeds that all rows share: those of the short scale, then of the long one."""
    at = [{row.name: row for row in result.comparable()} for result in (short, long)]
    names = [name for name in at[0] if name in at[1]]
    rows = on_shared_seeds([found[name] for found in at for name in names])
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def longer_blocks(short: Gathered, long: Gathered) -> list[Block]:
    """What the longer run changes; nothing if the two scales share no rows that can be ranked."""
    grid, each, taus = [], [], []
    for result in long.tables:
        brief = short.table(result.table.name)
        before, after = on_both(brief, result) if brief is not None else ([], [])
        tau = tau_of(before), tau_of(after)
        if any(map(math.isnan, tau)):
            continue
        taus.append(tau)
        each += [
            (
                f"`{result.table.name}` {a.name}",
                f"{a.paper:g}",
                f"{a.mean:.1f}",
                f"{b.mean:.1f}",
                f"{b.mean - a.mean:+.1f}",
            )
            for a, b in zip(before, after, strict=True)
        ]
        right, told = zip(decided(before), decided(after), strict=True)
        assert told[0] == told[1]
        grid.append(
            (
                f"`{result.table.name}` {result.table.title}",
                str(len(after)),
                str(len(after[0].ours)),
                *(f"{value:.2f}" for value in tau),
                *(f"{count} of {told[0]}" for count in right),
            )
        )
    if not grid:
        return []
    names = short.scale.name, long.scale.name
    means = [sum(values) / len(values) for values in zip(*taus, strict=True)]
    epochs = [f"{gathered.scale.config.epochs:g}" for gathered in (short, long)]
    return [
        Heading(f"What a longer run changes ({names[0]} and {names[1]})", 3),
        Paragraph(
            f"Rows and seeds that both scales have, at {epochs[0]} and at {epochs[1]} epochs; nothing else differs. "
            f"Mean of Kendall's tau-b over {len(grid)} table{'s' if len(grid) > 1 else ''}: **{means[0]:.2f}** at "
            f"{epochs[0]} epochs, **{means[1]:.2f}** at {epochs[1]}."
        ),
        Grid(
            (
                "table",
                "rows",
                "seeds",
                *(f"tau-b, {name}" for name in names),
                *(f"pairs in the paper's order, {name}" for name in names),
            ),
            tuple(grid),
        ),
        Paragraph("Accuracy row by row, in percent:"),
        Grid(("row", "paper", *names, "change"), tuple(each)),
    ]
