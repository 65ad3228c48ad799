"""Encoders and heads: sizes against the paper, stems, channels, initial weights, and the file that others load."""

import json
import math
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from byol.config.encoder import EncoderSpec
from byol.config.methods import BYOLConfig
from byol.encoders.build import make_encoder, parameter_count
from byol.encoders.file import EncoderCard, load_encoder, read_encoder, save_encoder
from byol.encoders.init import initialize
from byol.encoders.start import start_encoder
from byol.errors import UserError
from byol.methods.base import Ingredients, TrainingSet
from byol.methods.byol import BYOL
from byol.methods.heads import MLP


@pytest.mark.parametrize(
    ("name", "width", "millions", "features"),
    [
        # arXiv:2006.07733, Table 1 and Table 9
        ("resnet50", 1, 24, 2048),
        ("resnet50", 2, 94, 4096),
        ("resnet50", 4, 375, 8192),
        ("resnet200", 2, 250, 4096),
    ],
)
def test_parameter_counts_of_the_paper(name: str, width: float, millions: float, features: int) -> None:
    with torch.device("meta"):
        encoder = make_encoder(name, width=width)
    assert round(parameter_count(encoder) / 1e6) == millions or parameter_count(encoder) / 1e6 == pytest.approx(
        millions, abs=0.51
    )
    assert encoder.num_features == features


def test_width_one_is_plain_timm() -> None:
    with torch.device("meta"):
        ours, theirs = make_encoder("resnet50"), timm.create_model("resnet50", num_classes=0)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_width_multiplies_every_channel_of_every_convolution(name: str) -> None:
    with torch.device("meta"):
        plain, wide = make_encoder(name), make_encoder(name, width=2)
    compared = 0
    for key, module in plain.named_modules():
        if isinstance(module, nn.Conv2d):
            other = wide.get_submodule(key)
            assert other.out_channels == 2 * module.out_channels, key
            assert other.in_channels == (3 if key == "conv1" else 2 * module.in_channels), key
            assert (other.stride, other.padding) == (module.stride, module.padding), key
            compared += 1
    assert compared == sum(isinstance(m, nn.Conv2d) for m in wide.modules()), "the same layers, wider"


@pytest.mark.parametrize(
    ("stem", "kernel", "stride", "side_at_64"),
    [("standard", 7, 2, 2), ("stride2", 3, 2, 4), ("small", 3, 1, 8)],
)
def test_stems(stem: str, kernel: int, stride: int, side_at_64: int) -> None:
    encoder = make_encoder("resnet18", width=0.125, stem=stem)  # type: ignore[arg-type]
    assert (encoder.conv1.kernel_size, encoder.conv1.stride) == ((kernel, kernel), (stride, stride))
    assert isinstance(encoder.maxpool, nn.MaxPool2d) == (stem == "standard")
    maps = encoder.forward_features(torch.zeros(1, 3, 64, 64))
    assert maps.shape == (1, 64, side_at_64, side_at_64)


@pytest.mark.parametrize("stem", ["standard", "stride2", "small"])
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_any_number_of_input_channels(stem: str, channels: int) -> None:
    encoder = make_encoder("resnet18", width=0.125, stem=stem, channels=channels).eval()  # type: ignore[arg-type]
    image = torch.randn(2, channels, 32, 32)
    output = encoder(image)
    for channel in range(channels):  # every one is looked at
        changed = image.clone()
        changed[:, channel] += 1
        assert not torch.allclose(encoder(changed), output, atol=1e-6)


def test_features_are_the_average_over_places() -> None:
    encoder = make_encoder("resnet18", width=0.125).eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(encoder(images), encoder.forward_features(images).mean((2, 3)))


def test_official_weights_come_from_a_cut_normal() -> None:
    torch.manual_seed(0)
    encoder = make_encoder("resnet18", width=0.5, init="official")
    seen = 0
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            sigma = 1 / math.sqrt(module.in_channels * module.kernel_size[0] ** 2)
            weight = module.weight.detach() / sigma
            n = weight.numel()
            assert weight.abs().max() <= 2 + 1e-6
            # a standard normal cut at two has a standard deviation of 0.8796
            assert float(weight.std()) == pytest.approx(0.8796, abs=4 * 0.88 / math.sqrt(2 * n))
            assert abs(weight.mean()) < 4 * 0.88 / math.sqrt(n)
            seen += n
    assert seen > 1e6
    for name, value in encoder.state_dict().items():
        if name.endswith("running_mean") or (".bn" in name and name.endswith("bias")):
            assert not value.any()
        if name.endswith("running_var") or (".bn" in name and name.endswith("weight")):
            assert (value == 1).all()


def test_official_heads_have_no_bias_at_the_start() -> None:
    head = MLP(200, 300, 50)
    nn.init.ones_(head[0].bias)
    initialize(head)
    assert not head[0].bias.any()
    assert float(head[0].weight.detach().std()) == pytest.approx(0.8796 / math.sqrt(200), rel=0.02)
    assert head[3].weight.abs().max() <= 2 / math.sqrt(300)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("init", ["timm", "official"])
def test_residual_blocks_may_start_as_the_identity(name: str, init: str) -> None:
    last = "bn2" if name == "resnet18" else "bn3"
    for zero in (False, True):
        encoder = make_encoder(name, width=0.125, init=init, zero_init_last=zero)  # type: ignore[arg-type]
        scales = [value for key, value in encoder.state_dict().items() if key.endswith(f"{last}.weight")]
        scales = [value for value in scales if value is not encoder.bn1.weight]
        assert len(scales) == (8 if name == "resnet18" else 16)
        assert all((value == (0 if zero else 1)).all() for value in scales)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depth_counts_linear_layers(depth: int) -> None:
    head = MLP(5, 7, 3, depth)
    kinds = [type(layer) for layer in head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * (depth - 1) + [nn.Linear]
    linear = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == {
        1: [(5, 3)],
        2: [(5, 7), (7, 3)],
        3: [(5, 7), (7, 7), (7, 3)],
    }[depth]
    assert [layer.bias is not None for layer in linear] == [True] * (depth - 1) + [False]
    for layer in head:
        if isinstance(layer, nn.BatchNorm1d):
            assert (layer.momentum, layer.eps) == (0.1, 1e-5)


def test_heads_of_the_paper_hold_as_many_values() -> None:
    projector, predictor = MLP(2048, 4096, 256), MLP(256, 4096, 256)
    # weights, one bias and two batch-norm vectors of the hidden layer, no bias at the end
    assert parameter_count(projector) == 2048 * 4096 + 3 * 4096 + 4096 * 256
    assert parameter_count(predictor) == 256 * 4096 + 3 * 4096 + 4096 * 256


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "resnet5"}, "There is no encoder 'resnet5'. Did you mean 'resnet"),
        ({"name": "qqqqqqqq"}, "There is no encoder 'qqqqqqqq'. Any name"),
        ({"name": "vit_tiny_patch16_224", "width": 2}, "no ResNet, so width 2"),
        ({"name": "vit_tiny_patch16_224", "stem": "small"}, "no ResNet, so the stem 'small'"),
        ({"name": "resnet18d", "stem": "small"}, "plain ResNets only"),
        ({"name": "resnet18d", "width": 0.5}, "plain ResNets only"),
    ],
)
def test_what_cannot_be_built_is_said(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_encoder(arguments["name"], **{key: value for key, value in arguments.items() if key != "name"})


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_efficientnet", "convnext_atto", "resnet18"])
def test_other_families_say_how_many_features_they_return(name: str) -> None:
    """timm's num_features of a MobileNet is the width before its last layer, not that of what comes out."""
    encoder = make_encoder(name, channels=2).eval()
    assert encoder(torch.randn(1, 2, 64, 64)).shape == (1, encoder.num_features)


def test_a_mobilenet_widens_its_pooled_features() -> None:
    assert timm.create_model("mobilenetv3_small_050", num_classes=0).num_features == 288
    assert make_encoder("mobilenetv3_small_050").num_features == 1024


def card(network: nn.Module, **changes: object) -> EncoderCard:
    spec = EncoderSpec(**{"name": "resnet18", "input_size": 32, **changes})  # type: ignore[arg-type]
    return EncoderCard(
        encoder=spec,
        features=network.num_features,  # type: ignore[arg-type]
        method="byol",
        epochs=1.0,
        seed=0,
        images=10,
    )


@torch.no_grad()
def shaken(encoder: nn.Module) -> nn.Module:
    """As after training: batch-norm statistics and scales that are not those of a new network."""
    for value in encoder.state_dict().values():
        if value.is_floating_point() and value.ndim == 1:
            value += 0.5 * torch.rand_like(value)
    return encoder.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_file_loads_strictly_into_timm_and_torchvision(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = shaken(make_encoder(name)).to(memory_format=torch.channels_last)
    path = save_encoder(tmp_path, encoder, card(encoder, name=name))
    images = torch.randn(2, 3, 64, 64)
    weights = load_file(path)

    in_timm = timm.create_model(name, num_classes=0)
    in_timm.load_state_dict(weights, strict=True)
    in_torchvision = getattr(torchvision.models, name)()
    in_torchvision.fc = nn.Identity()
    in_torchvision.load_state_dict(weights, strict=True)
    ours, read = read_encoder(tmp_path)

    with torch.no_grad():
        expected = encoder(images)
        assert expected.std() > 0.01
        for other in (in_timm.eval(), in_torchvision.eval(), ours):
            torch.testing.assert_close(other(images), expected, rtol=1e-3, atol=1e-3)
    assert read.encoder.name == name
    assert not ours.training


@pytest.mark.parametrize("stem", ["stride2", "small"])
def test_file_of_a_narrow_gray_network_comes_back(stem: str, tmp_path: Path) -> None:
    encoder = shaken(make_encoder("resnet18", width=0.25, stem=stem, channels=1))  # type: ignore[arg-type]
    written = card(encoder, width=0.25, stem=stem, mean=(0.5,), std=(0.25,))
    path = save_encoder(tmp_path, encoder, written)
    for where in (tmp_path, path, str(path)):
        again, read = read_encoder(where)
        assert read == written
        images = torch.randn(2, 1, 32, 32)
        torch.testing.assert_close(again(images), encoder(images))


def test_files_that_are_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no"):
        load_encoder(tmp_path)
    encoder = make_encoder("resnet18", width=0.125)
    path = save_encoder(tmp_path, encoder, card(encoder, width=0.125))
    content = json.loads((tmp_path / "encoder.json").read_text())
    wider = {**content, "encoder": {**content["encoder"], "width": 0.25}}
    (tmp_path / "encoder.json").write_text(json.dumps(wider))
    with pytest.raises(UserError, match="does not fit its card"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(UserError, match="does not describe an encoder"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps(content))
    load_encoder(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"encoder\.safetensors cannot be read .* may be cut short"):
        load_encoder(path)
    (tmp_path / "encoder.json").unlink()
    with pytest.raises(UserError, match=r"There is no .*encoder\.json"):
        load_encoder(tmp_path)
    with pytest.raises(UserError, match="safetensors that are not whole"):
        load_encoder(path)


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
def test_every_width_runs(name: str, width: float) -> None:
    """A quarter of a bottleneck's first stage is as wide as timm's stem of 64, where timm makes no shortcut."""
    encoder = make_encoder(name, width=width).eval()
    assert encoder(torch.zeros(1, 3, 32, 32)).shape == (1, encoder.num_features)


def test_the_initial_scale_multiplies_weights_and_nothing_else() -> None:
    def drawn(factor: float) -> dict[str, torch.Tensor]:
        spec = EncoderSpec(name="resnet10", width=0.25, init_scale=factor)
        torch.manual_seed(0)
        return BYOL.build(BYOLConfig(hidden=16, output=8), Ingredients(spec, TrainingSet(8), (32, 32))).state_dict()

    one, two = drawn(1.0), drawn(2.0)
    doubled = {name for name in one if not torch.equal(one[name], two[name])}
    assert doubled == {name for name in one if one[name].ndim > 1}
    assert all(torch.equal(2 * one[name], two[name]) for name in doubled)


def flat(card: EncoderCard) -> dict[str, object]:
    """A card as the first months wrote it: the encoder's settings beside the others."""
    spec = card.encoder
    return {
        **{"encoder": spec.name, "width": spec.width, "stem": spec.stem, "in_chans": spec.channels},
        **{"image_size": spec.input_size, "mean": list(spec.mean), "std": list(spec.std), "features": card.features},
        **{"method": card.method, "epochs": card.epochs, "seed": card.seed, "images": card.images},
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_older_cards_still_load(channels: int, tmp_path: Path) -> None:
    values = {"width": 0.25, "stem": "small", "mean": (0.5,) * channels, "std": (0.25,) * channels}
    encoder = shaken(make_encoder("resnet18", channels=channels, width=0.25, stem="small"))
    written = card(encoder, **values)
    save_encoder(tmp_path, encoder, written)
    (tmp_path / "encoder.json").write_text(json.dumps(flat(written)))
    again, read = read_encoder(tmp_path)
    assert read == written
    assert (read.image_size, read.encoder.channels) == (32, channels)
    images = torch.randn(2, channels, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(images), encoder(images), rtol=0, atol=0)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The folder of a trained narrow ResNet-10."""
    torch.manual_seed(5)
    encoder = shaken(make_encoder("resnet10", width=0.25, stem="small"))
    return save_encoder(tmp_path, encoder, card(encoder, name="resnet10", width=0.25, stem="small")).parent


def test_weights_to_start_from_are_those_of_the_file(exported: Path) -> None:
    trained = load_file(exported / "encoder.safetensors")
    for place in (exported, exported / "encoder.safetensors"):
        spec = EncoderSpec(name="resnet10", width=0.25, stem="small", weights=str(place))
        state = start_encoder(spec).state_dict()
        assert state.keys() == trained.keys()
        assert all(torch.equal(value, trained[name]) for name, value in state.items())
        fresh = start_encoder(spec.untrained())
        assert not torch.equal(fresh.conv1.weight, trained["conv1.weight"])


@pytest.mark.parametrize("other", [{"name": "resnet18"}, {"width": 0.5}, {"stem": "stride2"}])
def test_weights_of_another_network_are_refused(other: dict, exported: Path) -> None:
    settings = {"name": "resnet10", "width": 0.25, "stem": "small", **other}
    with pytest.raises(UserError) as caught:
        start_encoder(EncoderSpec(**settings, weights=str(exported)))
    assert str(caught.value) == (
        f"{exported} holds a resnet10 of width 0.25 with the stem small; give the same --encoder, --encoder.width and "
        "--encoder.stem."
    )


def test_weights_for_other_channels_are_adapted_as_timm_does(exported: Path) -> None:
    trained = load_file(exported / "encoder.safetensors")["conv1.weight"]
    gray = start_encoder(EncoderSpec.of("resnet10", 1, width=0.25, stem="small", weights=str(exported)))
    torch.testing.assert_close(gray.conv1.weight, trained.sum(1, keepdim=True))
    five = start_encoder(EncoderSpec.of("resnet10", 5, width=0.25, stem="small", weights=str(exported)))
    torch.testing.assert_close(five.conv1.weight, trained[:, [0, 1, 2, 0, 1]] * 3 / 5)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no"):
        start_encoder(EncoderSpec(name="resnet10", weights=str(tmp_path / "nowhere")))
