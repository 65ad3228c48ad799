"""Tables and their cells. A cell is one row of the paper's table and the settings that reproduce it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.paper.claims import Claim
from byol.paper.numbers import PaperNumber
from byol.paper.scales import Scale

Metric = Literal["linear", "semi_1%", "semi_10%"]
"""The metric of a row: a linear classifier on frozen features, or fine-tuning with a share of the labels."""


Extra = Literal["semi", "layers"]
"""What may be measured of a row besides a linear classifier on all labels and the nearest neighbors: fine-tuning with a
share of the labels; ten labels per class and every stage of the encoder."""
Extras = frozenset[Extra]
PLAIN: Extras = frozenset()


GROUPS = {"byol": "BYOL", "simclr": "SimCLR"}
"""Display names of the methods that a table compares."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a table."""

    name: str
    """Unique in its table; `--only` matches it."""
    row: str
    """The row as the paper names it, with the scale's own value if that differs."""
    paper: PaperNumber | None = None
    """None if the paper prints no number for the row."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the scale's, as `byol.config.values.replace` takes them."""
    group: str = ""
    """The method of the row, if the table compares two."""
    metric: Metric = "linear"
    layers: bool = False
    """Whether every stage of the encoder is judged too, and the features with ten labels per class."""
    note: str = ""
    """A remark for the report."""

    @property
    def title(self) -> str:
        """The row, preceded by its method if the table compares two."""
        return f"{GROUPS[self.group]}, {self.row}" if self.group else self.row

    @property
    def fine_tunes(self) -> bool:
        """Whether the encoder is fine-tuned with few labels."""
        return self.metric != "linear"

    @property
    def extras(self) -> Extras:
        """What is measured of the row besides a linear classifier on all labels and the nearest neighbors."""
        kinds: dict[Extra, bool] = {"semi": self.fine_tunes, "layers": self.layers}
        return frozenset(kind for kind, wanted in kinds.items() if wanted)

    def config(self, scale: Scale) -> PretrainConfig:
        """Every setting of the row at a scale, with seed 0; what its method does not read of the scale falls away."""
        return replace(scale.config, **self.changes)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One of the paper's tables."""

    name: str
    title: str
    source: str
    claims: tuple[Claim, ...]
    """The paper's conclusions."""
    cells: Callable[[Scale], list[Cell]]
    limits: Mapping[str, str] = field(default_factory=dict)
    """Scale name to what that scale, and shorter or longer runs of it, cannot show; `{updates}`, `{images}` and
    `{batch}` are filled in."""

    companion_of: str = ""
    """Name of the table that this one is run with: the same rows under another condition."""

    @property
    def claim(self) -> str:
        """The paper's conclusions, in one line."""
        return "; ".join(claim.text for claim in self.claims)

    def limit(self, scale: Scale) -> str:
        """What a scale cannot show of this table, as a sentence; empty if there is nothing to say."""
        return self.limits.get(scale.base or scale.name, "").format(
            updates=f"{scale.config.total_steps(scale.train_images):,}",
            images=f"{scale.train_images:,}",
            batch=scale.config.batch_size,
        )
