"""k-NN readings: who votes about whom, and that labels never reach training."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import byol
from byol.data import holdout
from byol.data.sources.open import TensorSource
from byol.data.transform import Transform
from byol.errors import UserError
from byol.evals.features import Passes
from byol.evals.knn import knn_accuracy, knn_correct_among
from byol.pretraining.monitor import Monitor, split
from conftest import TINY


def source(
    labels: list[int] | None, count: int = 0, classes: list[str] | None = None, name: str = "data"
) -> TensorSource:
    n = count or len(labels or [])
    images = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    return TensorSource(images, labels, classes, name)


def pixels(data: Any) -> set[bytes]:
    return {data.image(i).numpy().tobytes() for i in range(len(data))}


def test_a_tenth_of_labeled_data_is_kept_aside() -> None:
    data = source([i % 3 for i in range(2000)])
    kept, bank, queries, sentence = split(data, None, seed=0)
    assert kept is not None
    assert bank is not None
    assert queries is not None
    assert (len(kept), len(bank), len(queries)) == (1800, 1800, 200)
    assert pixels(bank) == pixels(data.subset(kept))
    assert pixels(bank) | pixels(queries) == pixels(data)
    assert not pixels(bank) & pixels(queries)
    assert "200 labeled images kept out of training" in sentence
    assert split(data, None, seed=0)[0] == kept
    assert split(data, None, seed=1)[0] != kept
    assert queries.labels is not None
    for i, label in enumerate(queries.labels):  # images and labels still belong together
        at = next(j for j in range(2000) if torch.equal(data.image(j), queries.image(i)))
        assert label == at % 3


def test_no_more_than_two_thousand_are_kept_aside() -> None:
    data = TensorSource(torch.zeros(30_000, 1, 1, 1, dtype=torch.uint8), [i % 2 for i in range(30_000)])
    kept, _, queries, _ = split(data, None, 0)
    assert kept is not None
    assert (len(kept), len(queries or [])) == (28_000, 2000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (source(None, count=200), "no labels"),
        (source([5] * 200), "no labels"),
        (source([i % 2 for i in range(29)]), "29 labeled images are too few"),
    ],
)
def test_all_images_are_trained_on_where_labels_do_not_help(data: TensorSource, words: str) -> None:
    kept, bank, queries, sentence = split(data, None, 0)
    assert (kept, bank, queries) == (None, None, None)
    assert words in sentence


def test_monitor_data_is_asked_about_and_training_data_votes() -> None:
    data, test = source([0, 1] * 50), source([1, 0] * 20, name="test")
    kept, bank, queries, sentence = split(data, test, 0)
    assert kept is None, "nothing is kept out of training"
    assert bank is data
    assert queries is test
    assert "20-NN on test: 40 images that training never sees" in sentence


def test_without_training_labels_the_images_of_the_monitor_classify_each_other() -> None:
    test = source([1, 0] * 20, name="test")
    kept, bank, queries, sentence = split(source(None, count=50), test, 0)
    assert (kept, queries) == (None, None)
    assert bank is test
    assert "each of 40 images" in sentence


def test_where_labels_are_few_all_of_them_are_used() -> None:
    data = source([i % 2 for i in range(1999)])
    kept, bank, queries, sentence = split(data, None, 0)
    assert (kept, queries) == (None, None)
    assert bank is data
    assert "each of 1999 labeled images classified by the others" in sentence
    kept, _, queries, _ = split(data, None, 0, reads_labels=True)
    assert queries is not None, "what training has read cannot be asked"
    assert len(queries) == 199


def test_each_image_is_classified_by_all_others() -> None:
    labels = torch.arange(60) % 3
    features = torch.eye(3)[labels] + 0.6 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    others = [torch.arange(60) != number for number in range(60)]
    expected = [
        bool(knn_accuracy(features[rest], labels[rest], features[n : n + 1], labels[n : n + 1], k=5))
        for n, rest in enumerate(others)
    ]
    assert 30 < sum(expected) < 60
    assert knn_correct_among(features, labels, k=5).tolist() == expected
    monitor = Monitor(colored(90, 0, 9), None, TRANSFORM, Passes(torch.device("cpu")))
    reading = monitor.read(Brightness(), full=True)
    assert (reading.bank, reading.queries) == (89, 90)
    assert reading.accuracy == pytest.approx(81 / 90)


@pytest.mark.parametrize(
    ("data", "test", "words"),
    [
        (source([0, 1] * 9), source(None, count=9, name="test"), "'test' has no labels"),
        (
            source([0, 1] * 9, classes=["a", "b"]),
            source([0, 1], classes=["a", "c"]),
            "differ, for example in ['b', 'c']",
        ),
        (source([0, 1] * 9), TensorSource(torch.rand(4, 1, 16, 16), [0, 1, 0, 1]), "have 3 and 1 channels"),
        (source([0, 1] * 9), source([0, 7], name="test"), r"labels that the training data lacks, such as [7]"),
    ],
)
def test_monitor_data_that_does_not_fit(data: TensorSource, test: TensorSource, words: str) -> None:
    with pytest.raises(UserError) as caught:
        split(data, test, 0)
    assert words in str(caught.value)


TRANSFORM = Transform(image_size=16, mean=(0.0,) * 3, std=(1.0,) * 3)


class Brightness(nn.Module):
    """Features that are the mean of each channel."""

    num_features = 3

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def colored(count: int, seed: int, wrong: int = 0) -> TensorSource:
    """Images of three colors with the color's number as label; `wrong` of them with the next one's."""
    labels = [i % 3 for i in range(count)]
    images = torch.zeros(count, 3, 16, 16)
    noise = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 0.2
    for i, label in enumerate(labels):
        images[i, label] = 0.8
    told = [(label + 1) % 3 if i < wrong else label for i, label in enumerate(labels)]
    return TensorSource(images + noise, told)


def test_accuracy_is_the_share_that_is_right() -> None:
    bank = colored(90, 0)
    for wrong in (0, 12):
        monitor = Monitor(bank, colored(40, 1, wrong), TRANSFORM, Passes(torch.device("cpu")))
        for full in (True, False):
            reading = monitor.read(Brightness(), full=full)
            assert reading.accuracy == pytest.approx((40 - wrong) / 40)
            assert (reading.bank, reading.queries, reading.k) == (90, 40, 20)


def test_labels_may_be_any_whole_numbers() -> None:
    torch.manual_seed(0)
    bank, queries = torch.randn(40, 4), torch.randn(30, 4)
    labels, asked = torch.arange(40) % 4, torch.arange(30) % 4
    strange = torch.tensor([-1, 9, 77, 2_000_000_000])
    expected = knn_accuracy(bank, labels, queries, asked, k=5)
    assert 0 < expected < 1
    assert knn_accuracy(bank, strange[labels], queries, strange[asked], k=5) == expected


def test_a_sample_is_taken_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from byol.pretraining import monitor as module

    monkeypatch.setattr(module, "SAMPLE_BANK", 30)
    monkeypatch.setattr(module, "SAMPLE_QUERIES", 10)
    monitor = Monitor(colored(90, 0), colored(40, 1), TRANSFORM, Passes(torch.device("cpu")))
    sample, full = monitor.read(Brightness(), full=False), monitor.read(Brightness(), full=True)
    assert (sample.bank, sample.queries) == (30, 10)
    assert (full.bank, full.queries) == (90, 40)
    assert monitor.read(Brightness(), full=False) == sample


def weights(data: TensorSource, out: Path) -> bytes:
    settings = {**TINY, "batch_size": 8, "epochs": 0.5}
    byol.pretrain(data, recipe="cifar10-cpu", out=out, quiet=True, **settings)
    return (out / "encoder.safetensors").read_bytes()


def test_labels_never_reach_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdout, "ENOUGH_QUERIES", 10)
    labeled = source([i % 4 for i in range(120)])
    others = TensorSource(labeled.images, [(i // 7) % 4 for i in range(120)])
    kept, _, _, _ = split(labeled, None, seed=0)
    assert kept is not None
    without = TensorSource(labeled.images[kept])
    first = weights(labeled, tmp_path / "labeled")
    assert weights(others, tmp_path / "other labels") == first
    assert weights(without, tmp_path / "no labels") == first, "and what is kept aside is never trained on"
    assert weights(TensorSource(labeled.images), tmp_path / "all") != first
    lines = [json.loads(line) for line in (tmp_path / "labeled" / "metrics.jsonl").read_text().splitlines()]
    assert "knn/accuracy" in lines[-1]
    assert not any("knn" in line for line in (tmp_path / "no labels" / "metrics.jsonl").read_text().splitlines())


def test_copies_among_the_queries_are_found_by_their_pixels() -> None:
    data = source([i % 3 for i in range(60)])
    asked = TensorSource(torch.cat([data.images[:7], 255 - data.images[7:40]]), [i % 3 for i in range(40)])
    monitor = Monitor(data, asked, TRANSFORM, Passes(torch.device("cpu")))
    assert monitor.read_pixels().copies == 7
    assert monitor.read(Brightness(), full=True).copies == 0, "only pixels are compared"
