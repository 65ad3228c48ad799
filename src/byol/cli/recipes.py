"""`byol recipes`: every recipe with its source, cost and expected result."""

from dataclasses import dataclass

from byol.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List every recipe with its source, cost and expected result."""


def run(arguments: list[str]) -> int:
    """Print the table; the exit code."""
    parse(Recipes, arguments, "byol recipes", Recipes.__doc__ or "")
    from rich.console import Console
    from rich.table import Table

    from byol.recipes.presets import RECIPES

    table = Table("recipe", "what it is", show_lines=True)
    for name, recipe in RECIPES.items():
        more = {"source": recipe.source, "cost": recipe.cost, "expected": recipe.expected}
        table.add_row(name, "\n".join([recipe.what, *(f"{key}: {words}" for key, words in more.items())]))
    Console().print(table)
    return 0
