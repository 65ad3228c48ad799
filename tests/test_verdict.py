"""The words on a run: from the course of its measures, and from labels."""

import math
from typing import Any

import pytest
import torch

from byol.methods.base import Method
from byol.methods.byol import BYOL
from byol.methods.infonce import InfoNCE
from byol.methods.moco import MoCo
from byol.methods.simclr import SimCLR
from byol.methods.supervised import Supervised
from byol.pretraining.health import Health
from byol.pretraining.monitor import Reading
from byol.pretraining.verdict import (
    COLLAPSED_SPREAD,
    LEARNED,
    LEARNED_LITTLE,
    LEARNED_MATCH,
    SHRUNKEN_RANK,
    Course,
    Verdict,
    judge,
    with_labels,
)


def look(**changes: Any) -> Health:
    values = {"spread": 0.8, "rank": 80.0, "agreement": 0.5, "match": 0.06, "chance": 1 / 256, "separation": 1.0}
    return Health(**{**values, **changes})


START = look()
GOOD = look(separation=1.6, match=0.2, agreement=0.8, rank=60.0)
FLAT, NARROW = look(spread=0.01), look(rank=1.1)


def said(*looks: Health, method: type[Method] = BYOL, start: Health | None = START, **changes: Any) -> Verdict:
    return judge(Course(looks, [1.0], [1.0], start, **changes), method)


def test_learned() -> None:
    verdict = said(look(), GOOD)
    assert (verdict.word, verdict.stops, verdict.failed) == ("learned", False, False)
    assert "20% of cases (6% before training, chance 0.4%)" in verdict.sentence
    assert "spread 0.80 to 0.80" in verdict.sentence
    assert "effective rank 80 to 60" in verdict.sentence
    assert "--monitor" in verdict.advice


@pytest.mark.parametrize(
    ("gain", "word"),
    [(LEARNED + 0.01, "learned"), (LEARNED - 0.01, "learned little"), (LEARNED_LITTLE - 0.01, "cannot tell")],
)
def test_how_much_farther_views_stand_out(gain: float, word: str) -> None:
    assert said(look(separation=1 + gain, match=0.2, agreement=0.7)).word == word


@pytest.mark.parametrize(
    ("match", "images", "word"),
    [
        (0.06 + LEARNED_MATCH + 0.005, 256, "learned"),
        (0.06 + LEARNED_MATCH - 0.005, 256, "learned little"),
        (0.06 + LEARNED_MATCH + 0.005, 100, "cannot tell"),  # 8 points, and a standard error of 4.2
        (0.09, 256, "cannot tell"),  # 3 points, and a standard error of 2.3
        (0.06, 256, "cannot tell"),
        (0.04, 256, "cannot tell"),
    ],
)
def test_more_views_find_their_own_image_than_chance_explains(match: float, images: int, word: str) -> None:
    """On digits, and on tiles of streets, views stood out much farther in runs that were worth no more."""
    start, last = look(chance=1 / images), look(chance=1 / images, match=match, separation=1.6, agreement=0.7)
    assert said(last, start=start).word == word


def test_one_update_or_a_rate_of_nothing_is_no_learning() -> None:
    """The looks of runs of one update and of a rate of 1e-9 on the embedded photographs."""
    start = look(separation=1.24, match=0.0625, agreement=0.54, spread=0.79, rank=85)
    one_update = look(separation=0.84, match=0.07, agreement=0.82, spread=0.59, rank=48)
    still = look(separation=1.23, match=0.066, agreement=0.54, spread=0.79, rank=87)
    for last in (one_update, still):
        verdict = said(last, start=start)
        assert verdict.word == "did not learn"
        assert "--epochs" in verdict.advice


@pytest.mark.parametrize("bad", [FLAT, NARROW, look(rank=math.nan, spread=math.nan)])
def test_collapsed(bad: Health) -> None:
    verdict = said(GOOD, bad, bad)
    assert (verdict.word, verdict.stops, verdict.failed) == ("collapsed", True, True)
    assert "--method.predictor-depth" in verdict.advice
    assert "--method.tau" in verdict.advice


@pytest.mark.parametrize("bad", [FLAT, NARROW])
def test_one_bad_look_is_no_collapse(bad: Health) -> None:
    assert not said(GOOD, bad).failed
    assert said(bad, GOOD).word == "learned"


def test_a_slow_collapse_is_seen_before_it_is_complete() -> None:
    """The looks of a run without a predictor on the bundled photographs: spread .79 to .28, agreement .99."""
    shrinking = look(spread=0.28, agreement=0.99, rank=35, match=0.1, separation=0.94)
    verdict = said(GOOD, shrinking, shrinking, start=look(spread=0.79, rank=85, separation=1.24))
    assert (verdict.word, verdict.stops, verdict.failed) == ("collapsing", False, True)
    assert shrinking.spread > COLLAPSED_SPREAD


@pytest.mark.parametrize(
    ("changes", "collapsing"),
    [
        ({"spread": 0.47, "agreement": 0.85, "separation": 0.98}, True),  # 0.59 of the first spread
        ({"spread": 0.47, "agreement": 0.85, "separation": 1.02}, False),  # views gained by it
        ({"spread": 0.49, "agreement": 0.85, "separation": 0.98}, False),
        ({"spread": 0.63, "agreement": 0.75, "separation": 0.58}, True),  # 0.79 of the first
        ({"spread": 0.63, "agreement": 0.75, "separation": 0.62}, False),
        ({"spread": 0.65, "agreement": 0.75, "separation": 0.58}, False),
        ({"spread": 0.35, "agreement": 0.95, "separation": 1.3}, True),  # 0.44 of the first, and all views alike
        ({"spread": 0.35, "agreement": 0.85, "separation": 1.3}, False),
    ],
)
def test_projections_that_come_together_in_part(changes: dict[str, float], collapsing: bool) -> None:
    last = look(**changes)
    assert (said(last, last).word == "collapsing") == collapsing


def test_a_representation_of_few_directions_collapses() -> None:
    few = look(rank=0.9 * SHRUNKEN_RANK * START.rank, separation=1.6, match=0.2)
    assert said(few, few).word == "collapsing"
    more = look(rank=1.1 * SHRUNKEN_RANK * START.rank, separation=1.6, match=0.2)
    assert said(more, more).word == "learned"


@pytest.mark.parametrize(
    ("losses", "norms"),
    [([1.0, math.nan], [1.0]), ([1.0], [1.0, math.inf]), ([math.inf], [1.0]), ([1.0], [math.nan])],
)
def test_diverged(losses: list[float], norms: list[float]) -> None:
    verdict = judge(Course([GOOD], losses, norms, START), BYOL)
    assert (verdict.word, verdict.stops) == ("diverged", True)
    assert "--optim.lr" in verdict.advice


@pytest.mark.parametrize(
    ("start", "last", "words"),
    [
        (None, GOOD, "step 0 are not known"),
        (look(chance=1 / 20), look(chance=1 / 20, separation=3.0), "20 images are too few"),
        (look(match=1.0, separation=5.0), look(match=1.0, separation=9.0), "so alike that an untrained network"),
        (look(separation=0.007, match=0.0), look(separation=0.5, match=0.01), "hardly more alike"),
    ],
)
def test_what_views_cannot_tell(start: Health | None, last: Health, words: str) -> None:
    verdict = said(last, start=start)
    assert verdict.word == "cannot tell"
    assert words in verdict.sentence


def test_no_look_at_all() -> None:
    assert said().word == "cannot tell"


@pytest.mark.parametrize(
    ("last", "word"),
    [
        (look(separation=0.7, agreement=0.7), "forgot its start"),
        (look(separation=1.01, agreement=0.505), "did not learn"),
        (look(separation=2.0, match=0.5, agreement=0.9), "cannot tell"),
    ],
)
def test_views_do_not_tell_whether_a_trained_start_was_improved(last: Health, word: str) -> None:
    assert said(last, started=True).word == word


@pytest.mark.parametrize(
    ("method", "predictor", "target"),
    [(BYOL, True, True), (InfoNCE, True, True), (MoCo, False, True), (SimCLR, False, False)],
)
def test_advice_names_what_the_method_has(method: type[Method], predictor: bool, target: bool) -> None:
    for bad in (FLAT, look(rank=0.9 * SHRUNKEN_RANK * START.rank)):
        advice = said(bad, bad, method=method).advice
        assert ("--method.predictor-depth" in advice, "--method.tau" in advice) == (predictor, target)
        assert advice[0].isupper()


def test_labels_may_leave_few_directions_and_images_of_a_class_alike() -> None:
    told = look(rank=2.5, match=1 / 256)
    assert said(told, told, method=Supervised).word == "cannot tell"
    assert said(FLAT, FLAT, method=Supervised).word == "collapsed"


def reading(right: int, queries: int = 1000, bank: int = 5000, first: int = 0, copies: int = 0) -> Reading:
    """`right` correct answers, from the query `first` on."""
    correct = torch.zeros(queries, dtype=torch.bool)
    correct[first : first + right] = True
    return Reading(right / queries, bank, queries, copies=copies, correct=correct)


LEARNED_ALONE = said(GOOD)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (300, 400, "learned"),
        (300, 320, "learned little"),  # 20 gained, none lost
        (300, 300, "did not learn"),
        (400, 300, "did not learn"),
    ],
)
def test_the_same_images_are_compared(before: int, after: int, word: str) -> None:
    verdict = with_labels(LEARNED_ALONE, reading(after), reading(before), reading(100), started=False)
    assert verdict.word == word
    assert f"{100 * (after - before) / 1000:+.1f} points" in verdict.sentence
    assert ("worth it" in verdict.sentence) == (word == "learned")


def test_a_change_that_chance_explains_is_called_that() -> None:
    before, after = reading(20, 60, 500), reading(24, 60, 500, first=4)  # 8 gained, 4 lost
    verdict = with_labels(LEARNED_ALONE, after, before, reading(10, 60, 500), started=False)
    assert verdict.word == "cannot tell"
    assert "60 labeled images" in verdict.advice


def test_a_start_that_was_lost() -> None:
    verdict = with_labels(said(GOOD, started=True), reading(300), reading(400), reading(100), started=True)
    assert verdict.word == "forgot its start"
    assert "start weights 40.0%" in verdict.sentence


@pytest.mark.parametrize("word", ["collapsed", "collapsing"])
def test_a_collapse_is_never_worth_it(word: str) -> None:
    bad = FLAT if word == "collapsed" else look(spread=0.28, agreement=0.99)
    verdict = with_labels(said(bad, bad), reading(600), reading(300), reading(100), started=False)
    assert (verdict.word, verdict.failed) == (word, True)
    assert "worth" not in verdict.sentence
    assert "+30.0 points" in verdict.sentence, "the figure stands, without praise"


def test_bare_pixels_that_are_better_are_named() -> None:
    verdict = with_labels(LEARNED_ALONE, reading(400), reading(300), reading(500), started=False)
    assert "still less than bare pixels" in verdict.sentence
    assert "worth it" not in verdict.sentence


def test_copies_among_the_monitored_images_tell_nothing() -> None:
    verdict = with_labels(LEARNED_ALONE, reading(900), reading(500), reading(900, copies=800), started=False)
    assert verdict.word == "cannot tell"
    assert "800 of 1000 monitored images are copies of training images" in verdict.sentence


def test_a_handful_of_labels_cannot_vote() -> None:
    few = [reading(right, 600, bank=20) for right in (190, 140, 100)]
    assert with_labels(LEARNED_ALONE, few[0], few[1], few[2], started=False).word == "cannot tell"
