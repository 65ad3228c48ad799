"""Two classifiers on the same queries: McNemar's exact test, by hand and against scipy."""

import pytest
import torch

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
