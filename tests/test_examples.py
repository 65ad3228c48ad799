"""The examples run on small work, and give the values that they promise."""

import ast
import importlib
import importlib.util
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import byol
from byol.encoders.load import open_encoder
from small_networks import Dense, views

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = EXAMPLES / "first_run.ipynb"
ONNX = ("onnx", "onnxscript", "onnxruntime")


@pytest.fixture(autouse=True)
def path_to_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few seconds on bundled photographs."""
    images = byol.open_source("photos:train").subset(range(2560))
    out = tmp_path_factory.mktemp("examples") / "run"
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 64, "precision": "float32", "device": "cpu"}
    return byol.pretrain(images, recipe="photos", out=out, quiet=True, **settings).folder


@pytest.fixture
def few_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the first 2000 patches of each part to a script."""
    whole = byol.open_source
    monkeypatch.setattr(byol, "open_source", lambda name: whole(name).subset(range(2000)))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def test_every_example_says_how_to_run_it_and_stands_in_the_table() -> None:
    table = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"    python examples/{path.name}" in (ast.get_docstring(ast.parse(path.read_text())) or "")
    for path in [*EXAMPLES.glob("*.py"), NOTEBOOK]:
        assert f"[{path.name}]({path.name})" in table


def test_own_loop_learns(few_photos: None) -> None:
    losses, before, after = script("own_loop").main(epochs=1, images=1920)
    assert len(losses) == 15
    assert 3.5 < losses[0] < 4.5, "predictions have nothing to do with their targets yet"
    assert losses[-1] < 0.5 * losses[0]
    assert after > before + 0.05


def test_own_loop_follows_the_schedules() -> None:
    """Two steps without a warm-up: the peak rate, then half of it; tau 0.97, then halfway to 1."""
    torch.manual_seed(0)
    method, same = (byol.BYOL(Dense(True), byol.MLP(6, 8, 4), byol.MLP(4, 8, 4)).double() for _ in range(2))
    same.load_state_dict(method.state_dict())
    batches = [views(seed=0), views(seed=1)]
    losses = script("own_loop").train(method, batches, epochs=1, peak_lr=3.0)

    groups = byol.parameter_groups(same, weight_decay=1e-6)
    optimizer = byol.LARS(groups, lr=0.0)
    fast = [id(p) for p in same.predictor.parameters()]
    factor = {name: 10.0 if id(p) in fast else 1.0 for name, p in same.named_parameters()}
    for step, (rate, tau) in enumerate(((3.0, 0.97), (1.5, 0.985))):
        before = weights(same)
        loss = same(*batches[step])
        assert loss.item() == pytest.approx(losses[step], rel=1e-12)
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():  # the predictor's rate is ten times the others'
            for name, p in same.named_parameters():
                p.copy_(before[name] + factor[name] * (p - before[name]))
        same.update_target(tau)
    for name, value in same.state_dict().items():
        torch.testing.assert_close(method.state_dict()[name], value, rtol=1e-10, atol=1e-12)


def test_a_hundred_lines_are_enough() -> None:
    lines = (EXAMPLES / "byol_in_100_lines.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 100


def test_a_hundred_lines_give_the_loss_and_the_update_of_byol() -> None:
    short = script("byol_in_100_lines")
    torch.manual_seed(0)
    ours = short.BYOL(short.make_encoder(4), short.mlp(32, 10, 6), short.mlp(6, 10, 6)).double()
    encoder = short.make_encoder(4)
    encoder.num_features = 32
    theirs = byol.BYOL(encoder, byol.MLP(32, 10, 6), byol.MLP(6, 10, 6)).double()
    theirs.load_state_dict(ours.state_dict())
    start = weights(ours)
    generator = torch.Generator().manual_seed(1)
    view1, view2 = torch.randn(2, 8, 3, 16, 16, dtype=torch.float64, generator=generator)
    losses = []
    for method in (ours, theirs):
        online = [*method.encoder.parameters(), *method.projector.parameters(), *method.predictor.parameters()]
        optimizer = torch.optim.SGD(online, lr=0.1)
        loss = method(view1, view2)
        loss.backward()
        optimizer.step()
        method.update_target(0.9)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-10, atol=1e-12)
    still = [name for name, p in ours.named_parameters() if torch.equal(p, start[name]) and p.ndim > 1]
    assert not still, "every matrix of both networks has moved"


def test_the_augmentation_of_a_hundred_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """With numbers that change nothing it only normalizes; with others it mirrors, grays and crops."""
    short = script("byol_in_100_lines")
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    side, dx, dy, flip, light, contrast, gray = 1.0, 0.5, 0.5, 1.0, 0.5, 0.5, 1.0

    def view(*numbers: float, size: int = 16) -> Tensor:
        drawn = torch.tensor(numbers).view(7, 1, 1, 1, 1).expand(7, 2, 1, 1, 1)
        with monkeypatch.context() as patched:
            patched.setattr(torch, "rand", lambda *shape: drawn)
            return short.augment(images, size) * 0.225 + 0.45

    close = {"rtol": 0.0, "atol": 1e-5}
    torch.testing.assert_close(view(side, dx, dy, flip, light, contrast, gray), images, **close)
    torch.testing.assert_close(view(side, dx, dy, 0.0, light, contrast, gray), images.flip(3), **close)
    grayed = images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(view(side, dx, dy, flip, light, contrast, 0.0), grayed, **close)
    brighter = (images + 0.04).clamp(0, 1)
    torch.testing.assert_close(view(side, dx, dy, flip, 0.6, contrast, gray), brighter, **close)
    quarter = (0.25 - 0.2) / 0.8  # half the side: at dx = dy = 0 the upper left quarter of the image
    torch.testing.assert_close(
        view(quarter, 0.0, 0.0, flip, light, contrast, gray, size=8), images[..., :8, :8], **close
    )


def test_a_hundred_lines_learn(few_photos: None) -> None:
    losses, before, after = script("byol_in_100_lines").main(steps=30)
    assert len(losses) == 30
    assert losses[-1] < 0.6 * losses[0]
    assert after > before + 0.02


def test_the_first_labels_of_each_class() -> None:
    assert script("train_classifier").few_labels([1, 0, 1, 1, 0, 2], 2) == [0, 2, 1, 4, 5]


def test_a_classifier_sees_images_as_the_encoder_was_trained_to(run: Path) -> None:
    image = byol.open_source("photos:test").image(0)
    ours = script("train_classifier").transform_of(run)(image)
    torch.testing.assert_close(ours, open_encoder(str(run)).transform.normalize(image[None])[0])


def test_a_classifier_on_a_frozen_encoder(run: Path) -> None:
    accuracy = script("train_classifier").main(encoder=run, labels_per_class=5, epochs=20)
    assert accuracy > 0.3, "five times as many as by chance"


@pytest.mark.parametrize("finetune", [False, True])
def test_only_fine_tuning_changes_the_encoder(finetune: bool) -> None:
    torch.manual_seed(0)
    encoder, head = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), nn.Linear(3, 2)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(8, 4, generator=generator), torch.arange(8) % 2) for _ in range(2)]
    first = weights(head)
    script("train_classifier").train(nn.Sequential(encoder, head), batches, epochs=1, finetune=finetune)
    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == (list(before) if finetune else [])
    # Adam's first step is the learning rate, 0.01, and its second half of it by the cosine
    assert 0 < max(float((p - first[name]).detach().abs().max()) for name, p in head.named_parameters()) < 0.016


def test_onnx_gives_the_features_of_pytorch(run: Path, tmp_path: Path) -> None:
    for name in ONNX:
        pytest.importorskip(name, reason=f"{name} belongs to the extra onnx")
    difference = script("onnx_features").main(encoder=run, out=tmp_path / "encoder.onnx")
    assert difference < 1e-5
    assert (tmp_path / "encoder.onnx").stat().st_size > 4e6


def test_without_onnx_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Callable[[str], Any] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in ONNX else found(name, *rest))
    monkeypatch.setattr(sys, "argv", ["onnx_features.py"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(EXAMPLES / "onnx_features.py"), run_name="__main__")
    assert exit.value.code == 2
    expected = "This example takes onnx, onnxscript, onnxruntime; run: pip install 'byol[onnx]'.\n"
    assert capsys.readouterr().err == expected


def test_a_table_of_embeddings(run: Path, class_folder: Path, tmp_path: Path) -> None:
    example = script("embeddings_to_table")
    table = example.main(data=str(class_folder), encoder=str(run), out=tmp_path / "table.parquet")
    source = byol.open_source(class_folder)
    assert table["path"].to_pylist() == [source.where(i) for i in range(160)]
    assert table["label"].to_pylist() == [path.split("/")[-2] for path in table["path"].to_pylist()]
    opened = open_encoder(str(run))
    crops = torch.stack([opened.transform.crop(source.image(i)) for i in (0, 100)])
    with torch.no_grad():
        expected = opened.module(opened.transform.normalize(crops)).numpy()
    assert example.embeddings(table)[[0, 100]] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    neighbors = example.nearest(table, 0, count=20)
    assert 0 not in neighbors
    assert sum(table["label"][row].as_py() == table["label"][0].as_py() for row in neighbors) >= 18, "red by red"


def test_a_table_leaves_out_what_cannot_be_read(
    run: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("00.png", "01.png", "02.png"):
        (tmp_path / name).write_bytes((image_folder / name).read_bytes())
    (tmp_path / "01.png").write_bytes(b"torn")
    table = script("embeddings_to_table").main(data=str(tmp_path), encoder=str(run), out=tmp_path / "table.parquet")
    assert [Path(path).name for path in table["path"].to_pylist()] == ["00.png", "02.png"]
    assert table["label"].to_pylist() == [None, None]
    assert "01.png" in capsys.readouterr().out


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def shown_by(cell: str, namespace: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, which a notebook shows, if that is an expression."""
    body = ast.parse(cell).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), namespace)


def test_the_notebook_is_of_format_4_and_has_no_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            keys |= {"execution_count", "outputs"}
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
        assert set(cell) == keys


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = code_cells()
    assert sum("epochs=2," in cell for cell in cells) == 1
    shown = [shown_by(cell.replace("epochs=2,", "epochs=0.25,"), namespace) for cell in cells]
    pictures = [value for value in shown if isinstance(value, Image.Image)]
    for picture in pictures:
        picture.load()  # as showing it does
    assert [picture.size for picture in pictures] == [(640, 256), (920, 428), (576, 512)]
    first = byol.open_source("photos:train").image(0)
    assert pictures[0].getpixel((0, 0)) == tuple(first[:, 0, 0].tolist())
    outcome = namespace["outcome"]
    assert not outcome.verdict.failed, "19 updates teach little, but break nothing"
    assert 0.4 < outcome.start.accuracy < 0.9
    assert namespace["agreement"] > 0.4, "seven times as many as by chance"
    assert not list(tmp_path.iterdir()), "it writes to a temporary folder alone"
