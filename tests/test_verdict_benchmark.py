"""The benchmark of the verdict: what counts as true, and how rates are counted, on lines worked out by hand."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from verdict_cases import cases
from verdict_score import rates, table, truth_of, with_readings, without_labels

LOOKS = {
    "step": [0, 10, 20],
    "spread": [0.8, 0.8, 0.8],
    "rank": [80, 70, 70],
    "agreement": [0.5, 0.7, 0.8],
    "match": [0.05, 0.1, 0.2],
    "chance": [1 / 256] * 3,
    "separation": [1.0, 1.3, 1.6],
}


def line(case: str, gained: int, lost: int, **looks: list[float]) -> dict[str, Any]:
    """A run of which both classifiers, and the readings, have gained and lost so many of 1,000 answers."""
    judged = {"before": 0.4, "after": 0.4 + (gained - lost) / 1000, "gained": gained, "lost": lost}
    return {
        **{"set": "toy", "case": case, "seed": 0, "looks": LOOKS | looks},
        **{"losses": [1.0, 0.9], "gradient_norms": [1.0, 1.0]},
        "readings": {"sample_images": 1000, "start": 0.4, "pixels": 0.2, "gained": gained, "lost": lost},
        "truth": {"finite": True, "queries": 1000, "knn": judged, "linear": judged},
    }


@pytest.mark.parametrize(
    ("gained", "lost", "truth"),
    [
        (150, 50, "better"),  # 10 points, give or take 2.7
        (20, 20, "not better"),
        (50, 150, "not better"),
        (60, 50, "unclear"),  # 1 point, give or take 2.1
    ],
)
def test_truth_is_what_held_out_images_show(gained: int, lost: int, truth: str) -> None:
    assert truth_of(line("trained, 2 passes", gained, lost)) == truth


def test_rates_count_each_run_where_it_belongs() -> None:
    still = {"agreement": [0.5] * 3, "match": [0.05] * 3, "separation": [1.0] * 3}
    flat = {"spread": [0.8, 0.01, 0.01]}
    lines = [
        line("trained, 40 passes", 150, 50),  # better, said to have learned
        line("trained, 6 passes", 20, 20),  # not better, said to have learned: false
        line("rate of 1e-9", 0, 0, **still),  # not better, and said so
        line("no predictor, sgd, batch 64", 20, 20, **flat),  # collapses, and is seen
        line("no predictor, lars, batch 64", 20, 20),  # collapses, and is missed
        line("shuffled labels", 0, 0),  # the truth is of these labels, not of the images
    ]
    found = {rate.what: (rate.hits, rate.runs) for rate in rates(lines)}
    assert found["without labels: 'learned' of runs that are not better"] == (2, 4)
    assert found["without labels: missed collapse"] == (1, 2)
    assert found["without labels: false alarm of collapse"] == (0, 1)
    assert found["without labels: 'learned' of runs that are better"] == (1, 1)
    assert found["with labels: right, of those that are told"] == (5, 5)
    assert without_labels(lines[3]).word == "collapsed"
    labeled = with_readings(lines[0])
    assert labeled is not None
    assert labeled.word == "learned"
    assert "no predictor, sgd, batch 64   1     1 not better  1 collapsed" in table(lines)


def test_there_are_enough_cases_of_every_kind() -> None:
    found = list(cases())
    assert len(found) * 6 >= 240
    assert len({(case.name, case.seed) for case in found}) == len(found)
    starts = {case.starts_from for case in found if case.starts_from}
    assert starts <= {case.name for case in found if case.seed == 0}
