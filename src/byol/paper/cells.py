"""What a table is made of: cells, each a row of the paper and the settings that make it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.paper.numbers import PaperNumber
from byol.paper.scales import Scale

Metric = Literal["linear", "semi_1%", "semi_10%"]
"""What a row is measured by: a linear classifier on frozen features, or fine-tuning with a share of the labels."""


GROUPS = {"byol": "BYOL", "simclr": "SimCLR"}
"""Methods that a table compares, as they are written."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a table."""

    name: str
    """Unique in its table; what `--only` takes."""
    row: str
    """The row in the paper's words, and the scale's own value where that differs."""
    paper: PaperNumber | None = None
    """None where the paper prints no number for it."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings in which the row differs from the scale's, as `byol.config.values.replace` takes them."""
    group: str = ""
    """The method whose rows belong together, where a table compares two."""
    metric: Metric = "linear"
    note: str = ""
    """What the row does not say by itself."""

    @property
    def title(self) -> str:
        """The row, with its method where a table compares two."""
        return f"{GROUPS[self.group]}, {self.row}" if self.group else self.row

    @property
    def fine_tunes(self) -> bool:
        """Whether it is fine-tuned with few labels."""
        return self.metric != "linear"

    def config(self, scale: Scale) -> PretrainConfig:
        """Every setting of the row at a scale, with seed 0; what its method does not read of the scale falls away."""
        return replace(scale.config, **self.changes)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One of the paper's tables."""

    name: str
    title: str
    source: str
    claim: str
    """One line: what the paper says it shows."""
    cells: Callable[[Scale], list[Cell]]
    limits: Mapping[str, str] = field(default_factory=dict)
    """By scale, what it and a longer run of it cannot show of this table; `{updates}` and the like are filled in."""

    def limit(self, scale: Scale) -> str:
        """What a scale cannot show of this table, in words; empty where there is nothing to say."""
        return self.limits.get(scale.shorter or scale.name, "").format(
            updates=f"{scale.config.total_steps(scale.train_images):,}",
            images=f"{scale.train_images:,}",
            batch=scale.config.batch_size,
        )
