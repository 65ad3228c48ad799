"""The paper's numbers (arXiv:2006.07733): `numbers.json`, and the way to one of them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PaperNumber:
    """One number of one table."""

    value: float
    """Top-1 accuracy in percent."""
    spread: float | None
    """Half of best minus worst of three seeds, which the paper prints where it is above 0.25."""
    source: str
    """Such as `Table 5a`."""
    key: dict[str, Any]
    """What tells the row from the table's others."""


@cache
def paper_tables() -> dict[str, Any]:
    """Every table of numbers.json: its source, its title, its rows. Half-ranges stand beside a number as `..._pm`."""
    tables: dict[str, Any] = json.loads(Path(__file__).with_name("numbers.json").read_text())
    return tables


def number(table: str, metric: str = "top1", /, **key: Any) -> PaperNumber:
    """The number of the first row of a table with these values."""
    entry = paper_tables()[table]
    rows = [row for row in entry["rows"] if all(row[name] == value for name, value in key.items())]
    assert rows, f"{table} has no row {key}"
    return PaperNumber(rows[0][metric], rows[0].get(f"{metric}_pm"), entry["source"], key)
