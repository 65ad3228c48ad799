"""All stages, in order of worth; each module lists its units."""

from fnmatch import fnmatchcase

from campaign import continued, paper_tables, quality, speed, works
from campaign.setting import Setting
from campaign.unit import Unit

LISTS = (
    works.units,
    speed.units,
    quality.units,
    speed.more_units,
    paper_tables.units,
    continued.units,
)


def units_of(setting: Setting, only: list[str] | None = None) -> list[Unit]:
    """The units of the campaign: all, or those whose stage or whole name matches one of the patterns."""
    units = [unit for units in LISTS for unit in units(setting)]
    return [unit for unit in units if only is None or any(_matches(unit, pattern) for pattern in only)]


def _matches(unit: Unit, pattern: str) -> bool:
    return fnmatchcase(unit.stage, pattern) or fnmatchcase(unit.name, pattern)
