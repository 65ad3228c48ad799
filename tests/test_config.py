"""Settings: impossible ones are refused in words, unknown ones are named, derived ones follow the paper."""

import dataclasses
import json
import subprocess
import sys
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol.config.encoder import EncoderSpec
from byol.config.methods import (
    AnyMethodConfig,
    BYOLConfig,
    InfoNCEConfig,
    MoCoConfig,
    SimCLRConfig,
    SupervisedConfig,
)
from byol.config.optim import OptimConfig
from byol.config.renamed import RENAMED, current_name
from byol.config.run import DataConfig, LoggingConfig, PretrainConfig
from byol.config.values import from_json, replace, to_json
from byol.config.views import ViewConfig
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
    assert (config.encoder.name, config.image_size, config.batch_size, config.epochs) == ("resnet50", 224, 4096, 1000)
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
    (EncoderSpec, {"std": (0.2, 0.2)}),
    (EncoderSpec, {"std": (0.2, 0.0, 0.2)}),
    (EncoderSpec, {"width": 0}),
    (EncoderSpec, {"init_scale": 0.0}),
    (EncoderSpec, {"input_size": 4}),
    (BYOLConfig, {"projector_depth": 0}),
    (BYOLConfig, {"predictor_depth": -1}),
    (BYOLConfig, {"hidden": 0}),
    (SimCLRConfig, {"output": -5}),
    (OptimConfig, {"lr": 0.0}),
    (OptimConfig, {"lr": float("nan")}),
    (OptimConfig, {"lr": float("inf")}),
    (OptimConfig, {"weight_decay": -1e-6}),
    (OptimConfig, {"momentum": 1.0}),
    (OptimConfig, {"trust": 0.0}),
    (OptimConfig, {"warmup_epochs": -1}),
    (OptimConfig, {"accumulate": 0}),
    (OptimConfig, {"activation_checkpointing": True, "compile": True}),
    (OptimConfig, {"activation_checkpointing": True, "cuda_graph": True}),
    (OptimConfig, {"clip": 0.0}),
    (BYOLConfig, {"tau": 1.1}),
    (MoCoConfig, {"tau": float("nan")}),
    (BYOLConfig, {"predictor_lr": -1.0}),
    (SimCLRConfig, {"projector_lr": float("inf")}),
    (InfoNCEConfig, {"beta": 1.5}),
    (InfoNCEConfig, {"beta": -0.1}),
    (SimCLRConfig, {"temperature": 0.0}),
    (MoCoConfig, {"temperature": 0.0}),
    (InfoNCEConfig, {"temperature": float("nan")}),
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
    (PretrainConfig, {"epochs": -1}),
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
    ("method", "setting", "have"),
    [
        ("simclr", {"method__target": "stop-gradient"}, "byol, infonce, multicrop"),
        ("infonce", {"method__normalization": "batch"}, "byol, multicrop"),
        ("byol", {"method__beta": 0.5}, "infonce"),
        ("byol", {"method__temperature": 0.2}, "infonce, simclr, moco, instdisc"),
        ("moco", {"method__predictor_lr": 2.0}, "byol, infonce, multicrop, simsiam"),
        (
            "supervised",
            {"method__projector_lr": 2.0},
            "byol, infonce, simclr, moco, simsiam, vicreg, instdisc, multicrop",
        ),
        ("byol", {"method__queue": 128}, "moco"),
        ("simclr", {"method__tau": 0.9}, "byol, infonce, moco, multicrop"),
    ],
)
def test_a_setting_that_the_method_lacks_is_refused_with_the_methods_that_have_it(
    method: str, setting: dict[str, Any], have: str
) -> None:
    name = next(iter(setting)).replace("__", ".")
    with pytest.raises(UserError) as caught:
        replace(PretrainConfig(), method=method, **setting)
    start, _, listed = str(caught.value).partition("; ")
    assert start == f"There is no setting '{name}'. The method '{method}' has none"
    field = name.removeprefix("method.")
    having = {kind.name for kind in get_args(AnyMethodConfig) if field in {f.name for f in dataclasses.fields(kind)}}
    assert set(have.split(", ")) <= having
    assert listed.endswith(" has it." if len(having) == 1 else " have it.")
    found = listed.removesuffix(" have it.").removesuffix(" has it.").replace(" and ", ", ").split(", ")
    known = {kind.name for kind in get_args(AnyMethodConfig)}  # other tests have methods of their own
    assert known & set(found) == having
    for other in have.split(", "):
        (value,) = setting.values()
        changed = replace(PretrainConfig(), method=other, **setting)
        assert (changed.method.name, getattr(changed.method, name.removeprefix("method."))) == (other, value)


def test_a_setting_that_no_method_has_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"^There is no setting 'method\.taw'\. Did you mean 'tau'\?$"):
        replace(PretrainConfig(), method__taw=0.9)


@pytest.mark.parametrize("method", ["byol", "infonce"])
@pytest.mark.parametrize("kind", ["online", "stop-gradient"])
def test_only_a_moving_target_starts_apart(method: str, kind: str) -> None:
    with pytest.raises(UserError, match=r"method\.start is 'apart', but must be 'copy'"):
        replace(PretrainConfig(), method=method, method__start="apart", method__target=kind)
    assert replace(PretrainConfig(), method=method, method__start="apart").method.start == "apart"


def test_a_method_without_a_target_has_no_start() -> None:
    with pytest.raises(
        UserError, match=r"'method\.start'\. The method 'simclr' has none; byol, multicrop and infonce have it"
    ):
        replace(PretrainConfig(), method="simclr", method__start="apart")


def test_temperature_is_the_methods_own_unless_given() -> None:
    own = {kind.name: kind().temperature for kind in (InfoNCEConfig, SimCLRConfig, MoCoConfig)}
    assert own == {"infonce": 0.1, "simclr": 0.1, "moco": 0.2}
    assert replace(PretrainConfig(), method="moco", method__temperature=0.3).method == MoCoConfig(temperature=0.3)


def test_no_epochs_are_no_step() -> None:
    config = replace(PretrainConfig(), epochs=0)
    assert (config.total_steps(100_000), config.warmup_steps(100_000)) == (0, 0)


@pytest.mark.parametrize(("views", "given", "seen"), [(224, None, 224), (24, 32, 32), (64, 32, 64)])
def test_whole_images_are_seen_at_least_as_large_as_views(views: int, given: int | None, seen: int) -> None:
    config = PretrainConfig(image_size=views, encoder=EncoderSpec(input_size=given, weights="timm"))
    assert config.inference_size() == seen
    assert config.trained_encoder() == EncoderSpec(input_size=seen)


RECIPE = replace(PretrainConfig(), method__hidden=1024, method__predictor_lr=10.0, method__tau=0.97)
"""A recipe for BYOL."""


def test_a_recipe_for_byol_serves_other_methods() -> None:
    assert replace(RECIPE) == RECIPE
    assert replace(RECIPE, epochs=7.0) == dataclasses.replace(RECIPE, epochs=7.0)
    other = replace(RECIPE, method="simclr", method__temperature=0.2)
    assert other.method == SimCLRConfig(hidden=1024, temperature=0.2)
    with pytest.raises(UserError, match=r"no setting 'method.predictor_lr'. The method 'simclr' has none"):
        replace(RECIPE, method="simclr", method__predictor_lr=3.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("byol", RECIPE.method),
        ("infonce", InfoNCEConfig(hidden=1024, predictor_lr=10.0, tau=0.97)),
        ("simclr", SimCLRConfig(hidden=1024)),
        ("moco", MoCoConfig(hidden=1024, tau=0.97)),
        ("supervised", SupervisedConfig()),
    ],
)
def test_another_method_keeps_what_both_have_and_was_changed(name: str, expected: AnyMethodConfig) -> None:
    assert replace(RECIPE, method=name) == dataclasses.replace(RECIPE, method=expected)


def test_the_own_default_of_another_method_is_not_overridden_by_a_default() -> None:
    """InfoNCE's temperature of 0.1 is its default, so it is no wish; what was changed goes along."""
    start = PretrainConfig(method=InfoNCEConfig())
    assert replace(start, method="moco").method == MoCoConfig(temperature=0.2)
    assert replace(start, method__temperature=0.4, method__beta=0.5).method == InfoNCEConfig(temperature=0.4, beta=0.5)
    assert replace(replace(start, method__temperature=0.4), method="moco").method == MoCoConfig(temperature=0.4)


def test_a_method_that_does_not_exist() -> None:
    with pytest.raises(UserError) as caught:
        replace(PretrainConfig(), method="simlr")
    names = ", ".join(repr(kind.name) for kind in get_args(AnyMethodConfig))
    assert str(caught.value) == (f"method is 'simlr', but must be one of {names}. Did you mean 'simclr'?")
    with pytest.raises(UserError, match=r"^method is None, but must be one of 'byol', "):
        from_json(PretrainConfig, {"method": {"tau": 0.9}})
    with pytest.raises(UserError, match=r"^There is no setting 'method\.beta'\."):
        from_json(PretrainConfig, {"method": {"name": "byol", "beta": 0.5}})


def test_an_encoder_is_given_by_name_or_whole() -> None:
    start = replace(PretrainConfig(), encoder__width=0.5, encoder__mean=(0.5,), encoder__std=(0.25,))
    named = replace(start, encoder="resnet18", encoder__stem="small")
    assert named.encoder == EncoderSpec(name="resnet18", width=0.5, stem="small", mean=(0.5,), std=(0.25,))
    assert replace(start, encoder=EncoderSpec(name="resnet34")).encoder == EncoderSpec(name="resnet34")
    with pytest.raises(UserError, match=r"^data is 'photos', but is a section of settings\.$"):
        replace(start, data="photos")


@pytest.mark.parametrize(
    ("channels", "mean", "std"),
    [(3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (1, (0.5,), (0.25,)), (5, (0.5,) * 5, (0.25,) * 5)],
)
def test_an_encoder_for_a_number_of_channels(channels: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    spec = EncoderSpec.of("resnet18", channels, width=0.5)
    assert spec == EncoderSpec(name="resnet18", width=0.5, mean=mean, std=std)
    assert spec.channels == channels
    own = EncoderSpec(mean=(0.1,) * channels, std=(0.2,) * channels)
    assert own.for_channels(channels) == own, "a normalization that fits stays"


@pytest.mark.parametrize(("older", "name"), RENAMED.items())
def test_every_older_name_leads_to_a_setting(older: str, name: str) -> None:
    section, _, field = current_name(older).partition("__")
    assert current_name(older) == name
    assert section in to_json(PretrainConfig())
    if field:
        assert field in to_json(PretrainConfig())[section]


def test_older_names_are_accepted() -> None:
    older = replace(
        PretrainConfig(),
        network__width=0.25,
        network__hidden=64,
        eval_size=32,
        augment__mean=(0.1,),
        augment__std=(0.2,),
        target__kind="stop-gradient",
        target__constant=True,
        loss__normalization="batch",
        optim__predictor_lr=5.0,
        optim__recompute=True,
        watch__log_every=7,
    )
    assert older == PretrainConfig(
        encoder=EncoderSpec(width=0.25, input_size=32, mean=(0.1,), std=(0.2,)),
        method=BYOLConfig(
            hidden=64, target="stop-gradient", constant_tau=True, normalization="batch", predictor_lr=5.0
        ),
        optim=OptimConfig(activation_checkpointing=True),
        logging=LoggingConfig(log_every=7),
    )
    assert replace(PretrainConfig(), method="moco", moco__shuffle=False, loss__temperature=0.5).method == MoCoConfig(
        shuffle=False, temperature=0.5
    )
    with pytest.raises(UserError, match=r"^There is no setting 'encoder\.widht'\. Did you mean 'width'\?$"):
        replace(PretrainConfig(), network__widht=0.25)


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
    "method",
    [
        BYOLConfig(normalization="layer", target="online", predictor_depth=0),
        InfoNCEConfig(beta=0.25, temperature=0.3, start="apart"),
        SimCLRConfig(projector_depth=3, projector_lr=0.5),
        MoCoConfig(queue=128, shuffle=False, splits=2, tau=0.5),
        SupervisedConfig(),
    ],
    ids=lambda method: method.name,
)
def test_every_method_to_json_and_back(method: AnyMethodConfig) -> None:
    config = PretrainConfig(method=method)
    values = json.loads(json.dumps(to_json(config)))
    assert values["method"]["name"] == method.name
    assert set(values["method"]) == {"name", *(field.name for field in dataclasses.fields(method))}
    assert from_json(PretrainConfig, values) == config
    assert type(from_json(PretrainConfig, values).method) is type(method)


def test_the_table_of_methods() -> None:
    names = [kind.name for kind in get_args(AnyMethodConfig)]
    assert names[:5] == ["byol", "infonce", "simclr", "moco", "supervised"]
    assert {"simsiam", "vicreg", "rotation", "instdisc", "multicrop"} <= set(names[5:])


@pytest.mark.parametrize(
    ("method", "views"),
    [
        (BYOLConfig(), 1),
        (BYOLConfig(target="stop-gradient"), 2),
        (BYOLConfig(target="online"), 2),
        (InfoNCEConfig(), 2),
        (SimCLRConfig(), 2),
        (MoCoConfig(), 1),
        (SupervisedConfig(), 2),
    ],
)
def test_views_whose_activations_are_kept_at_once(method: AnyMethodConfig, views: int) -> None:
    assert method.views_in_memory == views


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
        ({"method": {"name": "byol", "constant_tau": 1}}, ["method.constant_tau", "bool"]),
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
    for cls in (PretrainConfig, EncoderSpec, ViewConfig, OptimConfig, LoggingConfig):
        assert set(get_type_hints(cls)) == {field.name for field in dataclasses.fields(cls)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        PretrainConfig().epochs = 3  # type: ignore[misc]


def test_needs_the_standard_library_only() -> None:
    code = (
        "import sys, byol.config.run; heavy = {'torch', 'numpy', 'timm', 'PIL', 'tyro'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
