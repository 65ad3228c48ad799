"""What a pass over the images costs each system, in passes of BYOL: which rows of equal minutes are made from."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from byol.paper.scales import Scale

REFERENCE = "byol"
"""The system whose minutes all others get."""


def costs_at(scale: Scale) -> Mapping[str, float]:
    """System to cost at a scale, or at the one that it is a shorter or a longer run of; empty if none was measured.

    They are kept in `costs.json`, which `benchmarks/system_costs.py` writes: CPU seconds of a pass, with augmentation
    and clustering.
    """
    return costs_of(_measured(), scale.base or scale.name)


def costs_of(rows: Iterable[Mapping[str, Any]], scale: str) -> dict[str, float]:
    """The medians of a scale's rows over that of BYOL, with two digits after the point; empty without BYOL's."""
    seconds = {row["name"]: row["median"] for row in rows if row["group"] == scale}
    if REFERENCE not in seconds:
        return {}
    return {name: round(value / seconds[REFERENCE], 2) for name, value in seconds.items()}


@cache
def _measured() -> tuple[Mapping[str, Any], ...]:
    path = Path(__file__).with_name("costs.json")
    return tuple(json.loads(path.read_text())["rows"]) if path.is_file() else ()
