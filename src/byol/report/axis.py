"""One direction of a plot: a range of values, where each lies on it, and its tick labels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear or logarithmic range of values."""

    low: float
    high: float
    """Where the axis ends; below `low` it runs backward."""
    label: str = ""
    """What is shown, with its unit: `loss`, `top-1 accuracy, %`."""
    log: bool = False
    ticks: Mapping[float, str] | None = None
    """Value to label; by default round numbers."""
    grid: bool = True
    """Whether a faint line crosses the plot at each tick."""

    @classmethod
    def around(cls, values: Iterable[float], *, label: str = "", log: bool = False, margin: float = 0.06) -> "Axis":
        """An axis that holds all finite values, with a margin at both ends as a share of their range.

        A logarithmic axis leaves values of 0 and below out. Without values it is [0, 1], or [1, 10].
        """
        inside = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
        if not inside:
            return cls(low=1.0, high=10.0, label=label, log=True) if log else cls(low=0.0, high=1.0, label=label)
        low, high = min(inside), max(inside)
        if log:
            factor = (high / low) ** margin if high > low else 2.0
            return cls(low=low / factor, high=high * factor, label=label, log=True)
        added = margin * (high - low) or 1.0
        return cls(low=low - added, high=high + added, label=label)

    @classmethod
    def of_names(cls, names: Sequence[str], *, label: str = "", backward: bool = False, grid: bool = True) -> "Axis":
        """An axis of categories; the first has the value 0, the next 1, and so on. Backward, the first is last."""
        low, high = -0.5, max(1, len(names)) - 0.5
        if backward:
            low, high = high, low
        return cls(low=low, high=high, label=label, ticks=dict(enumerate(names)), grid=grid)

    def share(self, value: float) -> float:
        """How far along the axis a value lies: 0 at `low`, 1 at `high`; 0.5 where both are the same."""
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def shows(self, value: float) -> bool:
        """Whether a value has a place on an axis of this kind: it is finite, and positive on a logarithmic axis."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def clamped(self, value: float) -> float:
        """The value itself, or the nearer end of the axis."""
        low, high = sorted((self.low, self.high))
        return min(max(value, low), high)

    def marked(self, most: int = 6) -> dict[float, str]:
        """Value to tick label: the axis's own ticks, or about `most` round numbers."""
        if self.ticks is not None:
            return dict(self.ticks)
        low, high = sorted((self.low, self.high))
        values = log_ticks(low, high, most) if self.log else ticks(low, high, most)
        return {value: f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:g}" for value in values}


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high, about `most`."""
    raw = max((high - low) / most, 1e-12)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [float(f"{count * step:.10g}") for count in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Powers of ten from low to high, about `most`; with their doubles and fives where they are few.

    Linear ticks where the range is so short that fewer than two of these lie in it.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, math.ceil((last - first) / most))
    factors = (1, 2, 5) if high <= 100 * low else (1,)
    found = [factor * 10.0**power for power in range(first, last + 1, step) for factor in factors]
    inside = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else ticks(low, high, most)
