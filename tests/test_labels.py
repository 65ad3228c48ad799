"""Supervised training and the untrained encoder: labels that belong to their images, and words for both."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

import byol
from byol.cli.main import main
from byol.config.methods import SupervisedConfig
from byol.config.run import PretrainConfig
from byol.config.values import from_json, replace
from byol.data.loader import Loader, Storage
from byol.data.memory import decode_all
from byol.data.sources.open import TensorSource, open_source
from byol.encoders.file import read_card
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.methods.supervised import Supervised
from byol.pretraining.setup import pipeline_of
from byol.pretraining.state import build_state
from byol.runtime.distributed import Member
from byol.runtime.metrics import read_metrics
from conftest import TINY, flags, without_heads
from small_networks import Dense, views

CPU = torch.device("cpu")
CONFIG = PretrainConfig(image_size=12, batch_size=8, epochs=3, seed=5, method=SupervisedConfig())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("held", ["whole", "list", "not held"])
def test_labels_are_those_of_the_images(held: str, world: int, accumulate: int) -> None:
    images = torch.arange(30, dtype=torch.uint8).view(-1, 1, 1, 1).expand(30, 3, 16, 20).contiguous()
    source = TensorSource(images, [2 * number for number in range(30)])
    config = replace(CONFIG, optim__accumulate=accumulate)
    kept = {"whole": images, "list": list(images), "not held": None}[held]
    for rank in range(world):
        loader = Loader(Storage(source, 2, kept), config, pipeline_of(config), CPU, Member(rank, world))
        for batches in loader.batches(0, 5):
            for batch in batches:
                assert batch.labels is not None
                assert batch.labels.dtype == torch.int64
                assert (2 * batch.images[0][:, 0, 0, 0].long()).tolist() == batch.labels.tolist()


def test_methods_without_labels_get_none() -> None:
    images = torch.zeros(30, 3, 16, 20, dtype=torch.uint8)
    config = replace(CONFIG, method="byol")
    loader = Loader(Storage(TensorSource(images, [0, 1] * 15), 2, images), config, pipeline_of(config), CPU)
    assert next(loader.batches(0, 1))[0].labels is None


def test_the_label_of_a_replaced_image_is_that_of_its_replacement(tmp_path: Path) -> None:
    for name, brightness in (("dark", 0), ("light", 200)):
        (tmp_path / name).mkdir()
        for number in range(6):
            Image.new("RGB", (20, 20), (brightness,) * 3).save(tmp_path / name / f"{number}.png")
    for broken in ("dark/5", "light/2", "light/5"):
        (tmp_path / f"{broken}.png").write_bytes(b"no image")
    source = open_source(tmp_path, 3)
    config = replace(CONFIG, batch_size=12)
    result = decode_all(source, 2, 24)
    for storage, images in ((Storage(source, 2), 12), (Storage(result.source, 2, result.images), 9)):
        loader = Loader(storage, replace(config, batch_size=images), pipeline_of(config), CPU)
        (batch,) = next(loader.batches(0, 1))
        assert batch.labels is not None
        assert (batch.images[0][:, 0, 0, 0] > 100).long().tolist() == batch.labels.tolist()
        assert 0 < batch.labels.sum() < len(batch.labels)


def test_loss_adds_the_cross_entropies_of_both_views() -> None:
    torch.manual_seed(0)
    method = Supervised(Dense(), 3).double()
    v1, v2 = views()
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    total = 0.0
    for v in (v1, v2):
        scores = method.classifier(method.encoder(v)).detach().exp()
        total -= sum(math.log(float(row[label] / row.sum())) for row, label in zip(scores, labels, strict=True)) / 6
    assert method(v1, v2, labels).item() == pytest.approx(total, rel=1e-10)
    with torch.no_grad():
        method.classifier.weight.zero_()
        method.classifier.bias.zero_()
    assert method(v1, v2, labels).item() == pytest.approx(2 * math.log(3))


def test_supervised_learns_its_labels(class_folder: Path, tmp_path: Path) -> None:
    settings = {**without_heads(TINY), "epochs": 6, "optim__lr": 0.03, "logging__norms": True, "method": "supervised"}
    settings |= {"augment__view1__gray": 0.0, "augment__view2__gray": 0.0}  # what tells the classes apart is color
    outcome = byol.pretrain(class_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings)
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.5 < losses[0], "chance is 2 ln 2"
    assert all(line["norm/representation"] == line["norm/projection"] > 0 for line in lines if "loss" in line)
    assert outcome.verdict is not None
    assert outcome.verdict.word != "collapsed"
    assert read_card(tmp_path / "run" / "encoder.json").method == "supervised"
    assert "never used for it" not in (tmp_path / "run" / "log.txt").read_text()


def test_without_labels_it_says_what_to_give(image_folder: Path, tmp_path: Path) -> None:
    settings = {**without_heads(TINY), "method": "supervised", "out": tmp_path / "run", "quiet": True}
    with pytest.raises(UserError, match=r"learns from labels, but .* has no labels; give a folder with a sub-folder"):
        byol.pretrain(image_folder, recipe="cifar10-cpu", **settings)
    images = torch.zeros(64, 3, 20, 20, dtype=torch.uint8)
    wrong = {
        "one class only": [0] * 64,
        "32 images without a label": [-1, 5] * 32,
        "labels from -2 to 5": [-2, 5] * 32,
        "to 64": [0, 64] * 32,
    }
    for words, labels in wrong.items():
        with pytest.raises(UserError, match=words):
            byol.pretrain(TensorSource(images, labels), recipe="cifar10-cpu", **settings)
    assert not (tmp_path / "run").exists()


def test_no_epochs_leave_the_encoder_that_the_methods_start_from(
    class_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["pretrain", str(class_folder), "--recipe", "cifar10-cpu", "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*command, *flags({**TINY, "seed": 3, "epochs": 0})])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "Untrained, as asked: no step was taken; views find their own image among 160 in" in said
    assert "what the architecture alone is worth" in said
    config = from_json(PretrainConfig, json.loads((out / "config.json").read_text())["config"])
    for method in ("byol", "simclr", "infonce", "moco", "supervised"):
        start = build_state(replace(config, method=method), TrainingSet(160, [0, 1] * 80), CPU).method.encoder
        for name, value in byol.load_encoder(out).state_dict().items():
            same = torch.equal(value, start.state_dict()[name])
            assert same != ("running" in name or "batches" in name), (
                f"{name}: batch norm has seen images, no weight moved"
            )
    card = read_card(out / "encoder.json")
    assert (card.method, card.epochs, card.images, card.seed) == ("byol", 0, 0, 3)
    (health, reading) = read_metrics(out / "metrics.jsonl")
    assert (health["step"], reading["step"]) == (0, 0)
    assert health["health/rank"] > 1
    assert reading["knn/accuracy"] == reading["knn/start"]
