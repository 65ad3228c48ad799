"""All stages, in order of worth; each module lists its units."""

from campaign import continued, paper_tables, quality, speed, works
from campaign.setting import Setting
from campaign.unit import Unit

STAGES = {
    "tests": works,
    "speed": speed,
    "quality": quality,
    "paper": paper_tables,
    "continued": continued,
}


def units_of(setting: Setting) -> list[Unit]:
    """Every unit of the campaign."""
    return [unit for stage in STAGES.values() for unit in stage.units(setting)]
