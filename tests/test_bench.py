"""`byol bench`: its figures, its advice, its words and its file."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from byol.bench.advice import Findings, advise
from byol.bench.ceilings import Ceilings
from byol.bench.limits import Limit, Work, limit_of
from byol.bench.measure import Subject, batches_in
from byol.bench.profile import PARTS, Profile
from byol.bench.run import Report, _prepared, bench
from byol.bench.synthetic import COUNT, HEIGHT, WIDTH, SyntheticPhotos
from byol.bench.words import words
from byol.cli.main import main
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.loader import Loader, Storage
from byol.data.sources.embedded import embedded_photos
from byol.data.sources.files import FolderSource
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.pretraining.run import Request, plan_for, prepared_run
from byol.pretraining.setup import monitor_for, pipeline_of
from byol.runtime import device as machine
from conftest import TINY, flags

SETTINGS = {k: v for k, v in TINY.items() if not k.startswith("logging__")} | {"batch_size": 8}
del SETTINGS["epochs"]
QUICK: dict[str, Any] = {**SETTINGS, "recipe": "cifar10-cpu", "seconds": 0.2, "tiny": True}


def findings(**changes: Any) -> Findings:
    """A processor in bf16 whose step reaches two thirds of a limit of 150 images/s, set by its products."""
    values: dict[str, Any] = {
        "device": "cpu",
        "precision": "bf16",
        "threads": 2,
        "cores": 2,
        "pipeline": 1000.0,
        "step": 100.0,
        "together": 98.0,
        "started": 1.0,
        "ceilings": Ceilings(bf16=300e9, float32=100e9, bandwidth=20e9),
        "limit": Limit({"all": Work(flops=200 * 10**9, bytes=10**9)}, images=100, precision="bf16"),
        "profile": Profile({**dict.fromkeys(PARTS, 0.01), "backward": 0.5, "color": 0.02}, {}, 100),
    }
    return Findings(**{**values, **changes})


def seconds(**parts: float) -> Profile:
    return Profile({**dict.fromkeys(PARTS, 0.01), **parts}, {}, 100)


BY_MEMORY = Limit({"all": Work(flops=10**9, bytes=10 * 10**9)}, images=100, precision="bf16")
SHORT = Limit({"all": Work(flops=10**9, bytes=10**7)}, images=100, precision="bf16")

ADVICE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "products": ({}, ["matrix products", "67%", "backward"]),
    "forward": ({"profile": seconds(**{"online forward": 0.6})}, ["most of its time in the online forward"]),
    "memory": ({"limit": BY_MEMORY}, ["memory bandwidth", "50%"]),
    "threads": ({"threads": 1}, ["Few threads", "1 of 2 cores", "OMP_NUM_THREADS"]),
    "threads go first": ({"threads": 1, "precision": "float32", "together": 50.0}, ["Few threads"]),
    "float32": ({"precision": "float32"}, ["float32", "3.0 times as fast", "--precision bf16"]),
    "float32 goes before the pipeline": ({"precision": "float32", "together": 50.0}, ["--precision bf16"]),
    "float32 where bf16 gains nothing": (
        {"precision": "float32", "ceilings": Ceilings(110e9, 100e9, 20e9)},
        ["matrix products"],
    ),
    "decoding": ({"together": 60.0, "profile": seconds(decode=0.4)}, ["Decoding", "60%", "--data.memory always"]),
    "decoding beside a GPU": (
        {
            "device": "cuda",
            "together": 60.0,
            "profile": Profile(
                seconds(color=0.1, **{"waiting for images": 0.2}).seconds, {"decode": 0.4, "crop": 0.2}, 100
            ),
        },
        ["Decoding"],
    ),
    "cropping beside a GPU": (
        {
            "device": "cuda",
            "together": 60.0,
            "profile": Profile(seconds(**{"waiting for images": 0.2}).seconds, {"decode": 0.2, "crop": 0.4}, 100),
        },
        ["Cropping"],
    ),
    "only crops beside a GPU": (
        {
            "device": "cuda",
            "together": 60.0,
            "profile": Profile(seconds(**{"waiting for images": 0.2}).seconds, {"crop": 0.4}, 100),
        },
        ["Augmentation"],
    ),
    "color on a GPU that waits for no images, however long sixteen threads decode": (
        {
            "device": "cuda",
            "together": 60.0,
            "profile": Profile(seconds(color=0.1).seconds, {"decode": 0.4, "crop": 0.2}, 100),
        },
        ["Augmentation", "110 ms", "which trains another thing) help."],
    ),
    "cropping": ({"together": 60.0, "profile": seconds(crop=0.4)}, ["Cropping", "60%"]),
    "augmentation": ({"together": 60.0, "profile": seconds(color=0.4)}, ["Augmentation", "60%", "410 ms"]),
    "pipeline that just keeps up": ({"together": 95.1}, ["matrix products"]),
    "small batch on a GPU": ({"device": "cuda", "limit": SHORT}, ["Small batch", "100 images", "3.3 ms", "1000.0 ms"]),
    "small batch on a processor": ({"limit": SHORT}, ["matrix products"]),
    "short steps that keep a GPU busy": ({"device": "cuda", "limit": SHORT, "started": 0.5}, ["matrix products"]),
    "large batch on a GPU": ({"device": "cuda"}, ["matrix products"]),
    "a GPU's cores do not count as threads": ({"device": "cuda", "threads": 1}, ["matrix products"]),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice_follows_from_the_numbers(case: str) -> None:
    changes, wanted = ADVICE[case]
    said = advise(findings(**changes))
    for word in wanted:
        assert word in said
    assert said.endswith(".")
    assert "\n" not in said


def test_shares_are_of_the_limit() -> None:
    assert findings().share == pytest.approx(100 / 150)


@pytest.fixture(scope="module")
def report() -> Report:
    return bench(**QUICK)


def test_a_report_holds_what_was_measured(report: Report) -> None:
    assert report.config.image_size == 16
    assert report.config.method.hidden == 32
    assert report.config.optim.name == "adamw", "the recipe's"
    assert report.data.startswith("photos:train: 10200 images")
    assert report.held
    assert report.images == 10200, "readings are of other photographs"
    assert report.limit == limit_of(report.config, TrainingSet(report.images))
    assert {name: len(values) for name, values in report.rates.items()} == {"pipeline": 3, "step": 3, "together": 3}
    assert all(value > 0 for values in report.rates.values() for value in values)
    assert report.findings.threads == torch.get_num_threads()
    values = json.loads(json.dumps(report.as_json()))
    assert values["limit"]["flops"] == report.limit.total.flops
    assert values["step_share_of_limit"] == report.findings.share
    assert values["images_per_second"]["step"]["median"] == sorted(report.rates["step"])[1]
    assert set(values["seconds_per_update"]["parts"]) == set(PARTS)
    assert values["machine"]["torch"] == torch.__version__
    assert values["advice"] == report.advice


def test_words_say_what_the_report_holds(report: Report) -> None:
    text = "\n".join(words(report))
    for word in ("GFLOP/s in bf16", "GB/s", "pipeline alone", "step alone", "both, as a run", "% of the limit"):
        assert word in text
    for part in set(PARTS) - {"decode"}:
        assert f"  {part} " in text
    assert "decode " not in text, "images in memory are not decoded"
    assert text.endswith(report.advice)


def test_the_command_prints_and_writes(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol.bench.run.measure_ceilings", lambda *_: Ceilings(3e11, 1e11, 2e10))
    out = tmp_path / "new" / "bench.json"
    arguments = ["bench", str(image_folder), "--recipe", "cifar10-cpu", *flags(SETTINGS), "--data.memory", "never"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--seconds", "0.2", "--json", str(out)])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "64 images, 36 x 40 px" in said
    assert "decoded anew for each step" in said
    assert "matrix products 300 GFLOP/s in bf16 and 100 in float32; copies 20.0 GB/s" in said
    record = json.loads(out.read_text())
    assert record["ceilings"] == {"bf16": 3e11, "float32": 1e11, "bandwidth": 2e10}
    assert record["config"]["batch_size"] == 8
    assert record["seconds_per_update"]["parts"]["decode"] > 0
    assert record["command"].startswith("byol bench ")
    assert record["advice"] in said


@pytest.mark.parametrize(
    ("arguments", "words_"),
    [
        (["nowhere"], ["'nowhere' is not there"]),
        (["--recipe", "papers"], ["no recipe 'papers'"]),
        (["--seconds", "0"], ["--seconds above 0"]),
        (["--batch-size", "100000"], ["fewer than one batch of 100000"]),
        (["--encoder", "resnet19"], ["no encoder 'resnet19'"]),
    ],
)
def test_wrong_commands_get_one_sentence(
    arguments: list[str], words_: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("byol: ")
    assert errors.count("\n") == 1
    for word in words_:
        assert word in errors


def test_large_views_without_data_are_of_photographs_made_up() -> None:
    asked = {"image_size": 96, "batch_size": 4, "encoder": "resnet18", "epochs": 1.0}
    run, seen = _prepared(None, "auto", asked, torch.device("cpu"))
    assert isinstance(run.source, SyntheticPhotos)
    assert run.images == seen.count == COUNT
    assert run.loader.storage.decoded is None
    assert run.config.image_size == 96


CPU_RUN: dict[str, Any] = {"device": "cpu", "epochs": 20.0}


@pytest.mark.parametrize(
    ("data", "recipe", "settings"),
    [
        ("folder", "auto", CPU_RUN),
        ("labels", "auto", CPU_RUN),
        ("photos:train", "auto", CPU_RUN),
        ("photos:train", "photos", CPU_RUN),
        ("labels", "cifar10-cpu", {**CPU_RUN, "batch_size": 32, "method": "moco", "method__queue": 64}),
        ("labels", "auto", {**CPU_RUN, "method": "supervised", "encoder": "resnet18", "precision": "float32"}),
    ],
)
def test_what_is_measured_is_the_run_that_pretrain_would_start(
    data: str, recipe: str, settings: dict[str, Any], image_folder: Path, class_folder: Path
) -> None:
    """Held-out images, free memory and precision are looked at in one place."""
    place = {"folder": str(image_folder), "labels": str(class_folder)}.get(data, data)
    measured, _ = _prepared(place, recipe, dict(settings), torch.device("cpu"))
    request = Request(data=place, monitor=monitor_for(place, None), recipe=recipe, quiet=True, settings=settings)
    planned = plan_for(request, torch.device("cpu"))
    with prepared_run(planned, torch.device("cpu"), keeps=False, rehearses=False) as (run, _):
        assert measured.config == run.config
        assert measured.images == run.images
        assert measured.source.fingerprint() == run.source.fingerprint()


@pytest.mark.parametrize(("method", "settings"), [("simclr", {}), ("moco", {"method__queue": 64, "method__splits": 2})])
def test_other_methods_are_measured_too(
    method: str, settings: dict[str, Any], image_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = {**SETTINGS, "method": method, **settings, "data__memory": "always"}
    arguments = ["bench", str(image_folder), "--recipe", "cifar10-cpu", *flags(given), "--seconds", "0.1"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json", str(tmp_path / "bench.json")])
    assert ended.value.code == 0, capsys.readouterr().err
    assert f"{method} on resnet18, 16 px, batch 8" in capsys.readouterr().out
    record = json.loads((tmp_path / "bench.json").read_text())
    assert record["config"]["method"]["name"] == method
    parts, limit = record["seconds_per_update"]["parts"], record["limit"]["parts"]
    has_target = method == "moco"
    assert (parts["target forward"] > 0) == has_target
    for part in ("target forward", "target update"):
        assert (limit[part]["bytes"] > 0) == has_target
    assert limit["online forward"]["flops"] > 0


def test_photographs_made_up_are_like_imagenets() -> None:
    source = SyntheticPhotos(40)
    sizes = [len(source.read(index)) for index in range(16)]
    assert 60_000 < sum(sizes) / 16 < 160_000, "ImageNet's have 110 kB in the mean"
    assert len({source.read(index) for index in range(16)}) == 16
    assert source.read(3) == source.read(19) == SyntheticPhotos(4).read(3)
    with Image.open(io.BytesIO(source.read(0))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (WIDTH, HEIGHT))
    assert len(source) == 40
    assert source.fingerprint() != SyntheticPhotos(41).fingerprint()


def test_measuring_goes_on_where_it_ended_and_leaves_the_weights() -> None:
    source = embedded_photos(per_photo=4)
    config = replace(PretrainConfig(), **SETTINGS)
    taken: list[int] = []

    class Counting(Loader):
        def _parts(self, step: int) -> Iterator[Any]:
            taken.append(step)
            return super()._parts(step)

    loader = Counting(Storage(source, 1, source.images), config, pipeline_of(config), torch.device("cpu"))
    subject = Subject(loader)
    weights = [p.clone() for p in subject.state.method.parameters()]
    for measure in (subject.pipeline, subject.together, subject.step):
        assert measure(2) > 0
    assert subject.profile(1).total > 0
    assert taken == list(range(1 + 3 + 3 + 2))
    assert all(torch.equal(old, new) for old, new in zip(weights, subject.state.method.parameters(), strict=True))


def test_the_clock_starts_when_nothing_is_left_that_was_decoded_before(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(PretrainConfig(), **SETTINGS)
    storage = Storage(FolderSource(image_folder, 3), 1)
    subject = Subject(Loader(storage, config, pipeline_of(config), torch.device("cpu"), prefetched=2))
    whole, taken, looks = Loader.batches, [0], []

    def counted(self: Loader, first: int, last: int) -> Iterator[Any]:
        for parts in whole(self, first, last):
            taken[0] += 1
            yield parts

    monkeypatch.setattr(Loader, "batches", counted)
    monkeypatch.setattr("byol.bench.measure.synchronize", lambda device: looks.append(taken[0]))
    for measure in (subject.pipeline, subject.together):
        taken[0] = 0
        looks.clear()
        measure(4)
        assert looks == [3, 7], "one, and the two that were ready; then those that are timed"


def test_the_time_asked_for_becomes_batches() -> None:
    asked: list[int] = []

    def measure(batches: int) -> float:
        asked.append(batches)
        return 80.0

    assert batches_in(measure, batch_size=16, seconds=2.0) == 10
    assert batches_in(measure, batch_size=16, seconds=0.001) == 1
    assert asked == [1, 1]


def test_few_threads_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 64)
    assert "of 64 cores" in bench(**QUICK).advice


def test_no_time_is_an_error() -> None:
    with pytest.raises(UserError, match="--seconds above 0"):
        bench(seconds=0.0)


@pytest.mark.gpu
def test_a_gpu_is_measured_with_its_own_parts() -> None:
    found = bench(**{**QUICK, "device": "cuda", "precision": "bf16"})
    assert found.config.device == "cuda"
    assert found.limit.precision == "bf16"
    assert all(found.profile.seconds[part] > 0 for part in set(PARTS) - {"decode"})
