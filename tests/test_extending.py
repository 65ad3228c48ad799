"""The examples of docs/extending.md, as they stand there: each is put in its table and used."""

import json
import re
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from torch import Tensor

from building import build, make_loader
from byol.augment import ops
from byol.augment.draw import draw_spatial, draw_view
from byol.augment.params import per_image
from byol.augment.views import make_views, make_views_of_one
from byol.cli.main import main
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import AugmentConfig, Normalization, ViewConfig
from byol.data.formats import registry as formats
from byol.data.sources.open import TensorSource, open_source
from byol.evals import registry as evaluations
from byol.methods.table import METHODS
from byol.pretraining.train import TrainStep
from byol.runtime.seeds import generator_of
from drawn import draw

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r'^```python title="(\w+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE))


def example(name: str) -> ModuleType:
    """The module that the page shows."""
    module = ModuleType(f"example_{name}")
    exec(compile(EXAMPLES[name], f"docs/extending.md: {name}", "exec"), vars(module))
    return module


def test_the_method_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    made = example("method")
    monkeypatch.setitem(METHODS, made.BarlowTwinsConfig, made.BarlowTwins)
    method = made.BarlowTwinsConfig(hidden=16, output=8)
    config = replace(PretrainConfig(method=method), image_size=16, batch_size=16, encoder="resnet10", epochs=2)
    config = replace(config, encoder__width=0.125, optim__name="sgd")
    images = torch.randint(0, 256, (64, 3, 20, 20), dtype=torch.uint8, generator=generator_of(0))
    step = TrainStep(build(config), config)
    before = [p.detach().clone() for p in step.state.method.parameters()]
    losses = [step(batch, 0.02, {})[0].item() for batch in make_loader(TensorSource(images), config).batches(0, 4)]
    assert all(0 < loss < 100 for loss in losses)
    moved = [not torch.equal(p, old) for p, old in zip(step.state.method.parameters(), before, strict=True)]
    assert all(moved), "the loss reaches every weight"
    same = torch.randn(500, 3, generator=generator_of(1))
    plain = made.BarlowTwins(torch.nn.Identity(), torch.nn.Identity(), off_diagonal=0.5)
    normal = (same - same.mean(0)) / same.std(0, correction=0)
    off = (normal.T @ normal / 500).triu(1).square().sum().item()
    assert plain(same, same).item() == pytest.approx(off, abs=1e-4), "0.5 for each of the two triangles"


def test_the_format_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (example("format"), *formats.FORMATS))
    pixels = bytes(range(0, 120, 10))
    (tmp_path / "1.pgm").write_bytes(b"P5\n4 3\n255\n" + pixels)
    source = open_source(tmp_path)
    assert (len(source), source.channels, source.header(0).height, source.header(0).width) == (1, 1, 3, 4)
    assert source.image(0).flatten().tolist() == list(pixels)


def test_the_augmentation_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(40, 3, 16, 16, generator=generator_of(2))
    plain = Normalization((0.0,) * 3, (1.0,) * 3)
    (before,) = make_views((images,), (draw(AugmentConfig().view1, 40, seed=1),), plain)
    monkeypatch.setattr(ops, "OPERATIONS", (*ops.OPERATIONS, example("augmentation").INVERT))
    params = draw(AugmentConfig().view1, 40, seed=1)
    applied = params.numbers["invert"]["applied"]
    assert 0 < applied.sum() < 20
    (after,) = make_views((images,), (params,), plain)
    torch.testing.assert_close(after, torch.where(applied.view(-1, 1, 1, 1), 1 - before, before), rtol=0, atol=1e-6)


def test_an_operation_is_applied_to_all_unless_it_says_to_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a number for each image, on a batch and on one image alone, as the page says."""

    def draw_amount(config: ViewConfig, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"amount": torch.rand(count, generator=generator)}

    dim = ops.Operation("dim", draw_amount, lambda x, values: x * per_image(values["amount"]))
    images = torch.rand(6, 3, 16, 16, generator=generator_of(2))
    plain = Normalization((0.0,) * 3, (1.0,) * 3)
    view = ViewConfig(flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
    monkeypatch.setattr(ops, "OPERATIONS", (*ops.OPERATIONS, dim))
    params = draw(view, 6, seed=1)
    (after,) = make_views((images,), (params,), plain)
    expected = images * params.numbers["dim"]["amount"].view(-1, 1, 1, 1)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)
    alone = torch.empty(1, 3, 16, 16)
    make_views_of_one([images[2:3]], [params.one_by_one()[2]], plain, [alone])
    torch.testing.assert_close(alone, expected[2:3], rtol=0, atol=1e-6)


def test_an_operation_that_changes_the_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = ops.Operation("cut", None, lambda x, _: x[..., :-2, :-2])
    monkeypatch.setattr(ops, "OPERATIONS", (*ops.OPERATIONS, cut))
    images, plain = torch.rand(6, 3, 16, 16), Normalization((0.0,) * 3, (1.0,) * 3)
    with pytest.raises(ValueError, match=r"the operation 'cut' makes .* it must keep the shape"):
        make_views((images,), (draw(ViewConfig(), 6, seed=1),), plain)


def test_evaluations_train_on_crops_and_flips_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "OPERATIONS", (*ops.OPERATIONS, example("augmentation").INVERT))
    whole, spatial = (make(ViewConfig(), 40, partial(generator_of, 1)) for make in (draw_view, draw_spatial))
    assert whole.numbers["invert"]["applied"].any()
    for name, numbers in spatial.numbers.items():
        if name in ("crop", "flip", "vertical_flip"):
            assert all(torch.equal(numbers[key], whole.numbers[name][key]) for key in numbers), "as they were"
        else:
            assert not numbers["applied"].any(), name


def test_the_evaluation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nearest_class.py").write_text(EXAMPLES["evaluation"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(evaluations, "MODULES", (*evaluations.MODULES, "nearest_class"))
    for offset, part in ((0, "train"), (9, "test")):
        for name, value in (("dark", 20), ("light", 220)):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for shade in range(3):
                Image.new("RGB", (8, 8), (value + offset + shade,) * 3).save(folder / f"{shade}.png")
    data = [f"--{part}={tmp_path / part}" for part in ("train", "test")]
    with pytest.raises(SystemExit) as ended:
        main(["eval", "nearest_class", "pixels@4", *data, "--json", str(tmp_path / "found.json")])
    assert ended.value.code == 0
    assert json.loads((tmp_path / "found.json").read_text())["result"] == {"top1": 1.0}
