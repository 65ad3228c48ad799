"""What was seen of a run so far; a checkpoint holds its end."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from byol.methods.base import Method
from byol.pretraining.health import Health
from byol.pretraining.verdict import Course, Verdict, judge

LOSSES_KEPT, LOOKS_KEPT = 100, 10
"""Values that a checkpoint keeps."""


@dataclass
class History:
    """Losses, gradient norms and health measures, in the order in which they were taken."""

    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    health: list[Health] = field(default_factory=list)
    start: Health | None = None
    """The measures at step 0."""
    images_per_second: float = 0.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2))
    """Loss and gradient norm, summed since the last line of the metrics."""
    counted: int = 0
    """Updates in these sums."""
    best: float | None = None
    """The best accuracy on a sample, where labels are read."""
    stale: int = 0
    """Readings since then."""
    ended: bool = False
    """Whether the run has ended before its last update because readings got no better."""

    def verdict(self, method: type[Method], started: bool = False) -> Verdict:
        """What that says of a run by a method; `started`: from weights that had been trained."""
        return judge(Course(self.health, self.losses, self.gradient_norms, self.start, started), method)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            "losses": self.losses[-LOSSES_KEPT:],
            "gradient_norms": self.gradient_norms[-LOSSES_KEPT:],
            "start": None if self.start is None else asdict(self.start),
            "health": [asdict(h) for h in self.health[-LOOKS_KEPT:]],
            "since": self.sums.tolist(),
            "counted": self.counted,
            "best": self.best,
            "stale": self.stale,
            "ended": self.ended,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "History":
        """From the plain values of a checkpoint."""
        return cls(
            losses=list(values["losses"]),
            gradient_norms=list(values["gradient_norms"]),
            health=[Health(**one) for one in values["health"]],
            start=None if values.get("start") is None else Health(**values["start"]),
            sums=torch.tensor(values["since"]),
            counted=values["counted"],
            best=values.get("best"),
            stale=values.get("stale", 0),
            ended=values.get("ended", False),
        )
