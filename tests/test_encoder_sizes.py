"""Encoders of any family: which sizes of images they take, names and tags, and what their targets drop."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

import byol
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.sources.open import TensorSource
from byol.data.survey import survey
from byol.encoders.build import make_encoder
from byol.encoders.file import EncoderCard, load_encoder, read_encoder, save_encoder
from byol.encoders.load import open_encoder
from byol.encoders.sizes import check_size, fitted, nearest_size, unsupported_reason
from byol.encoders.start import start_encoder
from byol.errors import UserError
from byol.methods.byol import BYOL
from byol.methods.moco import MoCo
from byol.pretraining.planner import Planner
from byol.recipes.auto import auto
from byol.recipes.facts import Facts
from byol.recipes.presets import recipe_named
from byol.runtime.checkpoint import save_tensors


def images(count: int = 12, size: int = 64, channels: int = 3) -> TensorSource:
    generator = torch.Generator().manual_seed(0)
    return TensorSource(torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator))


SHORT = {"recipe": "auto", "epochs": 1, "batch_size": 6, "device": "cpu", "precision": "float32", "quiet": True}


def card_of(spec: EncoderSpec, features: int) -> EncoderCard:
    return EncoderCard(encoder=spec, features=features, method="byol", epochs=1.0, seed=0, images=8)


# tied weights


def test_weights_that_two_layers_share_are_kept_and_come_back(tmp_path: Path) -> None:
    out = byol.pretrain(images(), encoder="coat_lite_tiny", out=tmp_path / "run", **SHORT)
    encoder, card = read_encoder(out.folder)
    assert (card.encoder.native_size, card.image_size) == (64, 64)
    state = encoder.state_dict()
    shared = [value.data_ptr() for value in state.values()]
    assert len(set(shared)) < len(shared), "the loaded network shares them again"
    checkpoint = sorted((out.folder / "checkpoints").glob("*.safetensors"))[-1]
    assert checkpoint.stat().st_size > 0


def test_tensors_in_the_same_memory_are_written_under_each_name(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    base = torch.arange(12.0)
    tied = {"one": base, "again": base, "part": base[3:6], "turned": base.view(3, 4).T, "alone": torch.ones(2)}
    save_tensors(tmp_path / "tied.safetensors", tied)
    read = load_file(tmp_path / "tied.safetensors")
    assert set(read) == set(tied)
    for name, value in tied.items():
        assert torch.equal(read[name], value), name


# targets that drop nothing


@pytest.mark.parametrize("name", ["ghostnet_050", "repghostnet_050", "rexnet_100"])
def test_a_target_drops_nothing_while_the_online_network_does(name: str) -> None:
    torch.manual_seed(0)
    method = BYOL(make_encoder(EncoderSpec(name=name)), nn.Identity(), nn.Identity()).train()
    batch = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        once, twice = method.target_encoder(batch), method.target_encoder(batch)
        online = method.encoder(batch), method.encoder(batch)
    assert method.target_encoder.training, "batch norm sees the batch"
    assert torch.equal(once, twice)
    assert not torch.allclose(*online)


class Dropping(nn.Module):
    """Every kind of dropping that PyTorch and torchvision have."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.layers = nn.Sequential(
            nn.Linear(12, 8), nn.Dropout(0.5), nn.AlphaDropout(0.3), StochasticDepth(0.5, "row"), nn.BatchNorm1d(8)
        )
        self.drop_rate = 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(x.flatten(1))
        x = x + self.attention(x[None], x[None], x[None])[0][0]
        return nn.functional.dropout(x, self.drop_rate, self.training)


@pytest.mark.parametrize("method", [BYOL, MoCo])
def test_no_kind_of_dropping_is_left_in_a_target(method: type) -> None:
    torch.manual_seed(0)
    encoder, projector = Dropping(), nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5))
    learner = method(encoder, projector) if method is MoCo else BYOL(encoder, projector, nn.Identity())
    learner.eval().train()
    batch = torch.randn(6, 3, 2, 2)
    state = torch.get_rng_state()
    with torch.no_grad():
        once, twice = (learner.target_projector(learner.target_encoder(batch)) for _ in range(2))
    assert torch.equal(once, twice)
    assert torch.equal(torch.get_rng_state(), state), "and no number is drawn"
    assert (encoder.layers[1].p, encoder.drop_rate, projector[1].p) == (0.5, 0.5, 0.5), "the online network still does"


# sizes


@pytest.mark.parametrize(
    ("name", "size", "native"),
    [
        ("vit_tiny_patch16_224", 96, 96),
        ("vit_tiny_patch16_224", 224, None),
        ("swin_tiny_patch4_window7_224", 96, 96),
        ("mixer_s32_224", 64, 64),
        ("xcit_nano_12_p8_224", 64, None),  # takes any size as it is
        ("crossvit_tiny_240", 96, None),  # can be built for no other
        ("resnet18", 50, None),
    ],
)
def test_a_network_is_built_for_the_size_only_where_it_must_be(name: str, size: int, native: int | None) -> None:
    spec = fitted(EncoderSpec(name=name), size)
    assert spec.native_size == native
    assert (unsupported_reason(spec, size) == "") == (name != "crossvit_tiny_240")


def test_fewer_places_make_the_same_network_otherwise() -> None:
    small, usual = (make_encoder("vit_tiny_patch16_224", native_size=size) for size in (96, None))
    assert small.pos_embed.shape == (1, 1 + 6 * 6, 192)
    assert usual.pos_embed.shape == (1, 1 + 14 * 14, 192)
    others = [{k: v.shape for k, v in net.state_dict().items() if k != "pos_embed"} for net in (small, usual)]
    assert others[0] == others[1]


@pytest.mark.parametrize(
    ("name", "size", "taken"),
    [
        ("resnet18", 48, 48),
        ("hrnet_w18_small", 48, 64),
        ("vit_tiny_patch16_224", 64, 64),
        ("vit_tiny_patch16_224", 50, 64),
        ("eva02_tiny_patch14_224", 64, 70),
        ("crossvit_tiny_240", 64, 240),
    ],
)
def test_the_nearest_size_that_an_encoder_takes(name: str, size: int, taken: int) -> None:
    assert nearest_size(EncoderSpec(name=name), size) == taken


@pytest.mark.parametrize(
    ("spec", "size", "words"),
    [
        (EncoderSpec(name="crossvit_tiny_240"), 64, r"enlarge them to 240 px.*give --image-size 240"),
        (EncoderSpec(name="vit_tiny_patch16_224"), 100, "takes no images of 100 px .*give --image-size 112"),
        (EncoderSpec(name="vit_tiny_patch16_224", native_size=100), 100, "leave out the last 4 px"),
        (EncoderSpec(name="hrnet_w18_small"), 48, "give --image-size 64"),
        (EncoderSpec.of("csatv2", 1), 64, "takes images of 3 channels only, not of 1; give --data.channels 3"),
        (EncoderSpec.of("csatv2", 5), 48, "takes images of 3 channels only, not of 5"),
        (EncoderSpec(name="halonet26t"), 64, "its layers do not fit such images"),
        (EncoderSpec(name="resnet18", native_size=64), 64, "timm cannot build 'resnet18' .* for images of 64 px"),
        (EncoderSpec(name="qwen3_vit_88m_enc"), 64, "instead of one vector per image"),
        (EncoderSpec(name="mobilenetv5_300m_enc"), 64, "instead of one vector per image"),
    ],
)
def test_what_an_encoder_does_not_take_is_said(spec: EncoderSpec, size: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_size(spec, size, "--image-size")


def test_auto_chooses_a_size_that_the_encoder_takes() -> None:
    seen = survey(images(24))
    for name, size, whole in (
        ("hrnet_w18_small", 64, None),
        ("dla46_c", 64, None),
        ("vit_tiny_patch16_224", 64, None),
        ("convnext_atto", 48, 64),
        ("eva02_tiny_patch14_224", 70, None),
    ):
        plan = auto(Facts(survey=seen, settings={"encoder": name}))
        assert (plan.config.image_size, plan.config.encoder.input_size) == (size, whole), name
        said = f"image size {size}: {name} takes no 64 px" in plan.reasons
        assert said == (size == 70), name


def test_a_transformer_is_trained_loaded_and_looked_at_in_its_small_size(tmp_path: Path) -> None:
    out = byol.pretrain(images(), encoder="vit_tiny_patch16_224", image_size=32, out=tmp_path / "run", **SHORT)
    written = json.loads((out.folder / "encoder.json").read_text())
    assert (written["encoder"]["native_size"], written["encoder"]["input_size"]) == (32, 32)
    assert json.loads((out.folder / "config.json").read_text())["config"]["encoder"]["native_size"] == 32
    encoder = load_encoder(out.folder)
    assert encoder.pos_embed.shape[1] == 1 + 4
    opened = open_encoder(str(out.folder))
    with torch.no_grad():
        features = opened.module(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 192)
    assert open_encoder(f"random:{out.folder}").module(torch.randn(1, 3, 32, 32)).shape == (1, 192)
    with pytest.raises(UserError, match="takes no images of 27 px"):
        byol.pretrain(images(), encoder="vit_tiny_patch16_224", method="multicrop", out=tmp_path / "no", **SHORT)


def test_a_recipe_for_small_views_fits_a_transformer_too() -> None:
    given = {"encoder": "vit_tiny_patch16_224", "encoder__width": 1, "encoder__stem": "standard", "image_size": 32}
    facts = Facts(survey=survey(images(600, 32)), settings=given)
    planner = Planner(recipe_named("cifar10-cpu"), facts, {"device": "cpu", "precision": "float32"})
    config = planner.config(planner.plan())
    assert (config.encoder.native_size, config.image_size, config.inference_size()) == (32, 32, 32)


def test_untrained_transformers_of_any_size() -> None:
    assert open_encoder("random:vit_tiny_patch16_224@64").spec.native_size == 64
    assert open_encoder("random:vit_tiny_patch16_224").transform.image_size == 224
    with pytest.raises(UserError, match=r"takes no images of 100 px .*; give another random:vit_tiny_patch16_224@SIZE"):
        open_encoder("random:vit_tiny_patch16_224@100")


# tags


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18.a1_in1k", "names weights, which the name alone does not load; give 'resnet18' for fresh weights"),
        ("resnet18.a1_in2k", "timm has no weights 'resnet18.a1_in2k'.* Did you mean 'a1_in1k'"),
        ("resnet18.", "timm has no weights 'resnet18.'; there are the tags a1_in1k"),
        ("vit_tiny_patch16_224.augreg_in21k", "--weights FILE"),
        ("resnet5.a1_in1k", "There is no encoder 'resnet5"),
    ],
)
def test_a_tag_whose_weights_are_not_loaded_is_refused(name: str, words: str, tmp_path: Path) -> None:
    for act in (
        lambda: make_encoder(name),
        lambda: open_encoder(f"random:{name}"),
        lambda: byol.pretrain(images(), encoder=name, out=tmp_path / "run", **SHORT),
    ):
        with pytest.raises(UserError, match=words):
            act()
    assert not (tmp_path / "run").exists()


def test_a_tag_with_the_hubs_weights_is_asked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetched(name: str, channels: int, native_size: int | None) -> nn.Module:
        asked.append((name, channels, native_size))
        return make_encoder("resnet18")

    monkeypatch.setattr("byol.encoders.start.pretrained_timm", fetched)
    start_encoder(EncoderSpec(name="resnet18.a1_in1k", weights="timm"))
    assert asked == [("resnet18.a1_in1k", 3, None)]
    config = replace(PretrainConfig(), encoder__name="resnet18.a1_in1k", encoder__weights="timm")
    assert (config.trained_encoder().name, config.trained_encoder().weights) == ("resnet18", None)


def test_a_card_with_a_tag_is_still_read(tmp_path: Path) -> None:
    encoder = make_encoder("resnet18", width=0.125)
    save_encoder(tmp_path, encoder, card_of(EncoderSpec(name="resnet18.a1_in1k", width=0.125, input_size=32), 64))
    assert torch.equal(load_encoder(tmp_path).conv1.weight, encoder.conv1.weight)
