"""Plots as SVG that stand alone: a table's rows, the paper's beside ours; and what methods lose."""

import html
import math
from collections.abc import Mapping, Sequence

from byol.paper.cells import GROUPS
from byol.paper.ranks import Row
from byol.paper.summary import TableResult

INK, FAINT, PAPER, OURS = "#222", "#ddd", "#7f7f7f", "#1f77b4"
COLORS = {"byol": "#1f77b4", "simclr": "#d62728"}
STEP, NAME, PANEL, GAP, TOP = 22, 360, 250, 50, 44


def _svg(width: float, height: float, parts: Sequence[str], what: str) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' "
        f"height='{height:.0f}' "
        f"style='max-width:100%;height:auto;background:#fff' font-family='system-ui,sans-serif' font-size='13' "
        f"fill='{INK}' role='img' aria-label='{html.escape(what, quote=True)}'>{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high, a handful."""
    raw = max((high - low) / most, 1e-9)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def rows_plot(result: TableResult) -> str:
    """Each row of a table: the paper's number on the left, ours on the right with the range over seeds, each on an axis
    of its own; the hollow dot is 20-NN."""
    rows = result.rows
    bottom = TOP + STEP * len(rows)
    parts: list[str] = []
    printed = [row.cell.paper for row in rows if row.cell.paper is not None]
    papers = [one.value + sign * (one.spread or 0.0) for one in printed for sign in (-1, 1)]
    ours = [value for row in rows for value in (*row.ours, *row.knn)]
    panels = [("paper, top-1 %", NAME, _range(papers or [0.0, 1.0]))]
    panels += [("here, %: linear ●, 20-NN ○", NAME + PANEL + GAP, _range(ours))]
    if result.rows[0].cell.fine_tunes:
        panels[1] = ("here, top-1 % after fine-tuning ●, 20-NN ○", *panels[1][1:])
    for title, left, (low, high) in panels:
        parts.append(f"<text x='{left + PANEL / 2:.0f}' y='16' text-anchor='middle'>{title}</text>")
        for tick in ticks(low, high):
            at = left + (tick - low) / (high - low) * PANEL
            parts.append(f"<path d='M{at:.1f} {TOP - 10}V{bottom - 6}' stroke='{FAINT}'/>")
            parts.append(f"<text x='{at:.1f}' y='{TOP - 14}' text-anchor='middle' font-size='11'>{tick:g}</text>")

    def x(value: float, panel: int) -> float:
        _, left, (low, high) = panels[panel]
        return left + (value - low) / (high - low) * PANEL

    for number, row in enumerate(rows):
        y = TOP + STEP * number + 4
        color = COLORS.get(row.cell.group, OURS)
        parts.append(
            f"<text x='{NAME - 14}' y='{y + 4}' text-anchor='end'>{html.escape(_short(row.cell.title))}</text>"
        )
        parts.append(f"<path d='M{NAME} {y}h{PANEL}m{GAP} 0h{PANEL}' stroke='{FAINT}' stroke-dasharray='1 4'/>")
        if row.cell.paper is not None:
            spread = row.cell.paper.spread or 0.0
            at = row.cell.paper.value
            ends = (x(max(panels[0][2][0], at - spread), 0), x(min(panels[0][2][1], at + spread), 0))
            parts.append(f"<path d='M{ends[0]:.1f} {y}H{ends[1]:.1f}' stroke='{PAPER}' stroke-width='2'/>")
            parts.append(f"<circle cx='{x(at, 0):.1f}' cy='{y}' r='4' fill='{PAPER}'/>")
        mean_knn = sum(row.knn) / len(row.knn)
        parts.append(f"<circle cx='{x(mean_knn, 1):.1f}' cy='{y}' r='3.5' fill='none' stroke='{color}'/>")
        parts.append(
            f"<path d='M{x(min(row.ours), 1):.1f} {y}H{x(max(row.ours), 1):.1f}' stroke='{color}' stroke-width='2'/>"
        )
        mean = sum(row.ours) / len(row.ours)
        parts.append(f"<circle cx='{x(mean, 1):.1f}' cy='{y}' r='4' fill='{color}'/>")
    return _svg(NAME + 2 * PANEL + GAP + 20, bottom + 8, parts, f"{result.table.title}: the paper and here")


def _short(name: str, most: int = 46) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


WIDTH, HEIGHT, LEFT, UP, RIGHT, DOWN = 760, 420, 60, 20, 180, 130


def drops_plot(lost: Mapping[str, Sequence[Row]], title: str) -> str:
    """What each method loses from its own first row, in points, downwards: ours in full lines with the range over
    seeds, the paper's dashed."""
    names = list(dict.fromkeys(drop.name for rows in lost.values() for drop in rows))
    values = [v for rows in lost.values() for drop in rows for v in (drop.paper, *drop.ours)]
    low, high = min(0.0, *values), max(1.0, *values)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def x(name: str) -> float:
        return LEFT + 20 + names.index(name) / max(1, len(names) - 1) * (WIDTH - LEFT - RIGHT - 40)

    def y(value: float) -> float:
        return UP + (value - low) / (high - low) * (HEIGHT - UP - DOWN)

    parts = []
    for tick in ticks(low, high, 6):
        parts.append(f"<path d='M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}' stroke='{INK if tick == 0 else FAINT}'/>")
        parts.append(f"<text x='{LEFT - 8}' y='{y(tick) + 4:.1f}' text-anchor='end'>{-tick + 0.0:g}</text>")
    for name in names:
        at = x(name), HEIGHT - DOWN + 16
        parts.append(
            f"<text x='{at[0]:.1f}' y='{at[1]}' text-anchor='end' font-size='11' "
            f"transform='rotate(-35 {at[0]:.1f} {at[1]})'>{html.escape(_short(name, 30))}</text>"
        )
    legend = UP + 12
    for group, rows in lost.items():
        color = COLORS.get(group, OURS)
        for dashed, points in (
            (True, [(x(drop.name), y(drop.paper)) for drop in rows]),
            (False, [(x(drop.name), y(drop.mean)) for drop in rows]),
        ):
            line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            style = "stroke-dasharray='5 4' opacity='0.6'" if dashed else "stroke-width='2'"
            parts.append(f"<polyline points='{line}' fill='none' stroke='{color}' {style}/>")
            where = WIDTH - RIGHT + 14
            parts.append(f"<path d='M{where} {legend - 4}h22' stroke='{color}' {style}/>")
            words = f"{GROUPS[group]}, {'paper' if dashed else 'here'}"
            parts.append(f"<text x='{where + 30}' y='{legend}'>{words}</text>")
            legend += 20
        for drop in rows:
            ends = y(min(drop.ours)), y(max(drop.ours))
            parts.append(f"<path d='M{x(drop.name):.1f} {ends[0]:.1f}V{ends[1]:.1f}' stroke='{color}'/>")
            parts.append(f"<circle cx='{x(drop.name):.1f}' cy='{y(drop.mean):.1f}' r='3.5' fill='{color}'/>")
    parts.append(
        f"<text x='14' y='{(UP + HEIGHT - DOWN) / 2}' text-anchor='middle' "
        f"transform='rotate(-90 14 {(UP + HEIGHT - DOWN) / 2})'>points from its own baseline</text>"
    )
    return _svg(WIDTH, HEIGHT, parts, title)
