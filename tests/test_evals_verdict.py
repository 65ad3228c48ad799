"""The verdict: its table, its words, its page."""

import re
from pathlib import Path

import pytest

from byol.encoders.load import open_encoder
from byol.evals import verdict
from byol.evals.evaluation import Task
from byol.evals.verdict import VerdictConfig
from byol.evals.verdict_plot import write_plot
from byol.evals.verdict_words import TrainingRun, paragraph
from evals_data import TINY, colored

LABELS = {"1": 1.0, "10": 10.0, "all": 1000.0}


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


def row(*means: float, std: float = 0.01) -> dict[str, tuple[float, float, float]]:
    return {column: (mean, std, std) for column, mean in zip(LABELS, means, strict=True)}


def test_a_tiny_verdict_and_its_page(tmp_path: Path) -> None:
    config = VerdictConfig(per_class=(1, 4, 50), draws=3, scratch_steps=2, scratch_epochs=0.1, imagenet=False)
    found = verdict.evaluate(Task(open_encoder(TINY), colored(10), colored(8, seed=1)), config)
    assert set(found.table) == {verdict.RUN, verdict.PIXELS, verdict.RANDOM, verdict.SCRATCH}
    assert list(found.labels.items()) == [("1", 1), ("4", 4), ("all", 10)]
    assert "rarest class has 10" in found.notes[0]
    assert found.table[verdict.RUN]["1"].draws == 3
    assert found.chance == pytest.approx(1 / 3)
    write_plot(tmp_path / "verdict.html", found, "Verdict on <toy>")
    page = (tmp_path / "verdict.html").read_text()
    assert page.count("<polyline") == 4
    assert "&lt;toy&gt;" in page
    assert "http" not in page


def test_words_for_a_gain() -> None:
    table = {"this run": row(0.3, 0.6, 0.8), "pixels": row(0.1, 0.2, 0.4), "from scratch": row(0.1, 0.2, 0.7)}
    text = paragraph(table, LABELS, [0.1, 0.2, 0.3, 0.4])
    assert "bought 40.0 points over the best of these, pixels" in text
    assert "bought 10.0 points over the best of these, from scratch" in text
    assert "at most 100 times as many" in text
    assert "longer training would help" in text
    assert "From 10 labels per class to all (1,000) each doubling of the labels brings 3.0 points" in text


def test_words_for_no_gain_and_a_loss() -> None:
    table = {"this run": row(0.1, 0.205, 0.3), "pixels": row(0.1, 0.2, 0.4)}
    text = paragraph(table, LABELS, [0.4, 0.4, 0.4, 0.4])
    assert "no clear difference to pixels" in text
    assert "did not pay" in text
    assert "leveled off" in text
    assert "more images" not in text, "nobody said how many there were"


def test_words_about_images_rest_on_how_often_each_was_seen() -> None:
    table = {"this run": row(0.1, 0.2, 0.21, std=0.02)}
    flat, rising = [0.1, 0.3, 0.399, 0.401], [0.1, 0.2, 0.3, 0.33]
    text = paragraph(table, LABELS, flat, TrainingRun(5400, 300))
    assert "saw each of its 5,400 images 300 times: it had leveled off, so more images would help more" in text
    words = r"changes by \+1.0 points \(anything below [\d.]+ may be chance\): more labels alone help"
    assert re.search(words, text)
    assert "neither more images nor a longer run" in paragraph(table, LABELS, flat, TrainingRun(5400, 12))
    assert "images once: longer training would help" in paragraph(table, LABELS, rising, TrainingRun(5400, 1))
    assert "k-NN" not in paragraph(table, LABELS, rising, TrainingRun(5400, 12, monitored=40)), "one image of forty"
    assert "images 12 times: longer training would help" in paragraph(table, LABELS, rising, TrainingRun(5400, 12))
    assert "k-NN" not in paragraph(table, LABELS, flat[1:], TrainingRun(5400, 12)), "three readings say nothing"


def test_words_beside_imagenet() -> None:
    table = {"this run": row(0.3, 0.6, 0.8), "pixels": row(0.1, 0.2, 0.4), "ImageNet weights": row(0.3, 0.7, 0.75)}
    text = paragraph(table, LABELS)
    assert "weights trained on ImageNet's labels are 10.0 points better" in text
    assert "weights trained on ImageNet's labels are 5.0 points worse" in text
    assert "k-NN" not in text
