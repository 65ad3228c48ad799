"""Images that use a small part of their range: found, stretched in training as in the views, undone for the encoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import byol
from byol.cli.main import main
from byol.cli.view_grid import HEAD
from byol.config.run import DataConfig, PretrainConfig
from byol.config.values import from_json, replace, to_json
from byol.data.sources.open import TensorSource, open_source
from byol.data.sources.relabeled import Labels, relabeled
from byol.data.sources.stretched import stretch, stretched
from byol.data.survey import survey
from byol.data.transform import Transform
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.recipes.auto import auto
from byol.recipes.facts import Facts
from conftest import TINY, picture


@pytest.fixture(scope="session")
def microscope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 gray pictures of 12 bits in files of 16."""
    folder = tmp_path_factory.mktemp("microscope")
    for number in range(48):
        values = np.asarray(picture(number, 24, 24).convert("L")).astype(np.uint16) * 16
        Image.fromarray(values).save(folder / f"{number:02d}.png")
    return folder


def trained(data: Any, out: Path, **options: Any) -> Any:
    return byol.pretrain(data, recipe="auto", out=out, quiet=True, **{**TINY, "epochs": 1, **options})


def test_stretching_by_values() -> None:
    limits = (0.2, 0.6)
    floats = torch.tensor([0.0, 0.2, 0.3, 0.4, 0.6, 1.0])
    assert stretch(floats, limits).tolist() == pytest.approx([0, 0, 0.25, 0.5, 1, 1])
    assert floats[0] == 0, "the images themselves stay as they are"
    stored = stretch(torch.tensor([0, 51, 102, 153, 255], dtype=torch.uint8), limits)
    assert stored.dtype == torch.uint8
    assert stored.tolist() == [0, 0, 128, 255, 255]


def test_the_survey_finds_the_used_range(microscope: Path) -> None:
    seen = survey(open_source(microscope))
    values = np.concatenate([np.asarray(Image.open(file)).ravel() for file in microscope.iterdir()]) / 65535
    low, high = np.quantile(values, [0.001, 0.999])
    assert (seen.low, seen.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    one_hot_pixel = torch.zeros(10, 1, 40, 40)
    one_hot_pixel[:, :, 20:] = 0.05
    one_hot_pixel[0, 0, 0, 0] = 1.0
    found = survey(TensorSource(one_hot_pixel))
    assert (found.low, found.high) == (0, pytest.approx(0.05))


def test_a_stretched_survey_is_that_of_the_stretched_images(microscope: Path) -> None:
    source, limits = open_source(microscope), (0.0, 0.07)
    expected, found = survey(stretched(source, limits)), survey(source).stretched(limits)
    assert found.mean == pytest.approx(expected.mean, abs=1e-4)
    assert found.std == pytest.approx(expected.std, abs=1e-4)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_auto_stretches_what_uses_a_small_part_of_its_range(microscope: Path) -> None:
    seen = survey(open_source(microscope))
    plan = auto(Facts(survey=seen))
    assert plan.config.data.range is not None
    low, high = plan.config.data.range
    assert (low, high) == (pytest.approx(seen.low, rel=0.01), pytest.approx(seen.high, rel=0.01))
    assert any(reason.startswith("data range ") for reason in plan.reasons)
    assert not any(reason.startswith("brightness changes times") for reason in plan.reasons), "they act on it now"
    kept = auto(Facts(survey=seen, settings={"data__range": (0.0, 1.0)}))
    assert kept.config.data.range == (0.0, 1.0)
    assert any(reason.startswith("brightness changes times") for reason in kept.reasons)


def test_ordinary_images_and_images_of_one_shade_are_left_alone(image_folder: Path) -> None:
    source = open_source(image_folder)
    assert auto(Facts(survey=survey(source))).config.data == DataConfig()
    assert stretched(source, None) is source
    assert stretched(source, (0.0, 1.0)) is source
    black = TensorSource(torch.zeros(20, 3, 32, 32, dtype=torch.uint8))
    assert auto(Facts(survey=survey(black))).config.data.range is None


def test_labels_and_groups_stay(microscope: Path) -> None:
    labels = Labels(labels=[n % 2 for n in range(48)], classes=["a", "b"], groups=[n // 8 for n in range(48)])
    tensor = TensorSource(torch.rand(48, 1, 8, 8))
    for source in (relabeled(open_source(microscope), labels), relabeled(tensor, labels)):
        assert Labels.of(stretched(source, (0.0, 0.5))) == labels


@pytest.mark.parametrize("range_", [(0.5, 0.5), (0.6, 0.5), (-0.1, 1.0), (0.0, 1.5)])
def test_limits_that_are_none(range_: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"range is .* but must be two values from 0 to 1, the lower one first"):
        DataConfig(range=range_)


def test_training_sees_the_stretched_images(microscope: Path, tmp_path: Path) -> None:
    source, limits = open_source(microscope), (0.0, 0.0625)
    beforehand = TensorSource(torch.stack([stretch(source.image(n), limits) for n in range(len(source))]))
    same = {"encoder__mean": (0.5,), "encoder__std": (0.25,)}
    runs = {
        "memory": trained(microscope, tmp_path / "memory", data__range=limits, **same),
        "disk": trained(microscope, tmp_path / "disk", data__range=limits, data__memory="never", **same),
        "tensor": trained(
            TensorSource(torch.stack([source.image(n) for n in range(48)])), tmp_path / "t", data__range=limits, **same
        ),
        "beforehand": trained(beforehand, tmp_path / "beforehand", data__range=(0.0, 1.0), **same),
    }
    weights = {name: (run.folder / "encoder.safetensors").read_bytes() for name, run in runs.items()}
    assert weights["memory"] == weights["tensor"] == weights["beforehand"]
    assert len(weights["disk"]) == len(weights["memory"])
    card = json.loads((tmp_path / "memory" / "encoder.json").read_text())["encoder"]
    assert card["mean"] == pytest.approx([0.5 * 0.0625])
    assert card["std"] == pytest.approx([0.25 * 0.0625])
    encoder, image = open_encoder(str(tmp_path / "memory")), source.image(3)
    crop = encoder.transform.crop(image)[None]
    usual = Transform(image_size=encoder.transform.image_size, mean=(0.5,), std=(0.25,))
    assert torch.allclose(encoder.transform.normalize(crop), usual.normalize(stretch(crop, limits)), atol=1e-4)


def test_the_run_says_it_keeps_it_and_goes_on_with_it(microscope: Path, tmp_path: Path) -> None:
    trained(microscope, tmp_path / "run")
    said = (tmp_path / "run" / "log.txt").read_text()
    content = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    low, high = content["data"]["range"]
    assert high < 0.07
    assert f"data.range: values {low:g} to {high:g} are stretched to all of the range" in said
    config = from_json(PretrainConfig, content)
    assert from_json(PretrainConfig, to_json(config)) == config
    weights = (tmp_path / "run" / "encoder.safetensors").read_bytes()
    (tmp_path / "run" / "encoder.safetensors").unlink()
    byol.resume(tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "encoder.safetensors").read_bytes() == weights


def test_views_show_what_training_sees(microscope: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "views.png"
    with pytest.raises(SystemExit) as ended:
        main(["views", str(microscope), "--out", str(out), "--count", "3"])
    assert ended.value.code in (0, None)
    said = capsys.readouterr().out
    assert " are stretched from black to white, as in training (--data.range)." in said
    assert said.count("\n") == 1
    picture_ = np.asarray(Image.open(out))
    shown = picture_[HEAD:][~(picture_[HEAD:] == 255).all(-1)]
    assert shown.mean() > 60, "not black"
    assert (picture_[:HEAD] < 128).any(), "there are headings"
    with pytest.raises(SystemExit):
        main(["views", str(microscope), "--out", str(out), "--count", "3", "--data.range", "0", "1"])
    assert "stretched" not in capsys.readouterr().out
    dark = np.asarray(Image.open(out))[HEAD:]
    assert dark[~(dark == 255).all(-1)].mean() < 30


def test_solarizing_acts_on_the_used_range(microscope: Path) -> None:
    from byol.augment.apply import apply_operations
    from byol.augment.draw import draw_view
    from byol.config.views import ViewConfig
    from byol.runtime.seeds import generator_of

    source, limits = open_source(microscope), (0.0, 0.0625)
    view = replace(ViewConfig(), flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=1.0)
    params = draw_view(view, 1, lambda *what: generator_of(0, *what))
    raw, used = source.image(0)[None], stretch(source.image(0), limits)[None]
    assert torch.equal(apply_operations(raw, params), raw), "nothing is above the threshold of a half"
    changed = (apply_operations(used, params) != used).float().mean()
    assert changed == pytest.approx(float((used >= 0.5).float().mean()), abs=0.02)
    assert changed > 0.2


def test_readings_see_stretched_images_as_training_does(tmp_path: Path) -> None:
    """The encoder that is exported takes images as they are stored; the one that is read takes them stretched."""
    generator = torch.Generator().manual_seed(0)
    labels = [number % 2 for number in range(60)]
    images = torch.rand(60, 3, 20, 20, generator=generator)
    images[::2, 0] += 0.5
    dark = images / images.max() / 16
    limits = (0.0, 0.0625)
    runs = {}
    for name, data, chosen in (
        ("dark", TensorSource(dark, labels), limits),
        ("before", stretched(TensorSource(dark, labels), limits), (0.0, 1.0)),
    ):
        runs[name] = trained(data, tmp_path / name, data__range=chosen)
    for what in ("reading", "start", "pixels"):
        one, other = (getattr(runs[name], what) for name in ("dark", "before"))
        assert torch.equal(one.correct, other.correct), what
    assert runs["dark"].verdict == runs["before"].verdict
