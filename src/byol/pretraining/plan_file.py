"""The plan of a run as a file that a person can read, edit and pass back: `byol plan`, `byol pretrain --plan`."""

import tomllib
from pathlib import Path
from typing import Any

import tomlkit

from byol.config.documents import read_document
from byol.config.run import PretrainConfig
from byol.config.values import from_json, to_json
from byol.errors import UserError
from byol.recipes.facts import Facts
from byol.recipes.plan import Plan
from byol.recipes.presets import Recipe
from byol.runtime.program import program

PLAN_SUFFIX = ".toml"
"""A recipe whose name ends so is the file of a plan."""


def plan_as_toml(config: PretrainConfig, reasons: tuple[str, ...], data: str, command: str) -> str:
    """A plan as TOML: the reasons as comments, then every setting. Settings that are None are left out."""
    document = tomlkit.document()
    document.add(tomlkit.comment(f"The plan of a run on {data}, made by: {command}"))
    document.add(tomlkit.comment("Edit what you like, then start it by: byol pretrain DATA --plan THIS_FILE"))
    document.add(tomlkit.comment(""))
    for line in (line for reason in reasons for line in reason.splitlines()):
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    _fill(document, to_json(config))
    return tomlkit.dumps(document)


def _fill(table: Any, values: dict[str, Any]) -> None:
    """Plain values first, then sections: TOML reads a value after a section as part of it."""
    for key, value in values.items():
        if value is not None and not isinstance(value, dict):
            table.add(key, value)
    for key, value in values.items():
        if isinstance(value, dict):
            section = tomlkit.table()
            _fill(section, value)
            table.add(key, section)


def read_plan(path: str | Path) -> PretrainConfig:
    """The settings that a plan's file states.

    Raises:
        UserError: no such file, or something in it is no setting.
    """
    try:
        values = tomllib.loads(read_document(Path(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"The plan {path} cannot be read ({error}); make one by: {program()} plan DATA > plan.toml."
        ) from error
    return from_json(PretrainConfig, values)


def recipe_from_file(path: str | Path) -> Recipe:
    """The recipe that decides just what a plan's file states.

    Raises:
        UserError: as `read_plan`.
    """
    config = read_plan(path)

    def make(facts: Facts) -> Plan:
        return Plan(config)

    return Recipe(make=make, what=f"the plan {path}", source=str(path), cost="", expected="")


def known_before_planning(config: PretrainConfig) -> dict[str, Any]:
    """What a run must know before it plans: where it trains, and how its images are opened."""
    data = config.data
    opened = {"data__channels": data.channels, "data__axes": data.axes, "data__reading": data.reading}
    return {"device": config.device, "precision": config.precision, **opened}
