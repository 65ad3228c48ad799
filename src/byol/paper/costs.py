"""What a pass over the images costs each system, in passes of BYOL: which rows of equal minutes are made from."""

from collections.abc import Mapping

from byol.paper.scales import Scale

COSTS: Mapping[str, Mapping[str, float]] = {"cpu": {}}
"""Scale to system to cost, with two digits: CPU seconds of a pass over those of BYOL, augmentation and clustering
included (`python benchmarks/system_costs.py`, benchmarks/results/system-costs.json)."""


def costs_at(scale: Scale) -> Mapping[str, float]:
    """The costs at a scale, or at the scale that it is a shorter or a longer run of; empty where none was measured."""
    return COSTS.get(scale.base or scale.name, {})
