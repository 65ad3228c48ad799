"""The paper's numbers (arXiv:2006.07733), kept in `numbers.json`, and how to look one up."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PaperNumber:
    """One number of a table."""

    value: float
    """Top-1 accuracy in percent."""
    spread: float | None
    """Half the range (best minus worst) over three seeds; the paper prints it where it is above 0.25."""
    source: str
    """Where it stands, such as `Table 5a`."""
    key: dict[str, Any]
    """The values that identify the row in its table."""


@cache
def paper_tables() -> dict[str, Any]:
    """All tables of numbers.json, each with source, title and rows. The half-range of a number has the key `..._pm`."""
    tables: dict[str, Any] = json.loads(Path(__file__).with_name("numbers.json").read_text())
    return tables


def number(table: str, metric: str = "top1", /, **key: Any) -> PaperNumber:
    """The number of a table's first row that has these values."""
    entry = paper_tables()[table]
    rows = [row for row in entry["rows"] if all(row[name] == value for name, value in key.items())]
    assert rows, f"{table} has no row {key}"
    return PaperNumber(rows[0][metric], rows[0].get(f"{metric}_pm"), entry["source"], key)
