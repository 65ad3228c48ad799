"""Settings: impossible ones are refused in words, unknown ones are named, derived ones follow the paper."""

import dataclasses
import json
import subprocess
import sys
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol.config.optim import OptimConfig
from byol.config.run import (
    TEMPERATURES,
    DataConfig,
    LoggingConfig,
    LossConfig,
    Method,
    MoCoConfig,
    NetworkConfig,
    PretrainConfig,
    TargetConfig,
    overrule,
)
from byol.config.values import from_json, replace, to_json
from byol.config.views import AugmentConfig, ViewConfig
from byol.errors import UserError

IMAGENET = 1_281_167
"""Images in the training part of ImageNet."""


def test_views_are_those_of_table_6() -> None:
    first, second = PretrainConfig().augment.view1, PretrainConfig().augment.view2
    for view in (first, second):
        assert (view.area, view.aspect) == ((0.08, 1.0), (3 / 4, 4 / 3))
        assert (view.flip, view.vertical_flip, view.jitter, view.gray) == (0.5, 0.0, 0.8, 0.2)
        assert (view.brightness, view.contrast, view.saturation, view.hue) == (0.4, 0.4, 0.2, 0.1)
        assert (view.sigma, view.solarize_threshold) == ((0.1, 2.0), 0.5)
    assert (first.blur, first.solarize) == (1.0, 0.0)
    assert (second.blur, second.solarize) == (0.1, 0.2)
    assert PretrainConfig().encoder.mean == (0.485, 0.456, 0.406)
    assert PretrainConfig().encoder.std == (0.229, 0.224, 0.225)


def test_the_rest_of_the_defaults_is_the_papers() -> None:
    config = PretrainConfig()
    assert (config.encoder, config.image_size, config.batch_size, config.epochs) == ("resnet50", 224, 4096, 1000)
    assert (config.method.hidden, config.method.output) == (4096, 256)
    assert (config.method.projector_depth, config.method.predictor_depth) == (2, 2)
    assert (config.optim.name, config.optim.momentum, config.optim.trust) == ("lars", 0.9, 1e-3)
    assert (config.optim.warmup_epochs, config.optim.clip, config.method.start) == (10, None, "copy")


@pytest.mark.parametrize(
    ("epochs", "batch", "peak", "steps", "warmup"),
    [(1000, 4096, 3.2, 312_784, 3127), (300, 4096, 3.2, 93_835, 3127), (1000, 512, 0.4, 2_502_279, 25_022)],
)
def test_imagenet_in_updates(epochs: float, batch: int, peak: float, steps: int, warmup: int) -> None:
    config = PretrainConfig(epochs=epochs, batch_size=batch)
    assert config.optim.peak_lr(batch) == pytest.approx(peak)
    assert config.total_steps(IMAGENET) == steps
    assert config.warmup_steps(IMAGENET) == warmup


def test_warmup_takes_a_quarter_at_most() -> None:
    # the 40-epoch preset warms up over its ten epochs, a quarter
    assert PretrainConfig(epochs=40).warmup_steps(IMAGENET) == 3127
    assert PretrainConfig(epochs=8, batch_size=10).warmup_steps(100) == 20
    assert PretrainConfig(epochs=8, batch_size=10, optim=OptimConfig(warmup_epochs=0)).warmup_steps(100) == 0


@given(st.floats(0.01, 50), st.integers(2, 300), st.integers(2, 5000))
def test_updates_cover_the_epochs(epochs: float, batch: int, images: int) -> None:
    config = PretrainConfig(epochs=epochs, batch_size=batch)
    steps = config.total_steps(images)
    assert steps == 1 or steps * batch <= epochs * images < (steps + 1) * batch + 1
    assert 0 <= config.warmup_steps(images) <= steps


IMPOSSIBLE = [
    (ViewConfig, {"flip": 1.5}),
    (ViewConfig, {"jitter": -0.1}),
    (ViewConfig, {"hue": 2.0}),
    (ViewConfig, {"area": (0.0, 1.0)}),
    (ViewConfig, {"area": (0.5, 0.2)}),
    (ViewConfig, {"area": (0.5, 1.2)}),
    (ViewConfig, {"aspect": (-1.0, 1.0)}),
    (ViewConfig, {"sigma": (0.0, 1.0)}),
    (AugmentConfig, {"std": (0.2, 0.2)}),
    (AugmentConfig, {"std": (0.2, 0.0, 0.2)}),
    (NetworkConfig, {"width": 0}),
    (NetworkConfig, {"projector_depth": 0}),
    (NetworkConfig, {"hidden": 0}),
    (NetworkConfig, {"output": -5}),
    (OptimConfig, {"lr": 0.0}),
    (OptimConfig, {"lr": float("nan")}),
    (OptimConfig, {"lr": float("inf")}),
    (OptimConfig, {"weight_decay": -1e-6}),
    (OptimConfig, {"momentum": 1.0}),
    (OptimConfig, {"trust": 0.0}),
    (OptimConfig, {"warmup_epochs": -1}),
    (OptimConfig, {"accumulate": 0}),
    (OptimConfig, {"recompute": True, "compile": True}),
    (OptimConfig, {"recompute": True, "cuda_graph": True}),
    (OptimConfig, {"clip": 0.0}),
    (TargetConfig, {"tau": 1.1}),
    (TargetConfig, {"tau": float("nan")}),
    (OptimConfig, {"predictor_lr": -1.0}),
    (OptimConfig, {"projector_lr": float("inf")}),
    (LossConfig, {"beta": 1.5}),
    (LossConfig, {"beta": -0.1}),
    (LossConfig, {"temperature": 0.0}),
    (LossConfig, {"temperature": float("nan")}),
    (MoCoConfig, {"queue": 1}),
    (MoCoConfig, {"splits": 0}),
    (LoggingConfig, {"log_every": 0}),
    (LoggingConfig, {"health_every": 0}),
    (LoggingConfig, {"checkpoint_minutes": 0}),
    (LoggingConfig, {"knn_every_epochs": -1}),
    (DataConfig, {"workers": 0}),
    (DataConfig, {"channels": 0}),
    (PretrainConfig, {"image_size": 4}),
    (PretrainConfig, {"batch_size": 1}),
    (PretrainConfig, {"epochs": 0}),
    (PretrainConfig, {"epochs": float("nan")}),
    (PretrainConfig, {"epochs": float("inf")}),
    (PretrainConfig, {"seed": -1}),
    (PretrainConfig, {"batch_size": 10, "optim": OptimConfig(accumulate=4)}),
    (PretrainConfig, {"batch_size": 8, "optim": OptimConfig(accumulate=8)}),
]


@pytest.mark.parametrize(("cls", "values"), IMPOSSIBLE, ids=lambda v: getattr(v, "__name__", str(v)))
def test_impossible_values_are_refused_with_what_is_allowed(cls: type, values: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        cls(**values)
    name = next(reversed(values))
    message = str(caught.value)
    assert "must be" in message
    assert name in message or "accumulate" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("method", "setting", "takes"),
    [
        ("simclr", {"method__target": "online"}, "byol or infonce"),
        ("infonce", {"method__normalization": "batch"}, "byol"),
        ("byol", {"method__beta": 0.5}, "infonce"),
        ("byol", {"method__temperature": 0.2}, "infonce or simclr or moco"),
        ("moco", {"method__predictor_lr": 2.0}, "byol or infonce"),
        ("supervised", {"method__projector_lr": 2.0}, "byol or infonce or simclr or moco"),
        ("byol", {"method__queue": 128}, "moco"),
    ],
)
def test_a_setting_that_the_method_does_not_read_is_refused(
    method: Method, setting: dict[str, Any], takes: str
) -> None:
    name = next(iter(setting)).replace("__", ".")
    with pytest.raises(UserError, match=f"{name} is .* but the method '{method}' does not read it.* method {takes}\\."):
        replace(PretrainConfig(), method=method, **setting)
    replace(PretrainConfig(), method=takes.split(" or ")[0], **setting)


@pytest.mark.parametrize("setting", [{"method__target": "online"}, {"method": "simclr"}])
def test_only_a_moving_target_starts_apart(setting: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"target\.start is 'apart'"):
        replace(PretrainConfig(), method__start="apart", **setting)


def test_temperature_is_the_methods_own_unless_given() -> None:
    own = {method: LossConfig().temperature_of(method) for method in TEMPERATURES}
    assert own == {"infonce": 0.1, "simclr": 0.1, "moco": 0.2}
    assert LossConfig(temperature=0.3).temperature_of("moco") == 0.3


def test_a_random_encoder_takes_no_step() -> None:
    assert replace(PretrainConfig(), method="random").total_steps(100_000) == 0


@pytest.mark.parametrize(("views", "given", "seen"), [(224, None, 224), (24, 32, 32), (64, 32, 64)])
def test_whole_images_are_seen_at_least_as_large_as_views(views: int, given: int | None, seen: int) -> None:
    assert PretrainConfig(image_size=views, eval_size=given).inference_size() == seen


def test_a_recipe_for_byol_serves_other_methods() -> None:
    recipe = replace(PretrainConfig(), method__predictor_lr=10.0, method__tau=0.97)
    assert overrule(recipe, {}) == recipe
    assert overrule(recipe, {"epochs": 7.0}) == replace(recipe, epochs=7.0)
    other = overrule(recipe, {"method": "simclr", "method__temperature": 0.2})
    assert (other.method, other.method.predictor_lr, other.method.tau) == ("simclr", 1.0, 0.97)
    assert other.method.temperature == 0.2
    with pytest.raises(UserError, match=r"predictor_lr is 3.0, but the method 'simclr' does not read it"):
        overrule(recipe, {"method": "simclr", "method__predictor_lr": 3.0})


def test_json_and_back() -> None:
    config = replace(
        PretrainConfig(),
        epochs=3.5,
        augment__view2__area=(0.3, 0.9),
        encoder__mean=(0.5,),
        encoder__std=(0.2,),
        optim__clip=1.0,
        data__workers=3,
        method__constant_tau=True,
    )
    text = json.dumps(to_json(config))
    assert from_json(PretrainConfig, json.loads(text)) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, ["'epoch'", "Did you mean 'epochs'"]),
        ({"optim": {"momentun": 0.9}}, ["'optim.momentun'", "Did you mean 'momentum'"]),
        ({"augment": {"view1": {"blurr": 1.0}}}, ["'augment.view1.blurr'", "Did you mean 'blur'"]),
        ({"zzz": 3}, ["There is no setting 'zzz'"]),
        ({"epochs": "three"}, ["epochs is 'three'", "float"]),
        ({"batch_size": 2.5}, ["batch_size is 2.5", "int"]),
        ({"batch_size": True}, ["batch_size is True", "int"]),
        ({"device": "gpu"}, ["device is 'gpu'", "'cuda'"]),
        ({"optim": 3}, ["optim is 3", "section"]),
        ({"augment": {"view1": {"area": 3}}}, ["augment.view1.area", "list"]),
        ({"augment": {"view1": {"area": [0.1, 0.2, 0.3]}}}, ["augment.view1.area", "2 values"]),
        ({"target": {"constant": 1}}, ["target.constant", "bool"]),
        ({"optim": {"lr": -1}}, ["lr is -1", "above 0"]),
    ],
)
def test_wrong_json_is_told_what_is_right(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        from_json(PretrainConfig, values)
    for word in words:
        assert word in str(caught.value)


def test_replace_reaches_into_sections_and_leaves_the_rest() -> None:
    base = PretrainConfig()
    changed = replace(base, epochs=7, optim__lr=0.5, optim__name="sgd", augment__view2__blur=0.3)
    assert (changed.epochs, changed.optim.lr, changed.optim.name) == (7, 0.5, "sgd")
    assert changed.augment.view2 == dataclasses.replace(base.augment.view2, blur=0.3)
    assert changed.augment.view1 == base.augment.view1
    assert changed.optim.weight_decay == base.optim.weight_decay
    assert base == PretrainConfig()
    # a whole section, and one value of it
    both = replace(base, optim=OptimConfig(name="adamw", lr=1.0), optim__lr=2.0)
    assert (both.optim.name, both.optim.lr) == ("adamw", 2.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epohcs": 3}, "Did you mean 'epochs'"),
        ({"optim__lrr": 3}, "Did you mean 'lr'"),
        ({"optin__lr": 3}, "Did you mean 'optim'"),
        ({"epochs": "ten"}, "epochs is 'ten'"),
        ({"optim__name": "adam"}, "'adamw'"),
        ({"optim": 3}, "section"),
    ],
)
def test_replace_refuses_what_is_not_there(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(PretrainConfig(), **changes)


def test_every_field_has_a_type_and_cannot_be_changed() -> None:
    for cls in (PretrainConfig, ViewConfig, OptimConfig, LoggingConfig):
        assert set(get_type_hints(cls)) == {field.name for field in dataclasses.fields(cls)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        PretrainConfig().epochs = 3  # type: ignore[misc]


def test_needs_the_standard_library_only() -> None:
    code = (
        "import sys, byol.config.run; heavy = {'torch', 'numpy', 'timm', 'PIL', 'tyro'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
