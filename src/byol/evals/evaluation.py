"""What an evaluation is. Each module of this package that declares an `EVALUATION` is one; `registry` lists them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from byol.data.sources.open import Source, open_source
from byol.encoders.load import LoadedEncoder
from byol.evals.calibration import calibrated

CPU = torch.device("cpu")


class Progress:
    """Receives the progress of an evaluation; this one ignores it."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` units of a piece of work are finished; `what` names the work."""

    def unreadable(self, name: str, count: int, total: int) -> None:
        """`count` of the `total` images of the source `name` cannot be read and are skipped."""


silent = Progress()


@dataclass(frozen=True)
class Task:
    """An encoder, the data that it is evaluated on, and where the work is done.

    The batch norm of an encoder that was never trained sees training images here: without their averages it would be a
    baseline that is too easy to beat (docs/health.md).
    """

    encoder: LoadedEncoder
    train: Source
    """Labeled training data; hyperparameters are chosen on a held-out part of it."""
    test: Source
    """Labeled test data; never used for model selection."""
    device: torch.device = CPU
    progress: Progress = silent
    valid: Source | None = None
    """Labeled validation data, used instead of a held-out part of the training data."""

    def __post_init__(self) -> None:
        if self.encoder.fresh and input_channels(self.encoder) == self.train.channels:
            object.__setattr__(self, "encoder", calibrated(self.encoder, self.train, self.device))


OpenData = Callable[..., Source]
"""Opens data by name, with the keyword `channels`."""


class DataOptions(Protocol):
    """A frozen dataclass whose fields name the data of an evaluation; the command line makes them flags."""

    def open(self, open_data: OpenData, channels: int) -> dict[str, Source]:
        """The sources by role: `train`, `test` and perhaps `valid`, the fields of `Task`."""

    def adapt(self, config: Any) -> Any:
        """The evaluation's settings, adapted to this data."""


@dataclass(frozen=True, kw_only=True)
class TrainAndTest:
    """The data of most evaluations."""

    train: str = field(metadata={"metavar": "DATA"})
    """Labeled training data."""
    test: str = field(metadata={"metavar": "DATA"})
    """Labeled test data; never used for model selection."""

    def open(self, open_data: OpenData, channels: int) -> dict[str, Source]:
        """Both parts."""
        return {role: open_data(data, channels=channels) for role, data in (("train", self.train), ("test", self.test))}

    def adapt(self, config: Any) -> Any:
        """The settings as they are."""
        return config


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation. `byol eval NAME` is made from it; its module's docstring describes it in one line."""

    name: str
    """The name of its module."""
    config: type[Any]
    """Frozen dataclass of its settings, all of them with defaults; the command line makes them flags."""
    evaluate: Callable[[Task, Any], dict[str, float]]
    """Returns the metrics by name, the most important one first."""
    percent: tuple[str, ...]
    """Metrics in [0, 1] that are printed in percent; `*` matches any text."""
    data: type[DataOptions] = TrainAndTest
    """How its data is named."""
    open_data: OpenData = open_source
    """How its data is opened."""
    quick: Callable[[Any], Any] | None = None
    """From its settings to those of `--quick`, a subset of the protocol that takes minutes."""
    left_out: Callable[[Any], str] = lambda config: ""
    """What its settings leave out of the paper's protocol, in words."""
    instead_of_quick: str = "the full protocol takes minutes"
    """Advice for `--quick` where there is none."""


def input_channels(encoder: LoadedEncoder) -> int:
    """The channels of the images that an encoder takes; pixels take color images."""
    return 3 if encoder.spec is None else encoder.spec.channels
