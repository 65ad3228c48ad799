"""The runner: what is run, what is kept, what is not run again, and what happens to a call that was cut short."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from byol.config.values import replace
from byol.data.sources.digest import digest
from byol.data.transform import Transform
from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.semi import SemiConfig
from byol.paper import evaluation, runner
from byol.paper.cells import Cell, Table
from byol.paper.data import Data, open_data
from byol.paper.results import append_line, read_lines
from byol.paper.runner import Paths, RunOptions, RunSummary, run
from byol.paper.scales import Scale, cpu, with_everything
from byol.pretraining.callbacks import Callbacks
from byol.pretraining.verdict import Word
from conftest import TINY
from evals_data import colored

FIGURES = ("knn", "linear", "l2", "loss", "health", "verdict", "updates")


def tiny_scale(**changes: Any) -> Scale:
    config = replace(cpu().config, **{**TINY, "epochs": 1, "logging__stop_on_collapse": False, **changes})
    return Scale(
        name="tiny",
        what="a test",
        config=config,
        images=None,
        everything=with_everything(config.augment, config.image_size),
        encoders={},
        images_per_second=1000,
        train_images=96,
        evaluation_seconds=1,
        penalties=(0.01, 1.0),
        semi=SemiConfig(shares=(0.1, 0.5), lrs=(0.1,), epochs=(1,), baseline=False),
    )


def taus(scale: Scale) -> list[Cell]:
    return [Cell(name=f"tau-{tau:g}", row=f"tau {tau:g}", changes={"method__tau": tau}) for tau in (0.99, 0.5)]


def rates(scale: Scale) -> list[Cell]:
    return [Cell(name="x1", row="x 1"), Cell(name="bad", row="bad", changes={"batch_size": 512})]


TAUS = Table(name="taus", title="Taus", source="none", claims=(), cells=taus)
RATES = Table(name="rates", title="Rates", source="none", claims=(), cells=rates)


@pytest.fixture(scope="module")
def data() -> Data:
    train, test = colored(32, seed=1), colored(10, seed=2)
    return Data(train, test, digest([train.fingerprint(), test.fingerprint()]))


Go = Callable[..., tuple[RunSummary, list[str]]]


@pytest.fixture
def go(tmp_path: Path, data: Data) -> Go:
    """Run tables in a folder of the test's own; the summary, and what was said."""

    def start(
        *tables: Table, scale: Scale | None = None, images: Data = data, **options: Any
    ) -> tuple[RunSummary, list[str]]:
        said: list[str] = []
        paths = Paths(train="", test="", results=tmp_path / "results", runs=tmp_path / "runs")
        summary = run(tables, scale or tiny_scale(), paths, RunOptions(**options), data=images, say=said.append)
        return summary, said

    return start


def lines(folder: Path, table: str = "taus") -> list[dict[str, Any]]:
    return read_lines(folder / "results" / f"{table}-tiny.jsonl").found


def test_a_cell_is_trained_evaluated_and_kept_with_all_that_makes_it_again(go: Go, tmp_path: Path) -> None:
    summary, said = go(TAUS, seeds=2)
    assert (summary.measured, summary.failed, summary.interrupted) == (4, [], False)
    found = lines(tmp_path)
    assert [(line["cell"], line["seed"]) for line in found] == [
        ("tau-0.99", 0),
        ("tau-0.5", 0),
        ("tau-0.99", 1),
        ("tau-0.5", 1),
    ]
    line = found[1]
    assert line["config"]["method"]["tau"] == 0.5
    assert line["config"]["device"] == "cpu"
    assert line["updates"] == 6
    assert 0.3 < line["linear"] <= 1
    assert 0.3 < line["knn"] <= 1
    assert line["l2"] in (0.01, 1.0)
    assert line["semi"] is None
    assert line["health"]["chance"] == pytest.approx(1 / 96)
    assert line["verdict"] in get_args(Word)
    assert line["images_per_second"] > 0
    assert line["seconds"]["training"] > 0
    assert line["machine"]["torch"] == torch.__version__
    assert line["data"]["images"] == 96
    assert line["data"]["test_images"] == 30
    assert not list((tmp_path / "runs" / "tiny").iterdir()), "folders of cells that are done go"
    assert "0 of 4 trainings are done; 4 to run" in said


def test_what_is_done_is_not_run_again(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(TAUS)
    before = (tmp_path / "results" / "taus-tiny.jsonl").read_bytes()
    monkeypatch.setattr(runner, "measure", lambda *_, **__: pytest.fail("nothing is left to run"))
    summary, said = go(TAUS)
    assert summary.measured == 0
    assert said == ["2 of 2 trainings are done; 0 to run"]
    assert (tmp_path / "results" / "taus-tiny.jsonl").read_bytes() == before


def test_other_settings_other_images_and_other_evaluations_make_results_stale(go: Go, tmp_path: Path) -> None:
    only = {"only": ("tau-0.5",)}
    go(TAUS, **only)
    slower = tiny_scale(optim__lr=1e-3)
    summary, said = go(TAUS, scale=slower, **only)
    assert summary.measured == 1
    assert "1 line is of other settings" in said[0]
    assert go(TAUS, scale=slower, **only)[0].measured == 0
    assert go(TAUS, **only)[0].measured == 0, "the first line still fits the first scale"

    watched = tiny_scale(logging__health_every=3, data__workers=1)
    assert go(TAUS, scale=watched, **only)[0].measured == 0, "how a run is watched changes no result"
    finer = dataclasses.replace(tiny_scale(), penalties=(0.1,))
    assert go(TAUS, scale=finer, **only)[0].measured == 1
    train, test = colored(32, seed=5), colored(10, seed=6)
    assert go(TAUS, images=Data(train, test, "other"), **only)[0].measured == 1
    assert len(lines(tmp_path)) == 4


def test_settings_that_came_later_do_not_make_old_results_stale(go: Go, tmp_path: Path) -> None:
    go(TAUS, only=("tau-0.5",))
    path = tmp_path / "results" / "taus-tiny.jsonl"
    line = json.loads(path.read_text())
    del line["config"]["optim"]["clip"]
    path.write_text(json.dumps(line) + "\n")
    assert go(TAUS, only=("tau-0.5",))[0].measured == 0
    line["config"]["optim"]["gone"] = 1
    path.write_text(json.dumps(line) + "\n")
    assert go(TAUS, only=("tau-0.5",))[0].measured == 1


def test_a_corrupt_line_is_reported_and_its_cell_run_again(go: Go, tmp_path: Path) -> None:
    go(TAUS)
    path = tmp_path / "results" / "taus-tiny.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:200])  # torn: the process was killed while it wrote
    summary, said = go(TAUS)
    assert summary.measured == 1
    assert "line 2 cannot be read and is skipped" in said[0]
    assert "1 of 2 trainings are done" in said[1]
    after = path.read_bytes().splitlines()
    assert after[1] == second[:200], "nothing that was there is touched"
    assert {line["cell"]: line["linear"] for line in lines(tmp_path)} == {
        json.loads(text)["cell"]: json.loads(text)["linear"] for text in (first, second)
    }, "and the same comes out"


LINE = {
    "cell": "tau-0.5",
    "seed": 0,
    "config": {},
    "evaluation": {},
    "data": {"images": 1, "test_images": 1, "classes": 2, "fingerprint": "d"},
    "knn": 0.5,
    "linear": None,
    "semi": None,
    "verdict": "healthy",
    "seconds": {"training": 1.0},
    "machine": dict.fromkeys(("cpu", "gpu", "cores", "threads", "torch", "byol", "date")),
}
WITHOUT_SECONDS = json.dumps({key: value for key, value in LINE.items() if key != "seconds"})
WITH_NULL = json.dumps({**LINE, "evaluation": None})


def test_a_line_with_all_that_is_read_of_one_is_whole(tmp_path: Path) -> None:
    append_line(tmp_path / "x.jsonl", LINE)
    assert read_lines(tmp_path / "x.jsonl").found == [LINE]


@pytest.mark.parametrize(
    "text", ["{}", "[1, 2]", "null", WITHOUT_SECONDS, WITH_NULL, '{"cell": "tau-0.5"}', "\xff\xfe", "{'cell': 1}"]
)
def test_whatever_stands_in_a_results_file_is_passed_over(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text.encode("latin-1") + b"\n\n")
    found = read_lines(path)
    assert (found.found, found.corrupt) == ([], [1])
    append_line(path, {"a": 1})
    assert path.read_bytes().splitlines()[-1] == b'{"a": 1}'


def test_a_training_that_another_table_has_is_not_run_again(go: Go, tmp_path: Path) -> None:
    go(TAUS)
    summary, said = go(RATES, only=("x1",))
    assert summary.measured == 0
    (borrowed,) = lines(tmp_path, "rates")
    assert (borrowed["table"], borrowed["cell"]) == ("rates", "x1")
    own = next(line for line in lines(tmp_path) if line["cell"] == "tau-0.99")
    assert {**borrowed, "table": "taus", "cell": "tau-0.99"} == own
    assert said == ["1 of 1 trainings are done; 0 to run"]


def test_a_cell_that_cannot_be_run_does_not_stop_the_others(go: Go, tmp_path: Path) -> None:
    summary, _ = go(RATES, TAUS, only=("bad", "tau-0.5"))
    assert summary.measured == 1
    (sentence,) = summary.failed
    assert sentence.startswith("rates-bad-seed-0: ")
    assert "fewer than one batch of 512" in sentence
    assert [line["cell"] for line in lines(tmp_path)] == ["tau-0.5"]


def test_a_cell_that_was_interrupted_goes_on_and_comes_out_the_same(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(TAUS, only=("tau-0.5",))
    (whole,) = lines(tmp_path)
    (tmp_path / "results" / "taus-tiny.jsonl").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Callbacks, "__call__", lambda self, *of_step: self.state.step < 3)
        summary, _ = go(TAUS)
        assert summary.interrupted
        assert summary.measured == 0
    (folder,) = [path for path in (tmp_path / "runs" / "tiny").iterdir() if path.is_dir()]
    assert [path.name for path in (folder / "checkpoints").glob("*.json")] == ["step-000000003.json"]
    folder.rename(folder.with_name("taus-tau-0.5-seed-0"))  # of another tau: it must not be gone on with
    assert go(TAUS, only=("tau-0.5",))[0].measured == 1
    (again,) = lines(tmp_path)
    assert {key: again[key] for key in FIGURES} == {key: whole[key] for key in FIGURES}

    with monkeypatch.context() as patched:
        patched.setattr(Callbacks, "__call__", lambda self, *of_step: self.state.step < 3)
        go(TAUS, seeds=2, only=("tau-0.5",))
    started = [path.name for path in (tmp_path / "runs/tiny/taus-tau-0.5-seed-1/checkpoints").glob("*.json")]
    assert started == ["step-000000003.json"]
    go(TAUS, seeds=2, only=("tau-0.5",))
    resumed = lines(tmp_path)[1]
    (tmp_path / "results" / "taus-tiny.jsonl").unlink()
    go(TAUS, seeds=2, only=("tau-0.5",))
    straight = lines(tmp_path)[1]
    assert {key: resumed[key] for key in FIGURES} == {key: straight[key] for key in FIGURES}


def test_a_folder_is_for_one_process_at_a_time(go: Go, tmp_path: Path) -> None:
    from byol.paper.results import alone

    with alone(tmp_path / "runs" / "tiny" / "taus-tau-0.5-seed-0"):
        summary, _ = go(TAUS, only=("tau-0.5",))
    assert "in use by another process" in summary.failed[0]


@pytest.mark.parametrize("method", ["supervised", "simclr", "infonce", "moco"])
def test_other_methods_are_measured_alike(method: str, go: Go, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"method": method, **({"method__queue": 64} if method == "moco" else {})}
    table = dataclasses.replace(
        TAUS, cells=lambda scale: [Cell(name=method, row=method, changes=changes), *taus(scale)]
    )
    summary, _ = go(table, only=(method,))
    assert summary.failed == []
    (line,) = lines(tmp_path)
    assert line["config"]["method"]["name"] == method
    assert line["updates"] == 6
    assert line["verdict"] != "untrained"


def test_an_untrained_encoder_is_measured_alike(go: Go, tmp_path: Path) -> None:
    table = dataclasses.replace(TAUS, cells=lambda scale: [Cell(name="random", row="", changes={"epochs": 0.0})])
    assert go(table)[0].failed == []
    (line,) = lines(tmp_path)
    assert (line["updates"], line["verdict"]) == (0, "untrained")


def test_few_labels(go: Go, tmp_path: Path) -> None:
    fine_tuned = Cell(name="tau-0.5", row="tau 0.5", changes={"method__tau": 0.5}, metric="semi_10%")
    table = Table(name="few", title="", source="", claims=(), cells=lambda scale: [fine_tuned])
    go(TAUS, only=("tau-0.5",))
    summary, _ = go(table, only=("tau-0.5",))
    assert summary.measured == 1, "a line without fine-tuning is not enough"
    (line,) = lines(tmp_path, "few")
    assert set(line["semi"]) == {"10%", "50%"}
    assert all(0 <= share <= 1 for share in line["semi"].values())


def test_every_stage_and_few_labels_are_measured_where_a_table_asks_for_them(go: Go, tmp_path: Path) -> None:
    staged = Cell(name="tau-0.5", row="tau 0.5", changes={"method__tau": 0.5}, layers=True)
    table = Table(name="staged", title="", source="", claims=(), cells=lambda scale: [staged])
    go(TAUS, only=("tau-0.5",))
    assert "few" not in lines(tmp_path)[0]
    assert go(table)[0].measured == 1, "a line without them is not enough"
    (line,) = lines(tmp_path, "staged")
    assert list(line["layers"]) == ["act1", "layer1", "layer2", "layer3", "layer4"]
    assert line["layer"] in line["layers"]
    assert all(0 < share <= 1 for share in (line["few"], *line["layers"].values()))
    assert line["evaluation"]["few"] == 10
    assert line["semi"] is None
    assert go(table)[0].measured == 0
    assert go(TAUS)[0].measured == 1, "the other row alone: what has more serves who asks for less"
    nothing = evaluation.evaluate(opened(Broken()), table_data(), tiny_scale(), frozenset({"layers"}), threads=1)
    assert [nothing[key] for key in ("few", "layers", "layer")] == [None] * 3


def table_data() -> Data:
    return Data(colored(12, seed=1), colored(10, seed=2), "")


def opened(module: nn.Module) -> LoadedEncoder:
    transform = Transform(image_size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    return LoadedEncoder(module.eval(), transform, "fake", "0" * 16, None)


class Means(nn.Module):
    """The mean of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class Broken(nn.Module):
    """What a diverged encoder says."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 4), float("nan"))


class Constant(nn.Module):
    """What a collapsed encoder says."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), 4)


def test_linear_is_scikit_learns_optimum_at_the_chosen_penalty(data: Data) -> None:
    encoder = opened(Means())
    scale = dataclasses.replace(tiny_scale(), penalties=(0.1, 10.0))
    found = evaluation.evaluate(encoder, data, scale, threads=1)
    (x, y), (x_test, y_test) = (
        (Means()(encoder.transform.normalize(source.images)).numpy(), source.labels)
        for source in (data.train, data.test)
    )
    fitted = LogisticRegression(C=1 / found["l2"], max_iter=1000).fit(x, y)
    assert found["linear"] == pytest.approx(fitted.score(x_test, y_test))
    assert found["knn"] == 1.0, "colors are far apart"


def test_a_collapsed_and_a_diverged_encoder_are_measured_too(data: Data) -> None:
    same = evaluation.evaluate(opened(Constant()), data, tiny_scale(), threads=1)
    assert same["linear"] == pytest.approx(1 / 3), "one class of three"
    assert same["knn"] == pytest.approx(1 / 3)
    nothing = evaluation.evaluate(opened(Broken()), data, tiny_scale(), frozenset({"semi"}), threads=1)
    assert nothing == {"knn": None, "linear": None, "l2": None, "semi": None}


def test_data_must_be_enough_and_labeled(class_folder: Path, image_folder: Path) -> None:
    both = open_data(class_folder, class_folder, 120)
    assert (len(both.train), len(both.test)) == (120, 160)
    assert both.fingerprint != open_data(class_folder, class_folder, 119).fingerprint
    with pytest.raises(UserError, match="160 images, but this scale trains on 200; give --images"):
        open_data(class_folder, class_folder, 200)
    with pytest.raises(UserError, match="no labels"):
        open_data(image_folder, class_folder, None)


def test_torchruns_processes_take_a_part_each(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in (1, 0):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        summary, said = go(TAUS)
        assert (summary.measured, summary.failed) == (1, [])
        assert said[0] == "0 of 1 trainings are done; 1 to run"
        assert "RANK" not in os.environ, "it trains alone"
    assert [line["cell"] for line in lines(tmp_path)] == ["tau-0.5", "tau-0.99"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    summary, said = go(TAUS, seeds=2, part="2/2")
    assert said[0] == "0 of 1 trainings are done; 1 to run", "of the second part the second"
    assert [(line["cell"], line["seed"]) for line in lines(tmp_path)][2:] == [("tau-0.5", 1)]


@pytest.mark.slow
def test_parallel_runs_give_what_sequential_ones_give(class_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    scale, figures = tiny_scale(), []
    for kind in ("red", "blue"):  # the second half of each is asked about
        (tmp_path / "test" / kind).mkdir(parents=True)
        (tmp_path / "train" / kind).mkdir(parents=True)
        for number, file in enumerate(sorted((class_folder / kind).iterdir())):
            shutil.copy(file, tmp_path / ("test" if number >= 40 else "train") / kind)
    parts = {part: str(tmp_path / part) for part in ("train", "test")}
    for name, processes in (("one", 1), ("two", 2)):
        paths = Paths(**parts, results=tmp_path / name, runs=tmp_path / f"{name}-runs")
        summary = run([TAUS], scale, paths, RunOptions(processes=processes), say=said.append)
        assert (summary.measured, summary.failed) == (2, [])
        found = read_lines(tmp_path / name / "taus-tiny.jsonl").found
        names = ("linear", "knn")
        figures.append({(line["cell"], name): line[name] for line in found for name in names})
        assert {line["cell"]: line["config"]["method"]["tau"] for line in found} == {"tau-0.99": 0.99, "tau-0.5": 0.5}
    assert figures[0] == pytest.approx(figures[1], abs=0.05)  # threads sum in another order
