"""Two classifiers on the same queries: McNemar's exact test, by hand and against scipy."""

import pytest
import torch

from byol.evals.grouped import GroupedPairs, student
from byol.evals.knn import knn_correct_among
from byol.evals.paired import Pairs


def test_only_changed_answers_count() -> None:
    before = torch.tensor([1, 1, 1, 0, 0, 0, 0, 1], dtype=torch.bool)
    after = torch.tensor([1, 0, 1, 1, 1, 1, 0, 1], dtype=torch.bool)
    pairs = Pairs.of(before, after)
    assert (pairs.queries, pairs.gained, pairs.lost) == (8, 3, 1)
    assert pairs.gain == pytest.approx(2 / 8)
    assert pairs.p == pytest.approx(2 * (1 + 4) / 16), "0 or 1 of 4 coins, twice"


def test_the_interval_is_the_usual_one() -> None:
    pairs = Pairs(1000, 120, 80)
    error = (200 - 40**2 / 1000) ** 0.5 / 1000
    assert pairs.error == pytest.approx(error)
    assert pairs.interval == pytest.approx((0.04 - 1.96 * error, 0.04 + 1.96 * error))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (10, 0), (371, 154), (20000, 19000)])
def test_p_is_that_of_a_binomial_test(gained: int, lost: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = 1.0 if gained + lost == 0 else stats.binomtest(gained, gained + lost).pvalue
    assert Pairs(100_000, gained, lost).p == pytest.approx(expected, rel=1e-6)


def test_groups_of_one_image_are_mcnemars_test() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after = torch.rand(2, 200, generator=generator) < torch.tensor([[0.5], [0.6]])
    pairs, grouped = Pairs.of(before, after), GroupedPairs.in_groups(before, after, torch.arange(200))
    assert grouped.gain == pairs.gain
    assert grouped.p == pytest.approx(pairs.p)
    assert grouped.error == pytest.approx(pairs.error, rel=0.01)


def test_images_that_change_together_count_as_one() -> None:
    before = torch.zeros(400, dtype=torch.bool)
    groups = torch.arange(400) // 100
    pairs = GroupedPairs.in_groups(before, groups != 3, groups)
    assert (pairs.gained, pairs.lost) == (300, 0)
    assert pairs.p == pytest.approx(2 / 2**3), "three coins, all of one side"
    assert Pairs.of(before, groups != 3).p < 1e-80
    assert pairs.error == pytest.approx((4 / 3 * (3 * 25**2 + 75**2)) ** 0.5 / 400)
    mixed = GroupedPairs(400, 150, 100, ((100, 100), (100, -50), (100, 0), (100, 0)))
    assert mixed.p == pytest.approx(1.0), "sums of 150 and 50 in equal parts, either way, and 50 was seen"


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 39, 1000])
def test_students_quantile(freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom))


def test_a_batch_effect_is_rarely_called_learning() -> None:
    """Features that tell the group and nothing else, before and after, and labels drawn for each group."""
    generator = torch.Generator().manual_seed(0)
    groups, alarms = torch.arange(40).repeat_interleave(10), {Pairs: 0, GroupedPairs: 0}
    for _ in range(100):
        labels = (torch.randperm(40, generator=generator) % 2)[groups]
        places = torch.randn(2, 40, 3, generator=generator)[:, groups]
        features = places + 0.1 * torch.randn(2, 400, 3, generator=generator)
        before, after = (knn_correct_among(found, labels, groups=groups) for found in features)
        for pairs in (Pairs.of(before, after), GroupedPairs.in_groups(before, after, groups)):
            alarms[type(pairs)] += pairs.p < 0.05 and pairs.gain > 0
    assert alarms[GroupedPairs] <= 10, "2.5 are meant; groups that are neighbors answer alike"
    assert alarms[Pairs] >= 20
