"""The benchmarks run, on tiny work; what they write becomes tables, and stale tables are noticed."""

import argparse
import importlib
import json
import math
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from byol.data.sources.embedded import embedded_photos
from byol.errors import UserError
from byol.pretraining.run import pretrain

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def path_to_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve images of 32 px, and eight JPEGs of 96 x 64."""
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for folder, suffix, count, shape in (("small", "png", 12, (32, 32, 3)), ("jpeg", "jpg", 8, (64, 96, 3))):
        (root / folder).mkdir()
        for i in range(count):
            pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            Image.fromarray(pixels.numpy()).save(root / folder / f"{i}.{suffix}")
    return root / "small", root / "jpeg"


def test_throughput_runs(images: tuple[Path, Path]) -> None:
    small, jpeg = images
    rows = script("throughput").main(["--quick", "--small", str(small), "--jpeg", str(jpeg)])
    names = {(row.group, row.name) for row in rows}
    for work in ("resnet18-32", "resnet50-224", "narrow-32"):
        wanted = {"pipeline alone", "step alone", "together", "together / step alone"}
        assert {name for group, name in names if group == work} == wanted
    assert {("pipeline-32", "pipeline alone"), ("pipeline-224", "pipeline alone")} <= names
    assert all(len(row.values) == 1 and row.values[0] > 0 for row in rows)
    origin = {row.group: row.config["from"] for row in rows}
    assert origin["resnet50-224"] == "files"
    assert origin["resnet18-32"] == "memory"


def test_embedding_and_exploring_are_measured(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = script("explore_speed")
    monkeypatch.setenv("BYOL_HOME", str(tmp_path))
    monkeypatch.setattr(speed, "ENCODERS", {"resnet18-32": "random:resnet10@small/x0.25/32"})
    rows = speed.main(["--quick", "--images", str(images[0]), "--keep", str(tmp_path / "kept")])
    embedded, alone, share = rows[:3]
    assert share.values[0] == pytest.approx(embedded.values[0] / alone.values[0])
    assert share.config["images"] == 12
    figures = {row.name: row.values[0] for row in rows if row.group.startswith("explore")}
    size = (tmp_path / "kept" / "explore.html").stat().st_size
    assert figures["size of the page"] == size / 1e6
    parts = {part for _, _, part in speed.PARTS} | {"map", "page"}
    assert parts <= set(figures)
    assert sum(figures[part] for part in parts) <= figures["features to page"]


@pytest.mark.slow
def test_threads_are_measured_beside_processes(images: tuple[Path, Path]) -> None:
    rows = script("threads").main(["--quick", "--jpeg", str(images[1])])
    assert [row.group for row in rows] == ["crops-224"] * 3 + ["pipeline-224"] * 3
    for threads, processes, ratio in (rows[:3], rows[3:]):
        assert ratio.values[0] == pytest.approx(threads.values[0] / processes.values[0])


def test_throughput_writes_what_was_measured(
    images: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    throughput = script("throughput")
    monkeypatch.setitem(throughput.PIPELINES, "pipeline-32", throughput.quick(throughput.PIPELINES["pipeline-32"]))
    small, jpeg = (str(folder) for folder in images)
    throughput.main(
        ["--only", "pipeline-32", "--rounds", "3", "--small", small, "--jpeg", jpeg, "--out", str(tmp_path)]
    )
    (row,) = json.loads((tmp_path / "throughput.json").read_text())["rows"]
    assert row["n"] == len(row["values"]) == 3
    assert row["min"] <= row["median"] <= row["max"]
    assert row["machine"]["torch"] == torch.__version__
    assert row["config"]["batch_size"] == 4
    assert row["commit"]
    assert row["command"].startswith("python ")


def test_limits_run(images: tuple[Path, Path]) -> None:
    small, jpeg = (str(folder) for folder in images)
    rows = {(row.group, row.name): row for row in script("limits").main(["--quick", "--small", small, "--jpeg", jpeg])}
    assert len(rows[("machine", "matrix product, bf16")].values) == 3, "one in each round of each workload"
    for work in ("resnet18-32", "resnet50-224", "narrow-32"):
        limit, step = rows[(work, "limit")].values[0], rows[(work, "step alone")].values[0]
        assert rows[(work, "step alone / limit")].values[0] == pytest.approx(step / limit)
        assert rows[(work, "an update needs")].values[0] > 0
        assert rows[(work, "time of an update: backward")].values[0] > 0
    assert ("resnet50-224", "time of an update: decode") in rows
    assert ("resnet18-32", "time of an update: decode") not in rows


def test_convolutions_run() -> None:
    layer, update = script("convolutions").main(["--quick", "--only", "narrow-32"])
    assert layer.name == "256 to 256 channels, 3 x 3, 2 x 2 outputs: oneDNN's time / products'"
    assert layer.config["used"] is True
    assert script("convolutions").uses_products((64, 64, 6, 3, 1)) is False
    assert layer.values[0] > 0
    assert update.values[0] > 0


@pytest.mark.slow
def test_steps_run() -> None:
    rows = {(row.group, row.name): row.values[0] for row in script("steps").main(["--quick", "--only", "resnet18-32"])}
    whole = rows[("resnet18-32", "both directions at once: memory")]
    share = rows[("resnet18-32", "byol: memory / both directions at once")]
    assert share == pytest.approx(rows[("resnet18-32", "byol: memory")] / whole)
    assert rows[("resnet18-32", "byol, recomputed: speed / both directions at once")] > 0


def test_evaluation_speed_runs(images: tuple[Path, Path]) -> None:
    small, jpeg = (str(folder) for folder in images)
    rows = script("evaluation_speed").main(["--quick", "--small", small, "--jpeg", jpeg])
    values = {(row.group, row.name): row.values[0] for row in rows}
    for work in ("resnet18-32", "resnet50-224", "narrow-32"):
        share = values[(work, "features")] / values[(work, "bare forward")]
        assert values[(work, "features / bare forward")] == pytest.approx(share)
    assert values[("classifiers", "20-NN")] > 0
    assert values[("classifiers", "45 penalties")] > 0


@pytest.mark.slow
def test_startup_is_measured_to_the_first_step(tmp_path: Path) -> None:
    (row,) = script("startup").main(["--rounds", "1", "--images", "40", "--out", str(tmp_path)])
    assert len(row.values) == 1, "the first start is not counted"
    assert 0.5 < row.values[0] < 120
    kept = json.loads((tmp_path / "startup.json").read_text())["rows"][0]
    assert (kept["goal"], kept["at_most"]) == (6.0, True)


def test_a_run_on_many_files_is_begun(tmp_path: Path) -> None:
    many = script("many_files")
    many.link_images(tmp_path / "files", tmp_path / "originals", 1100)
    files = sorted((tmp_path / "files").rglob("*.jpg"))
    assert (len(files), len({file.parent for file in files})) == (1100, 1000)
    assert {file.stat().st_nlink for file in files} == {18, 19}, "64 originals share 1100 names, and have their own"
    found = many.begin(str(tmp_path / "files"), str(tmp_path / "run"))
    assert set(found) == {"open, survey, plan", "labels, names, contents", "order, first batch", "memory"}
    assert all(0 < seconds < 120 for seconds in found.values() if seconds != found["memory"])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["images"] == 1100


def test_shards_run(images: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", "restored")
    small, jpeg = (str(folder) for folder in images)
    rows = {(row.group, row.name): row for row in script("shards").main(["--quick", "--small", small, "--jpeg", jpeg])}
    for work, usual, goal in (
        ("resnet18-32", "images in memory", 0.95),
        ("pipeline-224, read", "folder of files", 1.3),
        ("pipeline-224, two views", "folder of files", None),
    ):
        ratio = rows[(work, f"tar shards / {usual}")]
        assert ratio.values[0] == pytest.approx(rows[(work, "tar shards")].values[0] / rows[(work, usual)].values[0])
        assert ratio.goal == goal


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is empty"):
        script("startup").seconds_to_first_step(tmp_path / "empty", tmp_path / "run")


def test_two_processes_send_what_the_formula_says() -> None:
    rows = {row.name: row.values[0] for row in script("scaling").main(["--quick"])}
    assert rows["2 processes / twice 1 process"] == pytest.approx(rows["2 processes"] / rows["1 process"] / 2)
    for what in ("gradients", "batch norm", "batch norm's calls"):
        assert rows[f"{what} of an update, counted"] == rows[f"{what} of an update, by formula"] > 0


def test_the_paper_table_is_what_the_command_writes(tmp_path: Path) -> None:
    model = script("scaling_model")
    model.main(["--out", str(tmp_path)])
    assert (tmp_path / "scaling-model.txt").read_text() == (model.RESULTS / "scaling-model.txt").read_text()


def test_what_a_command_says_is_kept_unless_it_fails(tmp_path: Path) -> None:
    said = script("said")
    assert said.main(["--out", str(tmp_path), "version", "--version"]) == 0
    assert (tmp_path / "version.txt").read_text().startswith("$ byol --version\nbyol ")
    assert said.main(["--out", str(tmp_path), "wrong", "pretain"]) == 2
    assert not (tmp_path / "wrong.txt").exists()


def test_a_contestant_answers(images: tuple[Path, Path]) -> None:
    """The process that measures, its questions and answers; our side needs no peer."""
    options = argparse.Namespace(small=str(images[0]), jpeg=str(images[1]), workers=1, quick=True)
    contestant = script("peers").Contestant("narrow-32", "byol", options)
    try:
        assert contestant.measure() > 0
        assert contestant.measure() > 0
        assert 100 < contestant.peak < 8000, "megabytes of a process that has loaded PyTorch"
    finally:
        contestant.close()
    assert contestant.process.returncode == 0


def test_peers_run(images: tuple[Path, Path]) -> None:
    pytest.importorskip("lightly", reason="needs the extra `bench`")
    small, jpeg = (str(folder) for folder in images)
    rows = script("peers").main(
        ["--quick", "--only", "pipeline-32", "--workers", "1", "--small", small, "--jpeg", jpeg]
    )
    assert [row.name for row in rows] == ["byol", "lightly", "byol / lightly"]
    assert rows[2].values[0] == pytest.approx(rows[0].values[0] / rows[1].values[0])


def test_rounds_go_in_turn() -> None:
    order: list[str] = []
    values = script("results_file").in_rounds(
        {name: lambda n=name: order.append(n) or float(len(order)) for name in "abc"}, 2
    )
    assert order == list("abcabc")
    assert values == {"a": [1.0, 4.0], "b": [2.0, 5.0], "c": [3.0, 6.0]}


def test_groups_measured_again_replace_themselves_only(tmp_path: Path) -> None:
    results = script("results_file")
    results.write("x", [results.Row("a", "n", "images/s", [1.0]), results.Row("b", "n", "images/s", [2.0])], tmp_path)
    results.write("x", [results.Row("b", "n", "images/s", [3.0, 5.0, 9.0])], tmp_path)
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert [(row["group"], row["median"]) for row in rows] == [("a", 1.0), ("b", 5.0)]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_tables_round_trip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, tables = script("results_file"), script("tables")
    folder = tmp_path / "results"
    speed = results.Row("resnet18-32", "together", "images/s", [1234.5, 1200.0, 1300.0])
    share = results.Row("resnet18-32", "together / step alone", "ratio", [0.961, 0.94, 0.97], goal=0.95)
    results.write("throughput", [speed, share, results.Row("other", "alone", "images/s", [7.0])], folder)
    readme = tmp_path / "README.md"
    marked = "<!-- results:throughput/resnet18-32 -->\n{}<!-- /results:throughput/resnet18-32 -->\n"
    readme.write_text("before\n" + marked.format("old\n") + "after\n")

    assert tables.main(["--check"], tmp_path, folder) == 1
    assert "README.md" in capsys.readouterr().err
    assert tables.main([], tmp_path, folder) == 0
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "1,234 images/s | 1,200 to 1,300 | 3 |" in text
    assert "0.961 | 0.940 to 0.970 | 3 | 0.95 met |" in text
    assert "other" not in text
    assert tables.main(["--check"], tmp_path, folder) == 0
    assert "0.961" in tables.render("goals", folder)
    assert "1,234" not in tables.render("goals", folder)

    results.write("throughput", [results.Row("resnet18-32", "together", "images/s", [99.0])], folder)
    assert tables.main(["--check"], tmp_path, folder) == 1
    assert readme.read_text() == text


def test_a_grid_has_a_place_for_every_pair(tmp_path: Path) -> None:
    results, tables = script("results_file"), script("tables")
    values = {"wide: byol": 0.5, "wide: simclr": 0.25, "narrow: simclr": 0.125}
    results.write("chosen", [results.Row(group, "linear", "accuracy", [v]) for group, v in values.items()], tmp_path)
    text = tables.fill("<!-- grid:chosen -->\n<!-- /grid:chosen -->\n", tmp_path)
    lines = text.splitlines()
    assert lines[2] == "|  | `byol` | `simclr` |"
    assert lines[4:6] == ["| `wide` | 50.0 % | 25.0 % |", "| `narrow` |  | 12.5 % |"]
    assert tables.fill(text, tmp_path) == text


def test_goals_may_be_a_most(tmp_path: Path) -> None:
    results, tables = script("results_file"), script("tables")
    row = results.Row("startup", "first step", "s", [5.0], goal=6.0, at_most=True)
    slow = results.Row("startup", "slow step", "s", [7.0], goal=6.0, at_most=True)
    assert row.met
    assert not slow.met
    assert results.Row("x", "n", "ratio", [1.0]).met
    results.write("startup", [row, slow], tmp_path)
    text = tables.render("startup", tmp_path)
    assert "5.0 s | 5.0 to 5.0 | 1 | at most 6 met |" in text
    assert "7.0 s | 7.0 to 7.0 | 1 | at most 6 missed |" in text
    assert "first step" in tables.render("goals", tmp_path)


def test_tables_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "<!-- results:nothing -->\nas it was\n<!-- /results:nothing -->\n"
    (tmp_path / "README.md").write_text(text)
    assert script("tables").main(["--check"], tmp_path, tmp_path) == 0
    assert "no results yet" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == text


def test_tables_in_the_documents_are_not_stale() -> None:
    assert script("tables").main(["--check"]) == 0


def test_the_quality_of_the_demo_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quality = script("quality")
    few = partial(embedded_photos, per_photo=20)
    monkeypatch.setattr(quality.demonstration, "embedded_photos", few)

    def short(data: str, **settings: Any) -> object:
        return pretrain(few("train"), quiet=True, **{**settings, "epochs": 0.1})

    monkeypatch.setattr(quality, "pretrain", short)
    rows = {row.name: row for row in quality.measure_demo(tmp_path, [0])}
    assert rows["untrained, 5 labels each"].values[0] > 2 / 17
    gain = rows["trained minus untrained, 5 labels each"].values[0]
    assert gain == rows["trained, 5 labels each"].values[0] - rows["untrained, 5 labels each"].values[0]


def test_what_going_on_from_weights_gains_is_of_the_encoder_that_is_kept() -> None:
    def line(seed: int, readings: list[list[float]], continued: float) -> dict[str, Any]:
        both = {row: {"knn": 0.4, "shots": 0.3} for row in ("untrained", "scratch")}
        return both | {
            "set": "a set",
            "start": "own",
            "seed": seed,
            "settings": {},
            **{"updates": 100, "image_size": 72, "whole": 96, "queries": 2500, "scratch updates": 1000},
            "as it was": {"knn": 0.5, "shots": 0.4},
            "continued": {"knn": continued, "shots": 0.5},
            "readings": readings,
            "scratch readings": [[0, 0.2], [1000, 0.55]],
        }

    better = line(0, [[0, 0.5], [20, 0.54], [40, 0.56], [100, 0.6]], 0.58)
    worse = line(1, [[0, 0.6], [20, 0.5], [100, 0.52]], 0.45)
    other = line(2, [[0, 0.6], [100, 0.9]], 0.9) | {"settings": {"adapt__lr": 1.0}}
    lines = [better, worse, other]
    grid = {row.group: row.values for row in script("continued").rows_of(lines)}
    place = "a set, from a run of our own"
    assert grid[f"{place}, 20-NN: continued"] == [0.58, 0.45], "runs with other settings are no part of it"
    assert grid[f"{place}, 20-NN: kept"] == [0.58, 0.5], "a start that reads better is kept"
    rows = {(row.group, row.name): row.values for row in script("continued").goals_of(lines)}
    assert rows[place, "20-NN: kept minus as it was"] == pytest.approx([0.08, 0])
    assert rows[place, "10-shot: kept minus as it was"] == pytest.approx([0.1, 0])
    assert rows[place, "the same, in standard errors"] == [0]
    assert rows[place, "updates until scratch's end is passed, of scratch's"] == [0.04, 0]
    assert rows["all", "kept minus as it was: the best set"] == pytest.approx([0.05])


def test_minutes_are_measured_once_and_gathered_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = script("minutes")
    asked = []

    def ours(recipe: str, length: float, seed: int, images: object) -> dict[str, float]:
        asked.append((recipe, length, seed))
        return {"minutes": length, "took": length, "core_minutes": 2 * length, "accuracy": 0.5 + seed / 10}

    monkeypatch.setattr(minutes, "run_ours", ours)
    monkeypatch.setattr(minutes, "open_images", lambda count: None)
    name = "byol, simclr recipe"
    flags = ["--only", name, "--out", str(tmp_path), "--minutes", "2", "5", "--seeds"]
    minutes.main([*flags, "0"])
    rows = minutes.main([*flags, "0", "1"])
    assert asked == [("cifar10-cpu-simclr", length, seed) for seed in (0, 1) for length in (2.0, 5.0)]
    assert {row.name: row.values for row in rows} == {
        "20-NN accuracy, 2 minutes": [0.5, 0.6],
        "core minutes of 2": [4.0, 4.0],
        "20-NN accuracy, 5 minutes": [0.5, 0.6],
        "core minutes of 5": [10.0, 10.0],
    }


def test_a_peer_is_read_along_one_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes, methods = script("minutes"), script("lightly_methods")
    rates: list[float] = []

    class Plain(methods.LightlyMethod):  # type: ignore[name-defined,misc]
        def transform(self) -> Any:
            return lambda image: [torch.full((3, 8, 8), float(image.getpixel((0, 0))[0])) for _ in range(2)]

        def loss(self, views: list[torch.Tensor]) -> torch.Tensor:
            return self.backbone(views[0]).sum()

        def optimizer(self) -> torch.optim.Optimizer:
            optimizer = super().optimizer()
            optimizer.register_step_pre_hook(lambda of, *_: rates.append(of.param_groups[0]["lr"]))
            return optimizer

    clock = iter(range(100))
    source = minutes.TensorSource(torch.zeros(8, 3, 8, 8, dtype=torch.uint8), [0, 1] * 4)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    monkeypatch.setitem(minutes.METHODS, "plain", lambda backbone, features: Plain(backbone))
    monkeypatch.setattr(minutes, "backbone_of", lambda name: (net, 2))
    monkeypatch.setattr(minutes, "reader", lambda images, backbone: lambda: float(len(rates)))
    monkeypatch.setattr(minutes, "BATCH_SIZE", 4)
    monkeypatch.setattr(minutes.machine, "cores", lambda: 0)
    monkeypatch.setattr(minutes.time, "perf_counter", lambda: 30.0 * next(clock))
    lines = minutes.run_peer("plain", "narrow", [2.0, 1.0], 0, minutes.Images(source, source, ("", "")))
    assert [(line["minutes"], line["accuracy"], line["images"]) for line in lines] == [(1.0, 2.0, 8), (2.0, 4.0, 16)]
    assert rates == pytest.approx([0.06 * (1 + math.cos(math.pi * part)) / 2 for part in (0, 0.25, 0.5, 0.75)])
