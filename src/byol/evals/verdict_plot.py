"""The verdict as a page: accuracy over labels, one line per row, in one HTML file that needs nothing else."""

import html
import math
from pathlib import Path

from byol.evals.verdict import Verdict
from byol.runtime.checkpoint import write_atomically

COLORS = ("#d62728", "#7f7f7f", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 56, 20, 170, 48


def write_plot(path: Path, verdict: Verdict, title: str) -> None:
    """Write the page, whole or not at all: the paragraph, the plot, the table.

    Raises:
        UserError: the disk is full or not writable.
    """
    text = html.escape(verdict.paragraph)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in verdict.notes)
    write_atomically(
        path,
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}"
        "td:first-child{text-align:left}</style>"
        f"<h1>{html.escape(title)}</h1><p>{text}</p>{plot(verdict)}{_table(verdict)}{notes}</html>\n",
    )


def plot(verdict: Verdict) -> str:
    """The plot as SVG: labels per class on a logarithmic axis, bars of one standard deviation."""
    columns = list(verdict.labels)
    low, high = (math.log(max(1, f(verdict.labels.values()))) for f in (min, max))
    top = max(cell.mean + cell.std for cells in verdict.table.values() for cell in cells.values())
    top = min(1.0, math.ceil(top * 10 + 1e-9) / 10)

    def x(column: str) -> float:
        share = (math.log(max(1, verdict.labels[column])) - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' font-size='13' role='img'>"]
    for tick in range(round(top * 10) + 1):
        at = y(tick / 10)
        parts.append(f"<path d='M{LEFT} {at:.1f}H{WIDTH - RIGHT}' stroke='#ddd'/>")
        parts.append(f"<text x='{LEFT - 6}' y='{at + 4:.1f}' text-anchor='end'>{tick * 10} %</text>")
    for column in columns:
        name = column if column != "all" else f"all ({verdict.labels[column]:.0f})"
        parts.append(f"<text x='{x(column):.1f}' y='{HEIGHT - BOTTOM + 18}' text-anchor='middle'>{name}</text>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text x='{middle}' y='{HEIGHT - 8}' text-anchor='middle'>labels per class</text>")
    parts.append(f"<path d='M{LEFT} {y(verdict.chance):.1f}H{WIDTH - RIGHT}' stroke='#999' stroke-dasharray='4 4'/>")
    parts.append(
        f"<text x='{WIDTH - RIGHT - 4}' y='{y(verdict.chance) - 4:.1f}' text-anchor='end' fill='#777'>chance</text>"
    )
    parts.append(f"<text x='{LEFT + 4}' y='{TOP - 6}'>top-1 accuracy on unseen images</text>")
    for number, (row, cells) in enumerate(verdict.table.items()):
        color = COLORS[number % len(COLORS)]
        line = " ".join(f"{x(column):.1f},{y(cells[column].mean):.1f}" for column in columns)
        parts.append(f"<polyline points='{line}' fill='none' stroke='{color}' stroke-width='2'/>")
        for column in columns:
            cell = cells[column]
            ends = y(min(top, cell.mean + cell.std)), y(max(0.0, cell.mean - cell.std))
            parts.append(f"<path d='M{x(column):.1f} {ends[0]:.1f}V{ends[1]:.1f}' stroke='{color}'/>")
            parts.append(f"<circle cx='{x(column):.1f}' cy='{y(cell.mean):.1f}' r='3' fill='{color}'/>")
        at = TOP + 16 + 20 * number
        parts.append(f"<path d='M{WIDTH - RIGHT + 14} {at - 4}h20' stroke='{color}' stroke-width='2'/>")
        parts.append(f"<text x='{WIDTH - RIGHT + 40}' y='{at}'>{html.escape(row)}</text>")
    return "".join(parts) + "</svg>"


def _table(verdict: Verdict) -> str:
    head = "".join(f"<th>{column}</th>" for column in verdict.labels)
    rows = []
    for row, cells in verdict.table.items():
        values = (
            f"<td>{100 * c.mean:.1f}{f' ± {100 * c.std:.1f}' if c.draws > 1 else ''}</td>" for c in cells.values()
        )
        rows.append(f"<tr><td>{html.escape(row)}</td>{''.join(values)}</tr>")
    return f"<table><tr><th>top-1, %</th>{head}</tr>{''.join(rows)}</table>"
