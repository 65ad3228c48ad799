"""The verdict: its table, its words, its page."""

from pathlib import Path

import pytest

from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.evals import verdict
from byol.evals.evaluation import Task
from byol.evals.tuning import folds
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
    found = verdict.evaluate([Task(open_encoder(TINY), colored(10), colored(8, seed=1))], config)
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
    assert "whether a longer run would gain more cannot be told from this" in text


def test_advice_only_where_the_numbers_carry_it() -> None:
    table = {"this run": row(0.1, 0.2, 0.21, std=0.02)}
    flat, rising = [0.1, 0.3, 0.399, 0.401], [0.1, 0.2, 0.3, 0.33]
    text = paragraph(table, LABELS, flat, TrainingRun(5400, 300))
    assert "saw each of its 5,400 images 300 times: no clear rise, but whether a longer run" in text
    assert "images once: longer training would help" in paragraph(table, LABELS, rising, TrainingRun(5400, 1))
    few = paragraph(table, LABELS, rising, TrainingRun(5400, 12, monitored=40))
    assert "longer training would help" not in few, "one image of forty"
    assert "images 12 times: longer training would help" in paragraph(table, LABELS, rising, TrainingRun(5400, 12))
    assert "k-NN" not in paragraph(table, LABELS, flat[1:], TrainingRun(5400, 12)), "three readings say nothing"


@pytest.mark.parametrize(
    ("rise", "error", "words"),
    [
        (0.30, 0.01, "brings 4.5 points: more labels still help"),  # 30 points over log2(100) = 6.64 doublings
        (0.03, 0.005, "less than a point: more labels help little"),  # at most (3 + 1.4) / 6.64
        (0.03, 0.05, "whether more labels would help cannot be told"),
        (0.10, 0.06, "whether more labels would help cannot be told"),  # 10 points, and 17 may be chance
    ],
)
def test_words_about_more_labels(rise: float, error: float, words: str) -> None:
    table = {"this run": {"1": (0.1, 0, error), "10": (0.2, 0, error), "all": (0.2 + rise, 0, error)}}
    assert words in paragraph(table, LABELS)


def test_words_beside_imagenet() -> None:
    table = {"this run": row(0.3, 0.6, 0.8), "pixels": row(0.1, 0.2, 0.4), "ImageNet weights": row(0.3, 0.7, 0.75)}
    text = paragraph(table, LABELS)
    assert "weights trained on ImageNet's labels are 10.0 points better" in text
    assert "weights trained on ImageNet's labels are 5.0 points worse" in text
    assert "k-NN" not in text


def test_parts_of_few_labels_are_averaged() -> None:
    """Each part of the data is asked once; the table has the means, and its errors are those of all images asked."""
    data = colored(10)
    config = VerdictConfig(per_class=(1, 4), draws=2, scratch=False, imagenet=False)
    assert data.labels is not None
    splits = folds(data.labels, 5, 0)
    assert sorted(i for _, out in splits for i in out) == list(range(len(data)))
    tasks = [Task(open_encoder(TINY), data.subset(kept), data.subset(out)) for kept, out in splits]
    found = verdict.evaluate(tasks, config)
    alone = [verdict.evaluate([task], config) for task in tasks]
    for row_name, scores in found.table.items():
        for column, score in scores.items():
            assert score.mean == pytest.approx(sum(one.table[row_name][column].mean for one in alone) / 5)
    assert found.tested == len(data)
    assert found.table[verdict.RUN]["1"].draws == 10
    assert found.table[verdict.RUN]["all"].as_percent() == f"{100 * found.table[verdict.RUN]['all'].mean:.1f}"


def test_a_rare_class_is_asked_in_every_part() -> None:
    splits = folds([0] * 20 + [1] * 3, 5, 0)
    for kept, out in splits:
        assert not set(kept) & set(out)
        assert {20, 21, 22} & set(out)
        assert {20, 21, 22} & set(kept)
    with pytest.raises(UserError, match="one image only"):
        folds([0, 0, 1], 5, 0)
