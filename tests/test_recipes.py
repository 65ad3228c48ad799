"""Recipes: the official presets to the digit, and a chooser whose reasons are true."""

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.config.adapt import AdaptConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import IMAGENET_MEAN
from byol.data.survey import Survey
from byol.encoders.build import feature_count, make_encoder
from byol.errors import UserError
from byol.methods.base import Ingredients, TrainingSet
from byol.methods.table import method_class
from byol.recipes.auto import auto, tau_for
from byol.recipes.facts import Facts
from byol.recipes.plan import Plan
from byol.recipes.presets import RECIPES, recipe_named

IMAGENET = 1_281_167


def seen(count: int = 50_000, side: int = 32, channels: int = 3, **changes: Any) -> Survey:
    values: dict[str, Any] = {
        "count": count,
        "channels": channels,
        "height_median": side,
        "width_median": side,
        "short_side_median": side,
        "same_size": True,
        "depth": "8-bit",
        "bad": 0,
        "sampled": 64,
        "image_bytes": channels * side * side,
        "mean": (0.31234,) * channels,
        "std": (0.24567,) * channels,
    }
    return Survey(**{**values, **changes})


def plan(recipe: str = "auto", device: str = "cpu", memory: int = 8 << 30, **changes: Any) -> Plan:
    return recipe_named(recipe).make(Facts(survey=seen(**changes), device=device, free_memory=memory))


@pytest.mark.parametrize(
    ("name", "epochs", "batch", "lr", "peak", "decay", "tau"),
    [
        # Section 3.3, Section 5, Appendix G, and configs/byol.py:21
        ("paper-1000", 1000, 4096, 0.2, 3.2, 1.5e-6, 0.996),
        ("paper-300", 300, 4096, 0.3, 4.8, 1e-6, 0.99),
        ("paper-100", 100, 4096, 0.45, 7.2, 1e-6, 0.99),
        ("paper-40", 40, 4096, 0.45, 7.2, 1e-6, 0.97),
        ("paper-batch-512", 1000, 512, 0.4, 0.8, 1.5e-6, 0.9995),
    ],
)
def test_presets(name: str, epochs: int, batch: int, lr: float, peak: float, decay: float, tau: float) -> None:
    config = plan(name, count=IMAGENET, side=400).config
    assert (config.encoder.name, config.image_size, config.encoder.width) == ("resnet50", 224, 1)
    assert (config.epochs, config.batch_size) == (epochs, batch)
    assert (config.optim.name, config.optim.lr, config.optim.weight_decay) == ("lars", lr, decay)
    assert config.optim.peak_lr(config.batch_size) == pytest.approx(peak)
    assert (config.optim.momentum, config.optim.trust, config.optim.warmup_epochs) == (0.9, 1e-3, 10)
    assert (config.method.tau, config.method.constant_tau) == (tau, False)
    assert config.augment == PretrainConfig().augment
    assert (config.method.hidden, config.method.output, config.encoder.zero_init_last) == (4096, 256, False)
    assert config.encoder.init == "official"
    assert config.warmup_steps(IMAGENET) == {4096: 3127, 512: 25_022}[batch]


def test_every_recipe_builds_and_says_where_it_comes_from() -> None:
    for name, recipe in RECIPES.items():
        config = recipe.make(Facts(survey=seen())).config
        assert isinstance(config, PretrainConfig), name
        for text in (recipe.what, recipe.source, recipe.cost, recipe.expected):
            assert len(text) > 3
        assert recipe.make.__doc__, name


def test_unknown_recipe() -> None:
    with pytest.raises(UserError, match=r"no recipe 'papr-300'. Did you mean 'paper-300'\? See: byol recipes"):
        recipe_named("papr-300")


@pytest.mark.parametrize(
    ("epochs", "batch", "tau"),
    [(40, 4096, 0.97), (300, 4096, 0.99), (1000, 4096, 0.996), (1000, 512, 0.9995)],
)
def test_tau_meets_the_presets(epochs: int, batch: int, tau: float) -> None:
    assert tau_for(epochs * IMAGENET // batch) == pytest.approx(tau, abs=5e-5)


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_tau_grows_with_the_updates(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert 0.9 <= tau_for(low) <= tau_for(high) < 1


def test_tau_between_the_presets() -> None:
    for (steps, tau), (more, other) in itertools.pairwise([(12_510, 0.97), (93_835, 0.99), (312_784, 0.996)]):
        middle = tau_for(round((steps * more) ** 0.5))
        # half way in the logarithm: the geometric mean of the memories 1 / (1 - tau)
        assert 1 - middle == pytest.approx(((1 - tau) * (1 - other)) ** 0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("side", "device", "size", "views"),
    [
        (28, "cpu", 32, 24),
        (32, "cuda", 32, 32),
        (64, "cpu", 64, 48),
        (96, "cpu", 96, 96),
        (500, "cpu", 96, 96),
        (500, "cuda", 224, 224),
    ],
)
def test_views_are_as_large_as_the_images_allow(side: int, device: str, size: int, views: int) -> None:
    made = plan(side=side, device=device, memory=80 << 30)
    assert (made.config.inference_size(), made.config.image_size) == (size, views)
    assert any(f"views of {views} px" in reason for reason in made.reasons) == (views < size)
    reason = next(reason for reason in made.reasons if reason.startswith("image size"))
    assert reason.startswith(f"image size {size}:")
    assert f"{side} px" in reason


def test_reasons_state_what_was_chosen() -> None:
    for device, side, count in itertools.product(("cpu", "cuda"), (32, 64, 300), (300, 5000, 100_000)):
        made = plan(device=device, side=side, count=count, memory=24 << 30)
        config = made.config
        said = "\n".join(made.reasons)
        assert f"encoder {config.encoder.name}:" in said
        assert f"batch size {config.batch_size}:" in said
        assert f"epochs {config.epochs:g}" in said
        assert f"tau from {config.method.tau:g}" in said
        assert all(len(reason.split()) > 3 for reason in made.reasons)
        assert config.total_steps(count) >= 8
        assert config.batch_size <= count / 4


def test_large_sets_on_a_gpu_get_the_papers_network() -> None:
    made = plan(device="cuda", side=300, count=100_000, memory=80 << 30)
    assert (made.config.encoder.name, made.config.encoder.stem) == ("resnet50", "standard")
    assert any("the paper's, for 100000 images on a GPU" in reason for reason in made.reasons)
    assert plan(device="cuda", side=300, count=5000, memory=80 << 30).config.encoder.name == "resnet18"
    assert plan(device="cpu", side=300, count=100_000).config.encoder.name == "resnet18"


def test_a_small_gpu_gets_smaller_batches() -> None:
    def size(memory: int) -> int:
        return plan(device="cuda", side=300, count=100_000, memory=memory).config.batch_size

    assert size(80 << 30) > size(24 << 30) > size(8 << 30) >= 2
    reasons = plan(device="cuda", side=300, count=100_000, memory=8 << 30).reasons
    assert any("what fits in 8.6 GB of memory" in reason for reason in reasons)
    survey, of_simclr = seen(side=300, count=100_000), {"method": "simclr"}
    facts = Facts(survey=survey, device="cuda", free_memory=8 << 30, settings=of_simclr)
    assert recipe_named("auto").make(facts).config.batch_size == size(8 << 30) // 2


@pytest.mark.parametrize(("change", "factor"), [({"method__target": "online"}, 2), ({"encoder__stem": "small"}, 8)])
def test_what_takes_more_memory_gets_smaller_batches(change: dict[str, str], factor: int) -> None:
    facts = Facts(survey=seen(side=300, count=100_000), device="cuda", free_memory=24 << 30)
    given = dataclasses.replace(facts, settings=change)
    assert auto(given).config.batch_size <= auto(facts).config.batch_size // factor


def test_few_images_get_small_batches() -> None:
    made = plan(count=100)
    assert made.config.batch_size == 8
    assert any("12 updates or more per pass over 100 images" in reason for reason in made.reasons)


@pytest.mark.parametrize(
    ("epochs", "batch"),
    [(300, 256), (237.1, 256), (236.9, 128), (118.6, 128), (118.4, 64), (1, 64)],
)
def test_short_runs_on_a_processor_get_smaller_batches(epochs: float, batch: int) -> None:
    """The largest of 256, 128 and 64 that leaves five thousand updates, else 64."""
    facts = Facts(survey=seen(count=5400), settings={"epochs": epochs})
    made = auto(facts)
    assert made.config.batch_size == batch
    assert any("more from more updates" in reason for reason in made.reasons) == (batch < 256)
    assert auto(dataclasses.replace(facts, device="cuda")).config.batch_size == 512
    # AdamW: twice the rate at four times the batch
    assert made.config.optim.peak_lr(batch) == pytest.approx(1e-3 * (batch / 128) ** 0.5, rel=5e-3)


@pytest.mark.parametrize("channels", [1, 2, 13])
def test_other_channels_are_normalized_by_their_own_values(channels: int) -> None:
    made = plan(channels=channels, side=100)
    assert made.config.encoder.mean == (0.312,) * channels
    assert made.config.encoder.std == (0.246,) * channels
    assert any("no saturation, hue or gray" in reason for reason in made.reasons)
    assert plan(side=100).config.encoder.mean == IMAGENET_MEAN
    black = plan(channels=channels, side=100, mean=(0.0,) * channels, std=(0.0,) * channels)
    assert all(s > 0 for s in black.config.encoder.std)


def test_what_was_given_is_kept_and_needs_no_reason() -> None:
    settings = {"encoder": "resnet34", "batch_size": 64, "epochs": 7, "image_size": 48}
    made = auto(Facts(survey=seen(), settings=settings))
    config = made.config
    assert (config.encoder.name, config.batch_size, config.epochs, config.image_size) == ("resnet34", 64, 7, 48)
    said = "\n".join(made.reasons)
    for name in ("encoder resnet34", "batch size", "epochs 7:", "image size"):
        assert name not in said
    assert made.budget_minutes is None, "who gives epochs sets the length"
    assert plan().budget_minutes == 30
    assert plan(device="cuda").budget_minutes is None


def test_a_network_that_is_no_resnet_keeps_its_own_stem() -> None:
    made = auto(Facts(survey=seen(), settings={"encoder": "vit_tiny_patch16_224"}))
    assert (made.config.encoder.width, made.config.encoder.stem) == (1.0, "standard")
    assert (made.config.image_size, made.config.encoder.input_size) == (32, None), "views and whole images alike"
    assert auto(Facts(survey=seen(), settings={"encoder": "mobilenetv3_small_050"})).config.image_size == 24
    assert auto(Facts(survey=seen(), settings={"encoder": "convnext_atto"})).config.image_size == 32, "24 is too small"


@given(
    count=st.integers(16, 2_000_000),
    side=st.integers(8, 4000),
    channels=st.sampled_from([1, 3, 5]),
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    memory=st.integers(1 << 30, 80 << 30),
)
@settings(deadline=None, max_examples=80)
def test_auto_always_makes_a_config_that_can_run(
    count: int, side: int, channels: int, device: str, memory: int
) -> None:
    made = auto(Facts(survey=seen(count=count, side=side, channels=channels), device=device, free_memory=memory))
    config = made.config
    assert 2 <= config.batch_size <= count
    assert len(config.encoder.mean) == channels
    assert config.total_steps(count) >= 8
    assert config.logging.health_every * 4 <= max(config.total_steps(count), 40), "several looks in every run"


def test_encoders_of_the_recipes_exist() -> None:
    import torch

    with torch.device("meta"):
        for name, recipe in RECIPES.items():
            config = recipe.make(Facts(survey=seen())).config
            ingredients = Ingredients(config.encoder, TrainingSet(100), (config.image_size,) * 2)
            method = method_class(config.method).build(config.method, ingredients)
            assert feature_count(method.encoder) == feature_count(make_encoder(config.encoder)), name
            assert method.projector[-1].out_features == config.method.output, name  # type: ignore[index]


def test_facts_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Facts(survey=seen()).device = "cuda"  # type: ignore[misc]


def test_brightness_changes_go_with_the_range_that_images_use() -> None:
    usual, narrow = plan(channels=1), plan(channels=1, depth="16-bit", mean=(0.027,), std=(0.015,))
    before, after = usual.config.augment.view1, narrow.config.augment.view1
    assert after.brightness == pytest.approx(before.brightness * 0.015 / 0.226, rel=0.02)
    assert narrow.config.augment.view2.brightness == after.brightness
    assert replace(after, brightness=before.brightness) == before, "and nothing else"
    assert any(reason.startswith("brightness changes times 0.066") for reason in narrow.reasons)
    assert not any("brightness" in reason for reason in usual.reasons)
    facts = Facts(survey=seen(std=(0.015,) * 3), settings={"augment__view1__brightness": 0.4})
    assert auto(facts).config.augment.view2.brightness == before.brightness, "who says one, says both"


def test_a_recipe_sees_older_names_as_todays() -> None:
    older = Facts(survey=seen(), settings={"eval_size": 32, "network__stem": "small", "target__kind": "online"})
    assert older.given == {"encoder__input_size", "encoder__stem", "method__target"}
    assert (older.values.encoder.stem, older.values.method.target) == ("small", "online")
    assert auto(older).config.image_size == 32, "who says the size of whole images gets no smaller views"


def test_facts_with_a_number_of_epochs() -> None:
    facts = Facts(survey=seen(), settings={"seed": 3})
    short = facts.with_epochs(1.5, hurried=True)
    assert (short.settings, short.hurried, short.values.epochs) == ({"seed": 3, "epochs": 1.5}, True, 1.5)
    assert short.given == {"seed", "epochs"}
    assert (facts.given, facts.hurried) == ({"seed"}, False)


def test_an_average_longer_than_the_run_is_called_that() -> None:
    facts = Facts(survey=seen(), device="cpu", free_memory=8 << 30)
    said = " ".join(recipe_named("auto").make(facts.with_epochs(0.005, False)).reasons)
    assert "tau from 0.97: an average over 33 updates, more than there will be" in said
    assert "an average over 33 of about" in " ".join(recipe_named("auto").make(facts.with_epochs(5, False)).reasons)


def facts_of(device: str, side: int, **settings: Any) -> Facts:
    return Facts(survey=seen(side=side), device=device, settings=settings)


@pytest.mark.parametrize(
    ("device", "side", "whole", "views"), [("cpu", 32, 96, 72), ("cpu", 400, 96, 72), ("cuda", 32, 128, 128)]
)
def test_weights_that_were_trained_on_large_images_get_small_ones_enlarged(
    device: str, side: int, whole: int, views: int
) -> None:
    plan = auto(facts_of(device, side, encoder="resnet18", encoder__weights="timm"))
    config = plan.config
    assert (config.inference_size(), config.image_size) == (whole, views)
    assert any("the weights were trained on 224 px" in reason for reason in plan.reasons) == (side == 32)
    assert config.augment.view1.area == ((0.2, 1.0) if side == 32 else (0.08, 1.0)), "views suit the images themselves"
    assert (config.adapt.lr, config.adapt.frozen, config.adapt.batch_norm) == (0.1, 0.1, "eval")
    assert config.adapt.layer_decay == 1
    assert config.method.predictor_lr == 1
    assert config.method.tau == max(0.99, tau_for(config.total_steps(50_000)))


def test_reasons_of_a_run_from_weights_hold_what_was_given() -> None:
    plan = auto(facts_of("cpu", 32, encoder="resnet18", encoder__weights="timm", adapt__frozen=0.25))
    assert any("after 25% of the updates in which the new heads learn alone" in reason for reason in plan.reasons)
    assert plan.config.adapt.frozen == 0.1, "the user's own value overrides the plan's later"


def test_an_encoder_from_fresh_weights_is_trained_freely() -> None:
    assert auto(facts_of("cpu", 32)).config.adapt == AdaptConfig()
    assert auto(facts_of("cpu", 32)).config.inference_size() == 32


def test_transformers_get_the_optimizer_that_was_published_for_them() -> None:
    transformer = {"encoder": "vit_tiny_patch16_224", "batch_size": 64, "epochs": 30.0}
    optim = auto(facts_of("cuda", 64, **transformer)).config.optim
    assert (optim.name, optim.beta2, optim.weight_decay, optim.clip) == ("adamw", 0.98, 0.1, 0.5)
    assert optim.peak_lr(64) == pytest.approx(3e-4 * (64 / 1024) ** 0.5, rel=0.01)
    assert optim.warmup_epochs == 3
    assert auto(facts_of("cuda", 64, encoder="convnext_atto")).config.optim.beta2 == 0.98
    assert auto(facts_of("cuda", 64, encoder="efficientnet_lite0")).config.optim.beta2 == 0.999
    started = auto(facts_of("cuda", 64, encoder__weights="timm", **transformer)).config
    assert (started.adapt.layer_decay, started.adapt.batch_norm) == (0.9, "train")
