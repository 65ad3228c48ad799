"""What a recipe decides."""

from dataclasses import dataclass

from byol.config.run import PretrainConfig


@dataclass(frozen=True)
class Plan:
    """A config, and a reason for each choice in it."""

    config: PretrainConfig
    reasons: tuple[str, ...] = ()
    budget_minutes: float | None = None
    """Time that the run should take where the user gives neither epochs nor a budget."""
