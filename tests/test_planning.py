"""A recipe decides again when a time is given: what follows the length, what is said of it, and when it stops."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from byol.config.run import PretrainConfig
from byol.data.holdout import HELD_OUT_MOST, held_out
from byol.data.sources.open import TensorSource
from byol.data.survey import survey
from byol.pretraining import planner as planning
from byol.pretraining.monitor import split
from byol.pretraining.planner import Planner, TimeLimit
from byol.recipes.facts import Facts
from byol.recipes.presets import recipe_named

IMAGES = 2400


@pytest.fixture(scope="module")
def source() -> TensorSource:
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    return TensorSource(images, [index % 3 for index in range(IMAGES)])


@dataclass(frozen=True)
class Prepared:
    """What the planner asks of a prepared run."""

    config: PretrainConfig
    source: TensorSource

    @property
    def images(self) -> int:
        return len(self.source)

    def with_config(self, config: PretrainConfig) -> "Prepared":
        return dataclasses.replace(self, config=config)


def planner_of(source: TensorSource, recipe: str = "auto", **settings: Any) -> Planner:
    facts = Facts(survey=survey(source), settings=settings)
    return Planner(recipe_named(recipe), facts, {"device": "cpu", "precision": "float32"})


@dataclass(frozen=True)
class Planned:
    """What came out."""

    config: PretrainConfig
    said: list[str]
    reasons: tuple[str, ...]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """What comes out where a batch size allows so many image visits in the time, and views of 16 px twice as many;
    the first measurements may give so many epochs only, in a busy moment."""

    def plan(
        source: TensorSource,
        visits: dict[int, float],
        recipe: str = "auto",
        busy: tuple[float, ...] = (),
        **settings: Any,
    ) -> Planned:
        moments = iter(busy)

        def measured(run: Prepared, limit: TimeLimit) -> tuple[float, str]:
            if (few := next(moments, None)) is not None:
                return few, "few"
            most = limit.most_epochs
            epochs = visits[run.config.batch_size] * (2 if run.config.image_size == 16 else 1) / len(source)
            return (most, "enough") if most is not None and epochs >= most else (epochs, f"epochs {epochs:g}")

        monkeypatch.setattr(planning, "_epochs_within", measured)
        monkeypatch.setattr(planning.machine, "load", lambda: 0.0)
        planner = planner_of(source, recipe, **settings)
        config = planner.config(planner.plan())
        run: Any = Prepared(config, source)
        limit = TimeLimit(3.0, config.epochs if "epochs" not in settings else None, 1.0)
        caplog.clear()
        with caplog.at_level(logging.INFO, "byol"):
            found, decided = planner.within(run, limit)
        return Planned(found.config, [record.getMessage() for record in caplog.records], decided.reasons)

    return plan


def test_a_short_time_is_measured_again_with_the_smaller_batch(source: TensorSource, planned: Any) -> None:
    found = planned(source, {256: 80_000, 64: 70_000})
    config = found.config
    assert (config.batch_size, config.image_size) == (64, 24)
    assert config.epochs == 70_000 / IMAGES, "the speed of the batch that is taken"
    assert found.said[1] == f"epochs {70_000 / IMAGES:g}"
    said = "\n".join(found.said)
    assert "batch size 64: so short a run" in said
    assert "of about 1093 updates" in said
    settled = planner_of(source).settled()
    assert any(reason.startswith("encoder") for reason in settled)
    assert not any(reason in said for reason in settled), "what holds for any length was said before"


def test_a_busy_moment_leaves_no_small_views_where_all_that_is_wanted_fits_in(
    source: TensorSource, planned: Any
) -> None:
    visits = dict.fromkeys((256, 128, 64), 2_000_000.0)
    usual = planned(source, visits).config
    found = planned(source, visits, busy=(10.0,))
    config = found.config
    assert config == usual
    assert config.image_size == 24
    assert not any("smaller views" in line and "so short" in line for line in found.said)
    assert (
        found.said[0]
        == "measuring how fast this machine trains, for 3.6 seconds at most, again if the plan changes by it"
    )


def test_few_updates_are_made_more_by_smaller_views(source: TensorSource, planned: Any) -> None:
    found = planned(source, {256: 50_000, 64: 40_000})
    config = found.config
    assert (config.batch_size, config.image_size, config.inference_size()) == (64, 16, 32)
    assert config.epochs == 80_000 / IMAGES, "more than a thousand updates now, and the views stay small"
    said = "\n".join(found.said)
    assert "views of 16 px, whole images of 32 px when trained" in said
    assert "views of 24 px" not in said
    settled = planner_of(source).settled()
    assert not any(reason.startswith("views of") for reason in settled), "it is not known yet"


def test_a_given_batch_counts_in_updates_too(source: TensorSource, planned: Any) -> None:
    config = planned(source, {256: 200_000}, batch_size=256).config
    assert (config.image_size, config.epochs) == (16, 400_000 / IMAGES)


def test_a_set_of_few_images_is_in_no_hurry(source: TensorSource, planned: Any) -> None:
    """All the passes that are wanted fit in the time, however few updates they are."""
    found = planned(source.subset(range(150)), {16: 1e9, 8: 1e9})
    config = found.config
    assert (config.epochs, config.image_size) == (300, 24)
    assert sum("views of" in words for words in found.said) == 1


def test_views_that_were_given_stay(source: TensorSource, planned: Any) -> None:
    config = planned(source, {256: 50_000, 64: 40_000}, image_size=32).config
    assert (config.image_size, config.encoder.input_size) == (32, None)


def test_a_batch_that_was_given_stays(source: TensorSource, planned: Any) -> None:
    config = planned(source, {128: 140_000}, batch_size=128).config
    assert (config.batch_size, config.epochs) == (128, 140_000 / IMAGES)


def test_enough_time_keeps_the_recipes_length(source: TensorSource, planned: Any) -> None:
    found = planned(source, {256: 1e9, 128: 1e9})
    config = found.config
    assert (config.batch_size, config.epochs) == (128, 300)
    assert found.said[1] == "enough"
    assert any("between 20 and 300 passes" in words for words in found.said)
    assert sum("batch size" in words for words in found.said) == 1, "no reason of another length beside it"


def test_a_recipe_without_reasons_says_the_time_alone(source: TensorSource, planned: Any) -> None:
    found = planned(source, {128: 12_000}, recipe="cifar10-cpu")
    config = found.config
    assert (config.batch_size, config.epochs) == (128, 5)
    assert found.said[1:] == ["epochs 5"]


def test_what_is_said_at_once_holds_for_any_length(source: TensorSource) -> None:
    planner = planner_of(source)
    settled = planner.settled()
    assert len(settled) >= 4
    for epochs in (0.5, 30.0, 5000.0):
        for hurried in (False, True):
            assert set(settled) <= set(planner.plan(epochs, hurried).reasons)
    assert not any(reason.startswith(("epochs", "batch", "tau", "views of")) for reason in settled)


@pytest.mark.parametrize("count", [50, 99, 100, 2400, 60_000])
def test_held_out_is_what_the_split_leaves_out(count: int) -> None:
    data = TensorSource(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), [index % 2 for index in range(count)])
    kept, _, _, _ = split(data, None, 0)
    assert held_out(data, None) == (0 if kept is None else count - len(kept)) <= HELD_OUT_MOST
    assert held_out(data, data) == 0
