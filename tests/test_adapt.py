"""How an encoder that starts from weights is trained: its own rate, frozen at first, batch norm, parts of it."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import byol
from building import CPU, build, make_loader
from byol.config.adapt import AdaptConfig
from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.sources.open import TensorSource
from byol.encoders.build import make_encoder
from byol.encoders.layers import layer_rates, train_only
from byol.encoders.modes import evaluating, hold_batch_norm
from byol.encoders.start import start_size
from byol.errors import UserError
from byol.methods.base import Progress, TrainingSet
from byol.optim.lars import parameter_groups
from byol.optim.schedules import unfrozen
from byol.pretraining.health import represent_with
from byol.pretraining.state import build_state
from byol.pretraining.train import TrainStep, train
from byol.runtime.metrics import read_metrics
from byol.runtime.seeds import generator_of
from conftest import TINY

CONFIG = replace(
    PretrainConfig(),
    image_size=16,
    batch_size=8,
    epochs=2,
    encoder="resnet10",
    encoder__width=0.125,
    method__hidden=16,
    method__output=8,
    optim__name="sgd",
    optim__momentum=0.0,
    optim__weight_decay=0.0,
    optim__warmup_epochs=0,
)


def images(count: int = 32) -> TensorSource:
    return TensorSource(torch.randint(0, 256, (count, 3, 20, 20), dtype=torch.uint8, generator=generator_of(0)))


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (3, 0.0), (4, 0.25), (5, 0.5), (7, 1.0), (8, 1.0), (100, 1.0)])
def test_a_rate_that_is_frozen_for_four_steps_climbs_over_four_more(step: int, share: float) -> None:
    assert unfrozen(step, 4) == share
    assert unfrozen(step, 0) == 1.0


def test_the_rate_decays_from_the_last_block_to_the_first() -> None:
    rates = layer_rates(timm.create_model("resnet18", num_classes=0), 0.5)
    assert rates["layer4.1.conv2.weight"] == 1
    assert rates["layer4.0.downsample.0.weight"] == 0.5
    assert rates["layer1.0.conv1.weight"] == 0.5**7
    assert rates["conv1.weight"] == rates["bn1.bias"] == 0.5**8
    transformer = layer_rates(timm.create_model("vit_tiny_patch16_224", num_classes=0), 0.5)
    assert transformer["blocks.11.mlp.fc2.weight"] == transformer["norm.weight"] == 1
    assert transformer["pos_embed"] == transformer["patch_embed.proj.bias"] == 0.5**12


@pytest.mark.parametrize(
    ("name", "trained", "beginnings"),
    [
        ("resnet18", "last", {"layer4"}),
        ("vit_tiny_patch16_224", "last", {"blocks.9", "blocks.10", "blocks.11", "norm"}),
        ("convnext_atto", "last", {"stages.3", "head.norm"}),
    ],
)
def test_the_last_quarter_alone_is_trained(name: str, trained: Any, beginnings: set[str]) -> None:
    encoder = timm.create_model(name, num_classes=0)
    train_only(encoder, trained)
    moving = {key for key, weight in encoder.named_parameters() if weight.requires_grad}
    begin = tuple(f"{beginning}." for beginning in beginnings)
    assert moving == {key for key, _ in encoder.named_parameters() if key.startswith(begin)}


def test_scales_and_offsets_alone_are_trained() -> None:
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    train_only(encoder, "norm")
    moving = {key for key, weight in encoder.named_parameters() if weight.requires_grad}
    assert len(moving) == 2 * (2 * 12 + 1), "two of each block and the last one, a scale and an offset each"
    assert all("norm" in key for key in moving)
    with pytest.raises(UserError, match="has no normalization layers"):
        train_only(nn.Sequential(nn.Linear(2, 2)), "norm")


def test_groups_say_which_child_they_are_of_and_the_longest_name_counts() -> None:
    module = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), "b": nn.Linear(5, 6, bias=False)})
    groups = parameter_groups(module, 0.1, {"a": 1.0, "a.1": 0.5, "a.1.bias": 0.25})
    found = {tuple(g["params"][0].shape): (g["part"], g["rate"], g["weight_decay"]) for g in groups}
    assert found == {
        (6, 5): ("", 1.0, 0.1),
        (3, 2): ("a", 1.0, 0.1),
        (3,): ("a", 1.0, 0.0),
        (4, 3): ("a", 0.5, 0.1),
        (4,): ("a", 0.25, 0.0),
    }


@pytest.mark.parametrize("method", ["byol", "moco", "simclr"])
@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_batch_norm_of_all_encoders_keeps_its_averages_and_heads_learn_theirs(batch_norm: str, method: str) -> None:
    config = replace(CONFIG, method=method, adapt__batch_norm=batch_norm)
    if method == "moco":
        config = replace(config, method__queue=16, batch_size=16)  # its batch norm is shuffled in parts
    state = build(config)
    step, loader = TrainStep(state, config), make_loader(images(), config)
    before = copies(state.method)
    look = represent_with(state.method.encoder, state.method.projector)
    for batch in loader.batches(0, 2):
        step(batch, 0.1, state.method.scheduled(Progress(0, 8)))
        look(torch.randn(4, 3, 16, 16))  # must leave every layer in the mode that it was in
    after = copies(state.method)
    means = [name for name in before if name.endswith("running_mean")]
    encoders = [name for name in means if name.split(".")[0] in ("encoder", "target_encoder")]
    assert len(encoders) == (13 if method == "simclr" else 26) - (1 if method == "simclr" else 2)
    for name in encoders:
        assert torch.equal(before[name], after[name]) == (batch_norm == "eval"), name
    heads = [name for name in means if name not in encoders]
    assert all(not torch.equal(before[name], after[name]) for name in heads)
    scales = [n for n in before if n.startswith("encoder.") and n.endswith("bn1.weight")]
    assert all(not torch.equal(before[name], after[name]) for name in scales), "scales are still learned"


def test_a_look_restores_every_layers_mode() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.BatchNorm1d(2)).train()
    hold_batch_norm(network[0])
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network] == [False, True, True]
    assert network.training


def test_the_encoder_stays_while_it_is_frozen_and_then_moves_at_its_own_rate() -> None:
    config = replace(CONFIG, adapt__lr=0.5, adapt__frozen=0.25)  # 8 updates, frozen for 2 of them
    state = build_state(replace(config), TrainingSet(32), CPU)
    plain = build_state(replace(config), TrainingSet(32), CPU)
    loader, seen = make_loader(images(), config), []
    before = copies(state.method.encoder)

    def watch(loss: Tensor, norm: Tensor, numbers: Any) -> bool:
        networks = copies(state.method.encoder), copies(state.method.projector)
        seen.append((numbers["lr"], numbers["encoder_lr"], *networks))
        return len(seen) < 3

    train(state, loader.batches(0, 8), config, 32, watch)
    parameters = [name for name, _ in state.method.encoder.named_parameters()]
    for lr, encoder_lr, encoder, _ in seen[:2]:
        assert lr > 0
        assert encoder_lr == 0
        assert all(torch.equal(encoder[name], before[name]) for name in parameters)
    assert not torch.equal(seen[0][3]["0.weight"], seen[1][3]["0.weight"]), "the projector learns meanwhile"
    lr, encoder_lr = seen[2][:2]
    assert encoder_lr == pytest.approx(lr * 0.5 * 0.5), "half the heads', and half of that on the first of 2"

    # by hand: the third update of a copy, whose optimizer's step is plain gradient descent
    steps = TrainStep(plain, config)
    batches = list(loader.batches(0, 3))
    for number in range(2):
        steps(batches[number], seen[number][0], plain.method.scheduled(Progress(number, 8)), 0.0)
    steps.forward_backward(*batches[2][0].augmented().tensors())
    for name, weight in plain.method.encoder.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(seen[2][2][name], weight.detach() - encoder_lr * weight.grad, msg=name)


def test_weights_that_are_not_trained_stay() -> None:
    config = replace(CONFIG, adapt__trains="last")
    state = build(config)
    before = copies(state.method.encoder)
    for batch in make_loader(images(), config).batches(0, 2):
        TrainStep(state, config)(batch, 0.1, state.method.scheduled(Progress(0, 8)))
    after = copies(state.method.encoder)
    for name, _ in state.method.encoder.named_parameters():
        assert torch.equal(before[name], after[name]) == (not name.startswith("layer4.")), name


@pytest.mark.parametrize(("setting", "value"), [("batch_norm", "eval"), ("trains", "last"), ("trains", "norm")])
def test_fresh_weights_are_not_held(setting: str, value: str, class_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is for an encoder that starts from weights; give --weights"):
        byol.pretrain(class_folder, out=tmp_path / "run", quiet=True, **TINY, **{f"adapt__{setting}": value})


@pytest.mark.parametrize(
    "wrong", [{"lr": -1}, {"layer_decay": 0}, {"layer_decay": 1.5}, {"frozen": 0.6}, {"frozen": -0.1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        AdaptConfig(**wrong)


def test_a_run_from_weights_resumes_to_the_same_end(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {**TINY, "quiet": True, "batch_size": 16, "keep": "last"}
    del settings["epochs"]
    byol.pretrain(class_folder, out=tmp_path / "start", epochs=0.2, **settings)
    adapted = {
        "encoder__weights": str(tmp_path / "start"),
        "adapt__lr": 0.3,
        "adapt__layer_decay": 0.8,
        "adapt__frozen": 0.25,
        "adapt__batch_norm": "eval",
        "epochs": 1.2,
    }
    byol.pretrain(class_folder, out=tmp_path / "whole", **settings, **adapted)
    once = TrainStep.__call__

    def dies(step: TrainStep, *arguments: Any) -> Any:
        if step.state.step == 5:
            raise KeyboardInterrupt
        return once(step, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(TrainStep, "__call__", dies)
        with pytest.raises(KeyboardInterrupt):
            byol.pretrain(class_folder, out=tmp_path / "cut", logging__checkpoint_minutes=1e-9, **settings, **adapted)
    byol.resume(tmp_path / "cut", quiet=True)
    assert (tmp_path / "cut/encoder.safetensors").read_bytes() == (tmp_path / "whole/encoder.safetensors").read_bytes()
    rates = [line for line in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "encoder_lr" in line]
    assert rates


def test_an_encoder_that_a_method_builds_fresh_learns_its_averages() -> None:
    config = replace(CONFIG, method="cmc", image_size=32, adapt__batch_norm="eval")
    step = TrainStep(build(config), config)
    networks = dict(step.state.method.named_children())
    assert not networks["encoder"].bn1.training
    assert networks["color_encoder"].bn1.training


def test_heads_are_clipped_by_their_own_gradient_while_the_encoder_has_its_own_rate() -> None:
    config = replace(CONFIG, adapt__lr=0.5, optim__clip=1e-3)
    state = build(config)
    step = TrainStep(state, config)
    ((batch,),) = make_loader(images(), config).batches(0, 1)
    step.forward_backward(*batch.augmented().tensors())
    before = {name: p.detach().clone() for name, p in state.method.named_parameters()}
    step.optimizer_step(1.0, 0.5, 1.0)
    moved = {name: p.detach() - before[name] for name, p in state.method.named_parameters() if p.requires_grad}
    heads = torch.cat([value.flatten() for name, value in moved.items() if not name.startswith("encoder.")])
    encoder = torch.cat([value.flatten() for name, value in moved.items() if name.startswith("encoder.")])
    assert heads.norm().item() == pytest.approx(1e-3, rel=0.01)
    assert encoder.norm().item() == pytest.approx(0.5e-3, rel=0.01)


def test_the_size_that_weights_were_trained_with_is_told_by_their_stem(tmp_path: Path) -> None:
    spec = EncoderSpec(name="resnet18", stem="small")
    torch.save(make_encoder(spec).state_dict(), tmp_path / "small.pt")
    assert start_size(EncoderSpec(name="resnet18", stem="small", weights=str(tmp_path / "small.pt"))) == 32
    torch.save(make_encoder(EncoderSpec(name="resnet18")).state_dict(), tmp_path / "large.pt")
    assert start_size(EncoderSpec(name="resnet18", weights=str(tmp_path / "large.pt"))) == 224
