"""Files as other programs lay them out: the encoder that is loaded gives the features of the network that was saved."""

import argparse
import dataclasses
import json
import pickle
import pickletools
import sys
import types
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

import golden_names as golden
from byol.cli.main import main
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace, to_json
from byol.encoders.build import feature_count, make_encoder
from byol.encoders.export import export
from byol.encoders.file import EncoderCard, from_weights, read_encoder, save_encoder
from byol.encoders.load import open_encoder
from byol.encoders.start import describe_start, start_encoder, start_words, with_start
from byol.encoders.weights.contents import Contents, read_contents
from byol.encoders.weights.deepmind_pickle import read_deepmind
from byol.encoders.weights.open import forget, open_weights, sha256
from byol.errors import UserError
from golden_networks import normalize_images

State = dict[str, Any]


def shaken(network: nn.Module) -> nn.Module:
    """A network whose batch norm has averages of its own, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(torch.randn(layer.num_features, generator=generator) / 10)
            layer.running_var.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
    return network.eval()


def resnet(small: bool = False, **settings: Any) -> nn.Module:
    """Torchvision's ResNet with a residual block per stage, and with a classifier that counts for nothing."""
    torch.manual_seed(0)
    network = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10, **settings)
    if small:
        network.conv1 = nn.Conv2d(3, 64, 3, 1, 2, bias=False)
        network.maxpool = nn.Identity()
    return shaken(network)


def features(network: nn.Module, size: int = 64, channels: int = 3) -> Tensor:
    """What a network gives without its classifier."""
    images = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(2))
    kept = getattr(network, "fc", None)
    if kept is not None:
        network.fc = nn.Identity()
    with torch.no_grad():
        result = network(images)
    if kept is not None:
        network.fc = kept
    return result


def same(path: Path, network: nn.Module, size: int = 64) -> None:
    """See that a file gives the features of a network."""
    torch.testing.assert_close(features(read_encoder(path)[0], size), features(network, size), rtol=1e-5, atol=1e-5)


def prefixed(prefix: str, state: Mapping[str, Tensor], without: tuple[str, ...] = ()) -> State:
    return {prefix + key: value for key, value in state.items() if not key.startswith(without or "\0")}


def other(state: Mapping[str, Tensor]) -> State:
    """Other weights of the same shapes: what must not be taken."""
    return {key: value + 1 for key, value in state.items()}


HEAD = {"0.weight": torch.zeros(4, 512), "0.bias": torch.zeros(4), "2.weight": torch.zeros(4, 4)}
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def moco_v2(s: State) -> State:
    query = {**prefixed("module.encoder_q.", s, ("fc.",)), **prefixed("module.encoder_q.fc.", HEAD)}
    key = {name.replace("encoder_q", "encoder_k"): value for name, value in other(query).items()}
    memory = {"module.queue": torch.zeros(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {"epoch": 200, "arch": "resnet10", "state_dict": {**query, **key, **memory}, "optimizer": OPTIMIZER}


def moco_v1(s: State) -> State:
    state = {**prefixed("module.encoder_q.", s), **prefixed("module.encoder_k.", other(s))}
    return {"epoch": 3, "arch": "resnet10", "state_dict": state, "optimizer": OPTIMIZER}


def moco_v3(s: State) -> State:
    base, momentum = prefixed("module.base_encoder.", s, ("fc.",)), prefixed("module.momentum_encoder.", other(s))
    heads = {**prefixed("module.base_encoder.fc.", HEAD), **prefixed("module.predictor.", HEAD)}
    return {"epoch": 1, "arch": "resnet10", "state_dict": {**base, **momentum, **heads}, "scaler": {"scale": 1.0}}


def simsiam(s: State) -> State:
    state = {**prefixed("module.encoder.", s, ("fc.",)), **prefixed("module.encoder.fc.", HEAD)}
    return {"epoch": 100, "arch": "resnet10", "state_dict": {**state, **prefixed("module.predictor.", HEAD)}}


def swav(s: State) -> State:
    heads = {"module.prototypes.weight": torch.zeros(5, 4), **prefixed("module.projection_head.", HEAD)}
    return {**prefixed("module.", s, ("fc.",)), **heads}


def deepcluster(s: State) -> State:
    heads = {f"module.prototypes.prototypes{number}.weight": torch.zeros(5, 4) for number in range(3)}
    return {"epoch": 9, "state_dict": {**prefixed("module.", s, ("fc.",)), **heads}, "optimizer": OPTIMIZER}


def dino(s: State) -> State:
    teacher = {**prefixed("module.backbone.", s, ("fc.",)), **prefixed("module.head.", HEAD)}
    arguments = argparse.Namespace(arch="resnet10", patch_size=16)
    return {"student": other(teacher), "teacher": teacher, "epoch": 5, "args": arguments, "dino_loss": {"center": 0}}


def vicreg(s: State) -> State:
    state = {**prefixed("module.backbone.", s, ("fc.",)), **prefixed("module.projector.", HEAD)}
    return {"epoch": 7, "model": state, "optimizer": OPTIMIZER}


def barlow(s: State) -> State:
    state = vicreg(s)["model"] | {"module.bn.running_mean": torch.zeros(4), "module.bn.running_var": torch.ones(4)}
    return {"epoch": 7, "model": state, "optimizer": OPTIMIZER}


def vissl(s: State) -> State:
    model = {"trunk": prefixed("_feature_blocks.", s, ("fc.",)), "heads": prefixed("0.clf.", HEAD)}
    parts = {"base_model": {"model": model, "meta": {}}, "loss": {"center": torch.zeros(3)}, "optimizer": OPTIMIZER}
    return {"phase_idx": 1, "iteration": 2, "type": "consolidated", "classy_state_dict": parts}


def openmmlab(s: State) -> State:
    online = prefixed("backbone.", s, ("fc.",))
    target = prefixed("target_net.module.0.", other(s), ("fc.",))
    meta = {"cfg": "model = dict(backbone=dict(type='ResNet', style='pytorch'))", "mmengine_version": "0.10.7"}
    heads = {**prefixed("neck.", HEAD), **prefixed("head.", HEAD)}
    return {"meta": meta, "state_dict": {**online, **target, **heads}, "optimizer": OPTIMIZER}


def solo_learn(s: State) -> State:
    state = {**prefixed("backbone.", s, ("fc.",)), **prefixed("momentum_backbone.", other(s), ("fc.",))}
    state |= {**prefixed("projector.", HEAD), "classifier.weight": torch.zeros(10, 512)}
    return {"epoch": 11, "pytorch-lightning_version": "2.6.6", "state_dict": state, "optimizer_states": [OPTIMIZER]}


def solo_learn_before(s: State) -> State:
    made = solo_learn(s)
    names = {key: key.replace("backbone.", "encoder.") for key in made["state_dict"]}
    return {**made, "state_dict": {names[key]: value for key, value in made["state_dict"].items()}}


def lightly(s: State) -> State:
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    split = {key: key.partition(".") for key in s if not key.startswith("fc.")}
    numbered = {f"{numbers[first]}.{last}": s[key] for key, (first, _, last) in split.items()}
    state = {**prefixed("backbone.", numbered), **prefixed("backbone_momentum.", other(numbered))}
    state |= {**prefixed("projection_head.layers.", HEAD), **prefixed("prediction_head.layers.", HEAD)}
    return {"epoch": 2, "pytorch-lightning_version": "2.5.0", "state_dict": state, "optimizer_states": [OPTIMIZER]}


def lightly_train_parts(s: State) -> State:
    return OrderedDict(prefixed("wrapped_model._features.", s, ("fc.",)))


def lightly_train(s: State) -> State:
    state = {**prefixed("embedding_model.wrapped_model._features.", s, ("fc.",)), **prefixed("projection_head.", HEAD)}
    about = {
        "version": "0.18.0",
        "models": {"model": resnet()},  # a whole module, as it is
        "normalize_args": {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]},
        "license_info": "AGPL-3.0",
    }
    return {"epoch": 4, "state_dict": state, "lightly_train": about, "pytorch-lightning_version": "2.5.0"}


def byol_pytorch(s: State) -> State:
    state = {**prefixed("net.", s), **prefixed("online_encoder.net.", s), **prefixed("target_encoder.net.", other(s))}
    return {
        **state,
        **prefixed("online_predictor.net.", HEAD),
        "online_encoder.projector.0.weight": torch.zeros(4, 512),
    }


def stable_pretraining(s: State) -> State:
    state = {**prefixed("backbone.student.", s, ("fc.",)), **prefixed("backbone.teacher.", other(s), ("fc.",))}
    return {"epoch": 1, "pytorch-lightning_version": "2.5.0", "state_dict": {**state, **prefixed("projector.", HEAD)}}


def timm_script(s: State) -> State:
    about = {"epoch": 1, "version": 2, "arch": "resnet10", "args": argparse.Namespace(mean=None, std=None)}
    return {**about, "state_dict": other(s), "state_dict_ema": s, "optimizer": OPTIMIZER, "metric": 1.0}


def torchvision_script(s: State) -> State:
    average = {"n_averaged": torch.tensor(5), **prefixed("module.", s)}
    return {"model": other(s), "model_ema": average, "epoch": 1, "args": argparse.Namespace(model="resnet10")}


def unknown(s: State) -> State:
    return {"weights": prefixed("model.trunk.", s, ("fc.",)), "note": "by hand"}


WRITERS: dict[str, tuple[Callable[[State], State], str, tuple[str, ...]]] = {
    "MoCo v1": (moco_v1, "query encoder", ("projection head", "key encoder", "optimizer")),
    "MoCo v2": (moco_v2, "query encoder", ("projection head", "key encoder", "queue", "optimizer")),
    "MoCo v3": (moco_v3, "base encoder", ("projection head", "momentum encoder", "predictor", "gradient scaler")),
    "SimSiam": (simsiam, "encoder", ("projector", "predictor")),
    "SwAV": (swav, "without its heads", ("prototypes", "projection head")),
    "SwAV or DeepClusterV2": (deepcluster, "without its heads", ("prototypes", "optimizer")),
    "DINO": (dino, "teacher", ("student", "projection head", "center of the loss")),
    "VICReg": (vicreg, "backbone", ("expander", "optimizer")),
    "Barlow Twins": (barlow, "backbone", ("projector", "batch norm of the loss", "optimizer")),
    "VISSL": (vissl, "trunk", ("heads", "loss", "optimizer")),
    "OpenMMLab (mmselfsup, mmpretrain)": (openmmlab, "backbone", ("target network", "neck", "head", "optimizer")),
    "solo-learn": (solo_learn, "backbone", ("momentum backbone", "projector", "classifier", "optimizer")),
    "solo-learn, older": (solo_learn_before, "encoder", ("momentum encoder", "projector", "classifier", "optimizer")),
    "lightly": (lightly, "backbone", ("momentum backbone", "projection head", "prediction head", "optimizer")),
    "LightlyTrain": (lightly_train, "wrapped model", ("projection head",)),
    "LightlyTrain, parts": (lightly_train_parts, "wrapped model", ()),
    "byol-pytorch": (
        byol_pytorch,
        "online encoder",
        (
            *("classifier, which byol-pytorch does not train", "the same network again", "target network"),
            *("predictor", "online projector"),
        ),
    ),
    "stable-pretraining": (stable_pretraining, "student", ("teacher", "projector")),
    "timm training script": (
        timm_script,
        "moving average",
        ("classifier", "the network that was averaged", "optimizer"),
    ),
    "torchvision reference script": (
        torchvision_script,
        "moving average",
        ("classifier", "the network that was averaged"),
    ),
    "state dict of one network": (dict, "the network", ("classifier",)),
    "state dict of an unknown program": (unknown, "weights/model.trunk", ()),
}
"""For each layout: a function that lays weights out so, words of the part that is taken, and what is left."""


@pytest.mark.parametrize("layout", WRITERS)
def test_each_layout_gives_the_features_of_its_network(layout: str, tmp_path: Path) -> None:
    write, part, left = WRITERS[layout]
    network = resnet()
    path = tmp_path / "weights"  # the name says nothing
    torch.save(write(network.state_dict()), path)
    opened = open_weights(path)
    assert opened.found.layout == layout.removesuffix(", older").removesuffix(", parts")
    assert part in opened.found.part
    assert opened.left_out == left
    assert (opened.spec.name, opened.spec.width, opened.spec.stem) == ("resnet10", 1.0, "standard")
    same(path, network)


def test_old_files_and_safetensors_and_whole_modules(tmp_path: Path) -> None:
    network = resnet()
    old, new, whole = tmp_path / "a.pth", tmp_path / "a.safetensors", tmp_path / "b.pt"
    torch.save(timm_script(network.state_dict()), old, _use_new_zipfile_serialization=False)
    save_file(network.state_dict(), new)
    torch.save(nn.DataParallel(network), whole)
    for path in (old, new, whole):
        same(path, network)
    assert open_weights(whole).container == "PyTorch file of a whole module"


def test_what_layouts_state_is_used(tmp_path: Path) -> None:
    state = resnet().state_dict()
    torch.save(lightly_train(state), tmp_path / "last.ckpt")
    card = read_encoder(tmp_path / "last.ckpt")[1]
    assert (card.encoder.mean, card.encoder.std) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert card.start is not None
    assert (card.start.name, card.start.license, card.epochs) == ("last.ckpt", "AGPL-3.0", 4)
    assert card.start.sha256 == sha256(tmp_path / "last.ckpt")
    torch.save(dict(state), tmp_path / "plain.pt")
    assert open_weights(tmp_path / "plain.pt").assumed == ("mean and std, those of ImageNet",)


def test_solo_learns_small_stem_has_a_padding_of_two(tmp_path: Path) -> None:
    network = resnet(small=True)
    torch.save(solo_learn(network.state_dict()), tmp_path / "byol.ckpt")
    (tmp_path / "args.json").write_text(json.dumps({"data": {"dataset": "cifar10"}}))
    same(tmp_path / "byol.ckpt", network, 32)
    spec = read_encoder(tmp_path / "byol.ckpt")[1].encoder
    assert (spec.stem, spec.input_size, spec.mean) == ("padded", 32, (0.4914, 0.4822, 0.4465))
    one = make_encoder(replace(spec, stem="small"))
    one.load_state_dict(read_encoder(tmp_path / "byol.ckpt")[0].state_dict())
    assert (features(one.eval(), 32) - features(network, 32)).abs().max() > 1e-3, "a padding of 1 is another network"


# architectures


@pytest.mark.parametrize(
    ("name", "width", "make"),
    [
        ("resnet18", 1.0, lambda: torchvision.models.resnet18()),
        ("resnet50", 0.25, lambda: make_encoder("resnet50", width=0.25)),
        ("resnet34", 0.125, lambda: make_encoder("resnet34", width=0.125)),
        ("resnet18", 2.0, lambda: make_encoder("resnet18", width=2.0)),
        ("wide_resnet50_2", 1.0, lambda: torchvision.models.wide_resnet50_2()),
        ("resnext50_32x4d", 1.0, lambda: torchvision.models.resnext50_32x4d()),
        ("vit_tiny_patch16_224", 1.0, lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0)),
    ],
)
def test_names_and_shapes_tell_the_architecture(
    name: str, width: float, make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    network = shaken(make())
    torch.save(network.state_dict(), tmp_path / "x.pt")
    spec = open_weights(tmp_path / "x.pt").spec
    assert (spec.name, spec.width) == (name, width)
    same(tmp_path / "x.pt", network, 224 if name.startswith("vit") else 64)


def test_swavs_double_width_is_wide_twice(tmp_path: Path) -> None:
    """Its bottlenecks are wide as in Wide ResNets, besides the factor on all channels (src/resnet50.py)."""
    shapes = shaken(make_encoder("wide_resnet50_2", width=0.5)).state_dict()
    torch.save(swav(shapes), tmp_path / "x.pth")
    spec = open_weights(tmp_path / "x.pth").spec
    assert (spec.name, spec.width) == ("wide_resnet50_2", 0.5)


def test_moco_v3s_small_transformer_has_twelve_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch16_224", num_classes=0, num_heads=12).eval()
    torch.save(moco_v3(network.state_dict()) | {"arch": "vit_small"}, tmp_path / "x.pth")
    same(tmp_path / "x.pth", network, 224)
    assert read_encoder(tmp_path / "x.pth")[1].encoder.heads == 12
    with pytest.raises(UserError, match="another number of attention heads than 12"):
        export(tmp_path / "x.pth", "timm")
    with pytest.raises(UserError, match="and 12 attention heads; give the same --encoder"):
        start_encoder(EncoderSpec(name="vit_small_patch16_224", weights=str(tmp_path / "x.pth")))


def test_a_transformer_of_other_image_sizes_keeps_its_positions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=96).eval()
    torch.save(network.state_dict(), tmp_path / "x.pt")
    same(tmp_path / "x.pt", network, 96)
    wider = EncoderSpec(name="vit_tiny_patch16_224", native_size=64, weights=str(tmp_path / "x.pt"))
    built = start_encoder(wider)
    expected = timm.layers.resample_abs_pos_embed(network.pos_embed.detach(), [4, 4])
    torch.testing.assert_close(built.pos_embed.detach(), expected)
    assert any("resampled to 4 x 4 patches" in line for line in start_words(wider))


# what does not fit


def test_missing_and_left_over_weights_are_listed(tmp_path: Path) -> None:
    state = dict(resnet().state_dict())
    del state["layer3.0.bn1.weight"]
    state["layer4.0.extra"] = torch.zeros(3)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UserError) as caught:
        read_encoder(tmp_path / "x.pt")
    assert "1 of its weights are missing (layer3.0.bn1.weight), and 1 are left over (layer4.0.extra)" in str(
        caught.value
    )


def test_two_networks_of_an_unknown_program_are_refused(tmp_path: Path) -> None:
    state = resnet().state_dict()
    torch.save({"a": prefixed("one.", state), "b": prefixed("two.", state)}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"unknown layout and holds 2 networks \(a/one, b/two\)"):
        open_weights(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"hello, this is text", "begins like no file of weights"),
        (pickle.dumps([1, 2]), "a pickle that PyTorch did not write"),
    ],
)
def test_other_files_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match=words):
        open_weights(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "x.pt")
    with pytest.raises(
        UserError, match=r"a TorchScript program\); where the library .* torch.save\(network.state_dict"
    ):
        open_weights(tmp_path / "x.pt")


def test_transformers_and_caffe_strides_of_openmmlab_are_refused(tmp_path: Path) -> None:
    state = resnet().state_dict()
    made = openmmlab(state)
    torch.save({**made, "meta": {**made["meta"], "cfg": "style='caffe'"}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="style='caffe'"):
        open_weights(tmp_path / "x.pth")
    torch.save({**vissl(state), "type": "shard_list"}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="points at other files"):
        open_weights(tmp_path / "x.pth")


# the guard

CALLED: list[str] = []


def note() -> None:
    CALLED.append("called")


class Calls:
    def __reduce__(self) -> Any:
        return note, ()


def test_a_class_that_is_not_known_is_not_imported(tmp_path: Path) -> None:
    module = types.ModuleType("a_module_of_a_test")
    kind = type("Settings", (), {"__module__": module.__name__})
    module.Settings = kind  # type: ignore[attr-defined]
    network = resnet()
    sys.modules[module.__name__] = module
    try:
        thing = kind()
        thing.lr = 0.5
        torch.save({**network.state_dict(), "about": thing, "path": Path("x"), "calls": Calls()}, tmp_path / "x.pt")
    finally:
        del sys.modules[module.__name__]
    CALLED.clear()
    same(tmp_path / "x.pt", network)
    assert module.__name__ not in sys.modules
    assert CALLED == [], "a name in the file is nothing that is called"


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    from byol.encoders.weights.pickles import Unreadable, tensor_of

    values = torch.arange(6.0)
    assert tensor_of(values, 1, (2, 2), (2, 1)).tolist() == [[1, 2], [3, 4]]
    for size, stride, offset in (((2, 3), (3, 1), 1), ((7,), (1,), 0), ((2,), (-1,), 1)):
        with pytest.raises(Unreadable):
            tensor_of(values, offset, size, stride)


# where weights are given


def hub_folder(folder: Path, network: nn.Module) -> Path:
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 96, 96], "license": "mit"}
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": config}))
    return folder


def test_a_folder_from_timms_hub_and_the_hub_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = shaken(torchvision.models.resnet18())
    folder = hub_folder(tmp_path / "hub", network)
    same(folder, network)
    card = read_encoder(folder)[1]
    assert card.start is not None
    assert (card.encoder.mean, card.image_size, card.start.license) == ((0.1, 0.2, 0.3), 96, "mit")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, file, revision: str(folder / file))
    torch.testing.assert_close(features(open_encoder("hf-hub:someone/a-network").module), features(network))
    settings = with_start({"encoder__weights": "hf-hub:someone/a-network"}, 3)
    assert (settings["encoder"], settings["encoder__mean"]) == ("resnet18", (0.1, 0.2, 0.3))


def test_without_a_network_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(repository: str, file: str, revision: str | None) -> str:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(UserError, match=r"cannot be reached \(no route\); check the name and the network, or download"):
        open_encoder("hf-hub:someone/another-network")


def test_a_file_decides_the_encoder_and_the_user_overrides(tmp_path: Path) -> None:
    network = resnet()
    torch.save(moco_v2(network.state_dict()), tmp_path / "x.pth")
    given = {"encoder__weights": str(tmp_path / "x.pth")}
    decided = with_start(given, 3)
    assert (decided["encoder"], decided["encoder__width"], decided["encoder__stem"]) == ("resnet10", 1.0, "standard")
    assert len(with_start(given, 1)["encoder__mean"]) == 1
    assert with_start({**given, "encoder__mean": (0.5,) * 3}, 3)["encoder__mean"] == (0.5,) * 3
    config = replace(PretrainConfig(), **decided)
    torch.testing.assert_close(features(start_encoder(config.encoder).eval()), features(network))
    with pytest.raises(UserError, match="do not fit the encoder 'resnet18'"):
        with_start({**given, "encoder": "resnet18"}, 3)
    about = describe_start(config.encoder)
    assert about is not None
    assert (about.name, about.layout, about.sha256) == ("x.pth", "MoCo v2", sha256(tmp_path / "x.pth"))
    said = start_words(replace(config, **{"encoder__mean": (0.5,), "encoder__std": (0.25,)}).encoder)
    assert said[0].startswith("weights x.pth: MoCo v2, the query encoder")
    assert "left out: projection head, key encoder, queue, optimizer" in said
    assert any("conv1.weight of 3 channels is summed for 1" in line for line in said)


def test_imagenet_and_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    decided = with_start({"encoder__weights": "resnet50.a1_in1k"}, 3)
    assert (decided["encoder"], decided["encoder__weights"]) == ("resnet50.a1_in1k", "timm")
    assert with_start({"encoder__weights": "imagenet", "encoder": "resnet18"}, 3)["encoder__weights"] == "timm"
    for weights, named, words in (
        ("resnet50.a1_in1k", "resnet18", "are those of resnet50, not of resnet18"),
        ("resnet50.a9", None, "timm has no weights 'resnet50.a9'"),
        ("imagenet", "resnet10", "timm has no weights of 'resnet10'"),
        ("nowhere.pth", None, "There are no weights 'nowhere.pth'"),
    ):
        with pytest.raises(UserError, match=words):
            with_start({"encoder__weights": weights, **({"encoder": named} if named else {})}, 3)


def test_a_checkpoint_of_a_run_knows_its_encoder(tmp_path: Path) -> None:
    spec = EncoderSpec(name="resnet10", width=0.25, stem="stride2", mean=(0.3,) * 3, std=(0.2,) * 3)
    network = shaken(make_encoder(spec))
    config = replace(PretrainConfig(), encoder=spec, image_size=32)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"config": to_json(config)}))
    path = tmp_path / "checkpoints" / "step-1.safetensors"
    state = network.state_dict()
    save_file({**prefixed("method.encoder.", state), **prefixed("method.target_encoder.", other(state))}, path)
    same(path, network, 32)
    card = read_encoder(path)[1]
    assert (card.encoder.stem, card.encoder.mean, card.image_size) == ("stride2", (0.3,) * 3, 32)


def test_the_command_says_what_a_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "moco_v2.pth.tar"
    torch.save(moco_v2(resnet().state_dict()), path)
    with pytest.raises(SystemExit) as stop:
        main(["weights", str(path)])
    assert stop.value.code == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["layout"].endswith("MoCo v2 (PyTorch file)")
    assert "left out: " not in lines["left"]
    assert lines["left"].endswith("projection head, key encoder, queue, optimizer")
    assert "--encoder resnet10: 4.91 M parameters, 512 features" in lines["architecture"]
    assert lines["mean"].endswith("0.485 0.456 0.406")
    assert sha256(path) in lines["sha256"]


def test_lightly_itself_writes_the_file(tmp_path: Path) -> None:
    lightly = pytest.importorskip("lightly.models.modules")
    network = resnet()
    learner = nn.Module()
    learner.backbone = nn.Sequential(*list(network.children())[:-1])
    learner.projection_head = lightly.BYOLProjectionHead(512, 16, 8)
    torch.save(learner.state_dict(), tmp_path / "x.pt")
    assert open_weights(tmp_path / "x.pt").found.layout == "lightly"
    same(tmp_path / "x.pt", network)


def test_byol_pytorch_itself_writes_the_file(tmp_path: Path) -> None:
    library = pytest.importorskip("byol_pytorch")
    network = resnet()
    learner = library.BYOL(network, image_size=32, hidden_layer="avgpool", projection_size=8, projection_hidden_size=16)
    shaken(network)  # it passes images through it
    torch.save(learner.state_dict(), tmp_path / "x.pt")
    assert open_weights(tmp_path / "x.pt").found.layout == "byol-pytorch"
    same(tmp_path / "x.pt", network)


# the official code


class OfficialPickler(pickle.Pickler):
    """Writes as dill does: the class of a named tuple, and large arrays, by helpers that are named in the file."""

    def reducer_override(self, thing: Any) -> Any:
        helpers = sys.modules["dill._dill"]
        if isinstance(thing, type) and issubclass(thing, tuple) and hasattr(thing, "_fields"):
            return helpers._create_namedtuple, (thing.__name__, thing._fields, thing.__module__)
        if isinstance(thing, np.ndarray) and thing.ndim == 4:
            begin, arguments, state = thing.__reduce__()
            return helpers._create_array, (begin, arguments, state, None)
        return NotImplemented


def official_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The golden ResNet-50, laid out as the official code's checkpoints; the averages of its batch norm."""
    helpers = types.ModuleType("dill._dill")
    for name in ("_create_namedtuple", "_create_array"):
        exec(f"def {name}(*_): raise AssertionError('a name in the file is nothing that is called')", helpers.__dict__)
    monkeypatch.setitem(sys.modules, "dill", types.ModuleType("dill"))
    monkeypatch.setitem(sys.modules, "dill._dill", helpers)
    arrays = golden.load("network")
    parameters = golden.recipe_arrays(arrays, "resnet50")
    params: dict[str, dict[str, Any]] = {}
    for key, value in parameters.items():
        module, _, name = key.rpartition("/")
        params.setdefault(module, {})[name] = np.asarray(value, dtype=np.float32)
    state: dict[str, dict[str, Any]] = {}
    random = np.random.RandomState(3)
    for module in (module for module, values in params.items() if "scale" in values):
        for statistic in ("mean", "var"):
            average = random.random_sample(params[module]["scale"].shape).astype(np.float32)
            state[f"{module}/~/{statistic}_ema"] = {"average": average, "hidden": average / 2, "counter": np.int32(7)}
    kind = namedtuple("_ByolExperimentState", "online_params target_params online_state target_state opt_state")
    shifted = {module: {name: value + 1 for name, value in values.items()} for module, values in params.items()}
    content = {"experiment_state": kind(params, shifted, state, state, ()), "step": 5, "rng": np.zeros(2, np.uint8)}
    with path.open("wb") as file:
        OfficialPickler(file, protocol=2).dump(content)
    return state


def test_an_official_checkpoint_gives_the_official_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    averages = official_file(tmp_path / "pretrain.pkl", monkeypatch)
    encoder, card = read_encoder(tmp_path / "pretrain.pkl")
    assert (card.encoder.name, card.encoder.padding, card.method) == ("resnet50", "same", "official BYOL")
    arrays = golden.load("network")
    images = normalize_images(golden.images(arrays["resnet50/images"], torch.float32))
    for module, name in (("initial_batchnorm", "bn1"), ("block_group_2/~/block_5/~/batchnorm_2", "layer3.5.bn3")):
        for statistic in ("mean", "var"):
            expected = averages[f"res_net50/~/{module}/~/{statistic}_ema"]["average"].reshape(-1)
            kept = encoder.get_buffer(f"{name}.running_{statistic}")
            np.testing.assert_array_equal(kept.numpy(), expected)
    plain = make_encoder("resnet50")
    plain.load_state_dict(encoder.state_dict())
    with torch.no_grad():  # in training mode, of which there are official features
        ours, other_padding = encoder.train()(images), plain.train()(images)
    expected = arrays["resnet50/train/embedding"]
    golden.assert_close_relative(ours, expected, 2e-3, "features")
    assert (other_padding - ours).abs().max() > 0.1 * ours.abs().max(), "the padding matters"
    with pytest.raises(UserError, match="does not pad as TensorFlow does"):
        export(tmp_path / "pretrain.pkl", "torchvision")


def small_official(folder: Path, spec: EncoderSpec) -> nn.Module:
    """An encoder of ours, an eighth as wide, with averages of its own."""
    torch.manual_seed(0)
    spec = dataclasses.replace(spec, width=0.125, input_size=32)
    encoder = make_encoder(spec).train()
    encoder(torch.randn(4, 3, 32, 32))
    card = EncoderCard(encoder=spec, features=feature_count(encoder), method="byol", epochs=1, seed=0, images=1)
    save_encoder(folder, encoder, card)
    return encoder.eval()


def test_an_encoder_goes_to_the_official_code_and_back(tmp_path: Path) -> None:
    dill = pytest.importorskip("dill")
    encoder = small_official(tmp_path, EncoderSpec(name="resnet50", padding="same"))
    path = export(tmp_path, "official")
    assert path == tmp_path / "encoder-official.pkl"
    state = dill.loads(path.read_bytes())["experiment_state"]  # as the official code reads it
    assert type(state).__name__ == "_ByolExperimentState"
    assert state._fields == ("online_params", "target_params", "online_state", "target_state", "opt_state")
    named = {str(what) for operation, what, _ in pickletools.genops(path.read_bytes()) if operation.name == "GLOBAL"}
    assert not any("numpy._core" in name for name in named), "NumPy before 2 has no such modules"
    assert any("numpy.core.multiarray" in name for name in named)
    weights, averages = state.online_params, state.online_state
    assert len(weights) == 106, "modules of a ResNet-50"
    first = weights["res_net50/~/initial_conv"]["w"]
    assert first.shape == (7, 7, 3, 16)
    assert first[2, 5, 1, 3] == encoder.get_parameter("conv1.weight")[3, 1, 2, 5]
    shortcut = weights["res_net50/~/block_group_2/~/block_0/~/shortcut_conv"]["w"]
    assert shortcut[0, 0, 5, 9] == encoder.get_parameter("layer3.0.downsample.0.weight")[9, 5, 0, 0]
    module = "res_net50/~/block_group_3/~/block_2/~/batchnorm_1"
    assert set(weights[module]) == {"scale", "offset"}
    assert weights[module]["scale"].shape == (1, 1, 1, 64)
    kept = averages[f"{module}/~/var_ema"]
    np.testing.assert_array_equal(kept["average"].ravel(), encoder.get_buffer("layer4.2.bn2.running_var").numpy())
    np.testing.assert_array_equal(kept["hidden"] / (1 - 0.9 ** float(kept["counter"])), kept["average"])
    assert len(averages) == 2 * 53
    again, card = read_encoder(path)
    assert (card.encoder.width, card.encoder.padding, card.method) == (0.125, "same", "official BYOL")
    for name, value in encoder.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (EncoderSpec(name="resnet18", padding="same"), "The official code has no network like resnet18"),
        (EncoderSpec(name="resnet50"), "pads as TensorFlow does"),
        (EncoderSpec(name="resnet50", stem="small", padding="same"), "with the stem small"),
    ],
)
def test_what_the_official_code_cannot_be_is_refused(spec: EncoderSpec, said: str, tmp_path: Path) -> None:
    small_official(tmp_path, spec)
    with pytest.raises(UserError, match=said):
        export(tmp_path, "official")


class ReadOnly:
    """Keeps its values as Haiku's read-only dict of 2020 does."""

    __slots__ = ("_keys", "_storage")

    def __init__(self, values: State) -> None:
        self._storage, self._keys = values, tuple(values)


def test_haikus_read_only_dicts_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("haiku._src.data_structures")
    module.ReadOnly = ReadOnly  # type: ignore[attr-defined]
    for name in ("haiku", "haiku._src"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ReadOnly, "__module__", module.__name__)
    values = np.arange(6, dtype=np.float32).reshape(2, 3, order="F")
    content = {
        "experiment_state": ReadOnly({"online_params": ReadOnly({"a": {"w": values}})}),
        "rng": np.uint32([1, 2]),
    }
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=2))
    read = read_deepmind(tmp_path / "x.pkl")
    assert read["experiment_state"]["online_params"]["a"]["w"].tolist() == values.tolist()
    assert read["rng"].tolist() == [1, 2]


# encoders that neither names nor shapes tell


@pytest.mark.parametrize(
    ("place", "prefix"), [((), ""), (("state_dict",), "backbone."), (("net", "ema"), "module.encoder.")]
)
def test_weights_of_a_named_encoder_are_found_wherever_they_lie(
    tmp_path: Path, place: tuple[str, ...], prefix: str
) -> None:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5).eval()
    tree: dict[str, Any] = {prefix + key: value for key, value in network.state_dict().items()}
    for key in reversed(place):
        tree = {key: tree}
    torch.save(tree, tmp_path / "x.pth")
    opened = open_weights(tmp_path / "x.pth", EncoderSpec(name="tf_efficientnet_lite0"))
    assert opened.spec.mean == (0.5, 0.5, 0.5), "as timm trained this encoder"
    assert opened.assumed == ("mean and std, those of timm's tf_efficientnet_lite0",)
    module = from_weights(opened)[0]
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(
        module.eval()(images), network.forward_head(network.forward_features(images), pre_logits=True)
    )
    with pytest.raises(UserError, match="name another network by --encoder"):
        open_weights(tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no resnet18"):
        open_weights(tmp_path / "x.pth", EncoderSpec(name="resnet18"))


def test_a_half_of_a_named_encoder_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    state = timm.create_model("convnext_atto", num_classes=0).state_dict()
    del state["stages.3.blocks.1.mlp.fc1.bias"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"1 of its weights are missing \(stages.3.blocks.1.mlp.fc1.bias\)"):
        open_weights(tmp_path / "x.pth", EncoderSpec(name="convnext_atto"))


def test_of_two_networks_that_may_be_the_named_one_neither_is_taken(tmp_path: Path) -> None:
    state = timm.create_model("convnext_atto", num_classes=0).state_dict()
    torch.save({f"{side}.{key}": value for side in ("a", "b") for key, value in state.items()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"2 networks that may be a convnext_atto \(a, b\)"):
        open_weights(tmp_path / "x.pth", EncoderSpec(name="convnext_atto"))


def test_a_file_is_read_once_for_a_runs_start_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "x.pt", []

    def reads(path: Path) -> Contents:
        seen.append(path)
        return read_contents(path)

    monkeypatch.setattr("byol.encoders.weights.open.read_contents", reads)
    forget()
    torch.save(resnet().state_dict(), path)
    spec = open_weights(path).spec
    start_encoder(dataclasses.replace(spec, weights=str(path)))
    start_words(dataclasses.replace(spec, weights=str(path)))
    assert len(seen) == 1
    torch.save({**resnet().state_dict(), "layer9.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="layer9"):
        open_weights(path)
    assert len(seen) == 2
    forget()
    torch.save(resnet().state_dict(), path)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    assert open_weights(path).found.stated.license is None
    assert len(seen) == 3
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18", "license": "mit"}))
    assert open_weights(path).found.stated.license == "mit", "what lies beside the file has changed"
