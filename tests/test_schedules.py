"""Schedules in closed form; the official code's own values are held by test_golden_schedules.py."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol.optim.schedules import learning_rate, tau

TOTAL = st.integers(1, 100_000)


def test_warmup_is_a_straight_line_from_zero() -> None:
    rates = [learning_rate(step, peak=3.2, warmup_steps=10, total_steps=100) for step in range(11)]
    assert rates == pytest.approx([0.32 * step for step in range(11)])


def test_cosine_runs_over_the_steps_after_the_warmup() -> None:
    # half way between step 10 and step 110 is step 60; a third of the way leaves cos(pi / 3) = 1/2
    assert learning_rate(60, peak=2.0, warmup_steps=10, total_steps=110) == pytest.approx(1.0)
    assert learning_rate(10 + 30, peak=2.0, warmup_steps=10, total_steps=100) == pytest.approx(1.5)
    assert learning_rate(100, peak=2.0, warmup_steps=10, total_steps=100) == 0.0
    assert learning_rate(0, peak=2.0, warmup_steps=0, total_steps=100) == 2.0


def test_tau_climbs_over_all_steps() -> None:
    assert tau(0, base=0.996, total_steps=300) == pytest.approx(0.996, abs=1e-15)
    assert tau(100, base=0.99, total_steps=300) == pytest.approx(1 - 0.01 * 0.75)
    assert tau(150, base=0.99, total_steps=300) == pytest.approx(0.995)
    assert tau(300, base=0.99, total_steps=300) == 1.0
    assert tau(50, base=0.0, total_steps=100) == pytest.approx(0.5)


@given(TOTAL, st.floats(0, 0.5), st.floats(1e-3, 10))
def test_rate_is_within_bounds_and_falls_after_the_warmup(total: int, share: float, peak: float) -> None:
    warmup = int(share * total)
    rates = [
        learning_rate(step, peak=peak, warmup_steps=warmup, total_steps=total)
        for step in range(0, total + 1, max(1, total // 50))
    ]
    assert all(0 <= rate <= peak for rate in rates)
    after = [
        learning_rate(step, peak=peak, warmup_steps=warmup, total_steps=total)
        for step in range(warmup, total + 1, max(1, total // 50))
    ]
    assert after == sorted(after, reverse=True)
    assert learning_rate(total, peak=peak, warmup_steps=warmup, total_steps=total) == 0


@given(TOTAL, st.floats(0, 1))
def test_tau_never_falls(total: int, base: float) -> None:
    values = [tau(step, base=base, total_steps=total) for step in range(0, total + 1, max(1, total // 50))]
    assert values == sorted(values)
    assert values[0] == pytest.approx(base)
    assert max(values) <= 1


@given(TOTAL, st.floats(0.5, 0.999))
def test_tau_is_symmetric_around_the_middle(total: int, base: float) -> None:
    for step in range(0, total + 1, max(1, total // 20)):
        here, there = tau(step, base=base, total_steps=total), tau(total - step, base=base, total_steps=total)
        assert here + there == pytest.approx(1 + base)
        assert math.isclose(here, 1 - (1 - base) * (math.cos(math.pi * step / total) + 1) / 2, abs_tol=1e-12)
