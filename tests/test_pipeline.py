"""The whole way: from a folder as people have them to an encoder that other libraries load."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import byol
from byol.config.run import PretrainConfig
from byol.config.values import from_json
from byol.data.transform import Transform
from byol.encoders.file import read_card
from byol.encoders.load import PIXELS_SIZE
from byol.runtime.metrics import read_metrics
from conftest import TINY, picture

BAD = ["corrupt.jpg", "cut.png", "nothing.png", "text.jpg", "deep/zero.webp"]


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of everything, and enough plain images around it."""
    folder = tmp_path_factory.mktemp("messy")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number in range(24):
        picture(number, 40 + number, 36).save(folder / "deep" / f"{number:02d}.jpg", quality=90)
    picture(50).convert("CMYK").save(folder / "cmyk.jpg")
    picture(51).quantize(16).save(folder / "palette.png")
    picture(52).convert("RGBA").save(folder / "alpha.png")
    picture(53).convert("L").save(folder / "gray.png")
    Image.fromarray(np.asarray(picture(54).convert("L")).astype(np.uint16) * 257).save(folder / "deep16.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(55).save(folder / "deep" / "er" / "turned.jpg", exif=exif)
    picture(56).save(folder / "animated.gif", save_all=True, append_images=[picture(57), picture(58)])
    picture(59).save(folder / ".hidden" / "no.png")
    (folder / "notes.txt").write_text("no image")
    whole = (folder / "deep" / "00.jpg").read_bytes()
    (folder / "corrupt.jpg").write_bytes(whole[:60] + bytes(100) + b"\xff\xd9")
    picture(60).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:200])
    (folder / "nothing.png").write_bytes(b"")
    (folder / "text.jpg").write_text("I am not an image.")
    (folder / "deep" / "zero.webp").write_bytes(bytes(1000))
    return folder


@pytest.fixture(scope="module")
def trained(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("trained") / "run"
    settings: dict[str, Any] = {
        "encoder": "resnet18",
        "image_size": 32,
        "batch_size": 8,
        "epochs": 2,
        "precision": "float32",
        "device": "cpu",
    }
    outcome = byol.pretrain(
        messy,
        out=out,
        quiet=True,
        seed=3,
        encoder__width=1.0,
        encoder__stem="standard",
        logging__log_every=1,
        **settings,
    )
    return out, outcome


def listed(out: Path, messy: Path) -> list[str]:
    lines = (out / "bad_images.txt").read_text().splitlines()
    assert all(len(line.split("\t")) == 2 and line.split("\t")[1] for line in lines)
    return sorted(str(Path(line.split("\t")[0]).relative_to(messy)) for line in lines)


def test_bad_images_are_counted_and_listed_and_no_others(trained: Any, messy: Path) -> None:
    out, _ = trained
    assert listed(out, messy) == sorted(BAD)
    said = (out / "log.txt").read_text()
    assert f"{len(BAD)} images could not be read and were left out" in said
    assert f"listed in {out / 'bad_images.txt'}" in said
    plan = json.loads((out / "config.json").read_text())
    assert plan["images"] == 24 + 7


def test_run_folder_holds_what_it_promises(trained: Any, messy: Path) -> None:
    out, outcome = trained
    names = {path.name for path in out.iterdir()}
    assert names == {
        *("config.json", "metrics.jsonl", "log.txt", "checkpoints", "bad_images.txt", ".lock"),
        *("encoder.safetensors", "encoder.json", "verdict.json", "pictures.json", "report.html"),
    }
    assert outcome.folder == out
    assert outcome.verdict is not None
    assert not outcome.interrupted
    assert outcome.verdict.sentence in (out / "log.txt").read_text()
    plan = json.loads((out / "config.json").read_text())
    config = from_json(PretrainConfig, plan["config"])
    assert (config.seed, config.epochs, config.batch_size, config.device) == (3, 2, 8, "cpu")
    assert plan["data"] == str(messy)
    assert plan["recipe"] == "auto"
    assert plan["machine"]["torch"] == torch.__version__
    card = read_card(out / "encoder.json")
    assert (card.encoder.name, card.encoder.stem, card.encoder.width, card.encoder.channels) == (
        *("resnet18", "standard", 1.0, 3),
    )
    assert (card.image_size, card.epochs, card.seed, card.images, card.features) == (32, 2, 3, 31, 512)
    assert (card.encoder.mean, card.encoder.std) == (config.encoder.mean, config.encoder.std)


def test_metrics_follow_the_schedules(trained: Any) -> None:
    out, _ = trained
    config = from_json(PretrainConfig, json.loads((out / "config.json").read_text())["config"])
    lines = [line for line in read_metrics(out / "metrics.jsonl") if "loss" in line]
    total = (2 * 31) // 8
    assert [line["step"] for line in lines] == list(range(1, total + 1))
    warmup, peak = config.warmup_steps(31), config.optim.lr * 8 / 256
    for line in lines:
        step = line["step"] - 1
        climbing = peak * step / max(warmup, 1)
        falling = peak * 0.5 * (1 + np.cos(np.pi * (step - warmup) / (total - warmup)))
        assert line["lr"] == pytest.approx(climbing if step < warmup else falling)
        assert line["tau"] == pytest.approx(1 - (1 - config.method.tau) * (np.cos(np.pi * step / total) + 1) / 2)
        assert 0 < line["loss"] < 8
        assert line["gradient_norm"] > 0
        assert line["images_per_second"] > 0
    health = [line for line in read_metrics(out / "metrics.jsonl") if "health/rank" in line]
    assert health[-1]["step"] == total
    assert health[-1]["health/chance"] == pytest.approx(1 / 31)


def test_encoder_gives_the_same_features_in_timm_torchvision_and_here(trained: Any) -> None:
    out, outcome = trained
    weights = load_file(out / "encoder.safetensors")
    in_timm = timm.create_model("resnet18", num_classes=0)
    in_timm.load_state_dict(weights, strict=True)
    in_torchvision = torchvision.models.resnet18()
    in_torchvision.fc = nn.Identity()
    in_torchvision.load_state_dict(weights, strict=True)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = byol.load_encoder(out)(images)
        assert expected.shape == (3, 512)
        assert expected.std() > 1e-3
        for other in (outcome.encoder(), in_timm.eval(), in_torchvision.eval(), byol.load_encoder(str(out))):
            torch.testing.assert_close(other(images), expected, rtol=1e-4, atol=1e-4)


def test_training_moved_the_encoder_and_its_statistics(trained: Any) -> None:
    out, _ = trained
    weights = load_file(out / "encoder.safetensors")
    assert weights["bn1.num_batches_tracked"] == 2 * (2 * 31 // 8), "two passes per update"
    assert (weights["bn1.running_mean"].abs() > 1e-3).any()
    assert not torch.equal(weights["layer4.1.bn2.weight"], torch.ones(512))


def test_read_anew_each_epoch_lists_the_same(messy: Path, tmp_path: Path) -> None:
    settings = {**TINY, "batch_size": 8, "epochs": 3, "data__memory": "never"}
    byol.pretrain(messy, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings)
    assert listed(tmp_path / "run", messy) == sorted(BAD)
    assert (tmp_path / "run" / "encoder.safetensors").is_file()


def test_more_than_half_bad_stops_before_training(messy: Path, tmp_path: Path) -> None:
    for number in range(6):
        picture(number).save(tmp_path / f"{number}.png")
    for number in range(7):
        (tmp_path / f"bad{number}.png").write_bytes(b"no image")
    with pytest.raises(byol.UserError, match=r"7 of 13 images looked at .* cannot be read"):
        byol.pretrain(tmp_path, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **{**TINY, "batch_size": 2})
    assert not (tmp_path / "run").exists()


def test_the_encoder_looks_at_images_in_a_size_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: set[int] = set()
    crop = Transform.crop
    monkeypatch.setattr(Transform, "crop", lambda self, image: seen.add(self.image_size) or crop(self, image))
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(50):
            picture(number).save(tmp_path / "set" / label / f"{number}.png")
    settings = {**TINY, "batch_size": 8, "epochs": 1, "encoder__input_size": 24}
    outcome = byol.pretrain(tmp_path / "set", out=tmp_path / "run", quiet=True, **settings)
    assert outcome.reading is not None
    assert settings["image_size"] == 16, "or the views are as large"
    assert seen == {24, PIXELS_SIZE}, "bare pixels are compared in a size of their own"
    assert read_card(tmp_path / "run" / "encoder.json").image_size == 24


def test_gray_images_train_a_gray_encoder(tmp_path: Path) -> None:
    (tmp_path / "gray").mkdir()
    for number in range(20):
        picture(number).convert("L").save(tmp_path / "gray" / f"{number}.png")
    settings = {**TINY, "batch_size": 8, "epochs": 1}
    out = tmp_path / "run"
    byol.pretrain(tmp_path / "gray", out=out, quiet=True, **settings)
    card = read_card(out / "encoder.json")
    assert card.encoder.channels == 1
    assert len(card.encoder.mean) == 1
    assert byol.load_encoder(out)(torch.randn(2, 1, 16, 16)).shape == (2, 64)


def test_deep_images_keep_their_range_through_training(tmp_path: Path) -> None:
    """The same pictures in 8 and in 16 bits give nearly the same losses, so nothing was cut or scaled."""
    losses = {}
    for kind in ("8", "16"):
        folder = tmp_path / kind
        folder.mkdir()
        for number in range(16):
            pixels = np.asarray(picture(number, 16, 16).convert("L"))
            deep = pixels if kind == "8" else pixels.astype(np.uint16) * 257
            Image.fromarray(deep).save(folder / f"{number:02d}.png")
        settings = {**TINY, "batch_size": 8, "epochs": 2, "logging__log_every": 1}
        byol.pretrain(folder, out=tmp_path / f"run{kind}", quiet=True, **settings)
        losses[kind] = [
            line["loss"] for line in read_metrics(tmp_path / f"run{kind}" / "metrics.jsonl") if "loss" in line
        ]
    assert len(losses["8"]) == 4
    assert losses["16"] == pytest.approx(losses["8"], rel=1e-2)
    assert losses["16"][0] == pytest.approx(losses["8"][0], rel=1e-4)


@pytest.mark.parametrize("memory", ["always", "never"])
def test_same_seed_same_bytes(memory: str, image_folder: Path, tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number)
        settings = {**TINY, "epochs": 0.5, "seed": seed, "data__memory": memory, "data__workers": 1 + number}
        byol.pretrain(image_folder, recipe="cifar10-cpu", out=out, quiet=True, **settings)
        contents.append((out / "encoder.safetensors").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_epochs_may_end_before_the_first_pass(image_folder: Path, tmp_path: Path) -> None:
    byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "r", quiet=True, **{**TINY, "epochs": 0.01})
    assert read_metrics(tmp_path / "r" / "metrics.jsonl")[-1]["step"] == 1


def test_budget_chooses_the_epochs(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from byol.pretraining import budget

    monkeypatch.setattr(budget, "REHEARSAL_SECONDS", (0.3, 0.5))
    settings = {key: value for key, value in TINY.items() if key != "epochs"}
    began = time.perf_counter()
    byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "r", budget="5s", quiet=True, **settings)
    taken = time.perf_counter() - began
    plan = json.loads((tmp_path / "r" / "config.json").read_text())
    steps = from_json(PretrainConfig, plan["config"]).total_steps(64)
    assert read_metrics(tmp_path / "r" / "metrics.jsonl")[-1]["step"] == steps
    assert steps > 20
    assert 1.5 < taken < 9, "five seconds, on a machine that others use too"
    settings["epochs"] = plan["config"]["epochs"]
    byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "again", quiet=True, **settings)
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["config"] == plan["config"]
    first, second = (tmp_path / name / "encoder.safetensors" for name in ("r", "again"))
    assert first.read_bytes() == second.read_bytes(), "measuring the speed changes nothing else"


def test_cifar10(data_folder: Path, tmp_path: Path) -> None:
    """Parquet in the Hugging Face layout, 200 images of it, with k-NN on others."""
    train = byol.open_source(data_folder / "cifar10" / "train.parquet").subset(range(200))
    test = byol.open_source(data_folder / "cifar10" / "test.parquet").subset(range(100))
    settings = {**TINY, "image_size": 32, "batch_size": 50, "epochs": 1}
    outcome = byol.pretrain(train, monitor=test, recipe="cifar10-cpu", out=tmp_path / "r", quiet=True, **settings)
    assert outcome.reading is not None
    assert (outcome.reading.bank, outcome.reading.queries) == (200, 100)
    assert 0.1 < outcome.reading.accuracy < 0.6
