"""The paper's claims: what chance gives, and how results confirm or contradict them."""

import math

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from byol.paper.catalog import TABLES
from byol.paper.cells import Cell, Table
from byol.paper.chance import mean_p, order_p, p_value, student_tail
from byol.paper.claims import CLAIMS, Claim, Difference, alike, chain, keeps, leads, loses_less
from byol.paper.evidence import Judgment, Status, judge, measure
from byol.paper.numbers import PaperNumber
from byol.paper.scales import cpu, paper, small
from byol.paper.summary import Gathered, RowResult, TableResult


@pytest.mark.parametrize(
    ("x", "y", "p"),
    [
        ((1, 2, 3), (1, 2, 3), 1 / 6),  # one of six orders
        ((1, 2, 3), (1, 3, 2), 3 / 6),  # tau-b 1, 1/3, 1/3; the other three are below
        ((1, 2, 3), (3, 2, 1), 1.0),
        ((1, 1, 2), (1, 2, 3), 2 / 6),  # the tied pair counts for nothing: 3 must be last
        ((1, 2, 3, 4), (1, 2, 4, 3), 4 / 24),  # no swap or one: 1 + 3 orders
    ],
)
def test_p_of_an_order_is_its_share_of_all_orders(x: tuple[int, ...], y: tuple[int, ...], p: float) -> None:
    assert order_p(x, y) == pytest.approx(p)


def test_p_of_an_order_is_scipys() -> None:
    x, y = (1, 2, 3, 4, 5, 6, 7), (2, 1, 3, 5, 4, 7, 6)
    assert order_p(x, y) == pytest.approx(scipy.stats.kendalltau(x, y, alternative="greater", method="exact").pvalue)


def test_orders_of_many_rows_are_drawn_with_a_seed() -> None:
    x, y = range(12), (3, 0, 1, 2, 7, 5, 4, 9, 6, 11, 8, 10)
    exact = scipy.stats.kendalltau(x, y, alternative="greater", method="exact").pvalue
    assert order_p(x, y) == order_p(x, y) == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))
    assert order_p(range(20), range(20)) == 1 / 20_001, "never 0"


def test_a_mean_of_three_values_by_hand() -> None:
    """Mean 2, standard error 1 / sqrt(3), t = sqrt(12); with two degrees of freedom p = 1/2 - t / (2 sqrt(2 + t^2))."""
    assert mean_p([1, 2, 3]) == pytest.approx(0.5 - math.sqrt(12) / (2 * math.sqrt(14)))
    assert mean_p([-1, -2, -3]) == pytest.approx(0.5 + math.sqrt(12) / (2 * math.sqrt(14)))
    assert math.isnan(mean_p([1]))
    assert [mean_p([one, one]) for one in (1, 0, -1)] == [0, 0.5, 1]


@given(st.floats(-30, 30), st.integers(1, 12))
def test_students_tail_is_scipys(t: float, freedom: int) -> None:
    assert student_tail(t, freedom) == pytest.approx(scipy.stats.t.sf(t, freedom), abs=1e-8), (
        "scipy is 3e-10 off near 0"
    )


def test_p_has_three_digits() -> None:
    assert [p_value(p) for p in (0.0004, 0.0386, 1.0)] == ["< 0.001", "0.039", "1.000"]


def row(name: str, printed: float | None, *ours: float, knn: float = 50.0) -> RowResult:
    number = None if printed is None else PaperNumber(printed, None, "Table 0", {})
    data = {"classes": 10}
    lines = [
        {"seed": seed, "linear": one / 100, "knn": knn / 100, "data": data, "verdict": "healthy"}
        for seed, one in enumerate(ours)
    ]
    return RowResult(Cell(name=name, row=name, paper=number), tuple(lines))


def gathered(*rows: RowResult, table: str = "t") -> Gathered:
    found = Table(name=table, title="", source="", claims=(), cells=lambda scale: [])
    return Gathered(cpu(), [TableResult(found, cpu(), rows, (), 0, 0)])


def verdict(differences: tuple[Difference, ...], *rows: RowResult) -> Judgment:
    return judge(Claim("a claim", differences), gathered(*rows))


def test_a_lead_is_confirmed_in_every_seed_and_beyond_chance() -> None:
    found = verdict(leads("t/a", "t/b"), row("a", 70, 53, 55, 54, knn=48), row("b", 60, 50, 51.5, 51))
    assert (found.status, found.remark) == (Status.CONFIRMED, "")
    assert found.decisive is not None
    assert (found.decisive.mean, found.decisive.paper, found.decisive.agreeing) == (pytest.approx(19 / 6), 10, 3)
    assert found.decisive.knn == pytest.approx(-2)
    assert found.decisive.p == pytest.approx(scipy.stats.ttest_1samp([3, 3.5, 3], 0, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("ours", "status", "remark"),
    [
        ((51, 53, 57), Status.DIRECTION, "may be chance"),  # every seed, p 0.12
        ((54, 56, 49), Status.DIRECTION, "may be chance"),  # two of three seeds
        ((49, 51, 49.9), Status.CONTRADICTED, "may be chance"),
        ((47, 46, 46.5), Status.CONTRADICTED, ""),
        ((54,), Status.NOT_TESTED, "one seed"),
    ],
)
def test_what_falls_short_of_a_confirmation(ours: tuple[float, ...], status: Status, remark: str) -> None:
    found = verdict(leads("t/a", "t/b"), row("a", 70, *ours), row("b", 60, 50, 50, 50))
    assert (found.status, found.remark) == (status, remark)


def test_a_claim_without_rows_is_not_tested() -> None:
    two = leads("t/a", "t/b", "t/c")
    assert verdict(two) == Judgment(Claim("a claim", two), Status.NOT_TESTED, "no rows")
    found = verdict(two, row("a", 70, 54, 55, 56), row("b", 60, 50, 50, 50))
    assert (found.status, found.remark) == (Status.NOT_TESTED, "rows missing")
    assert found.decisive is not None
    assert found.decisive.mean == pytest.approx(5), "what there is, is shown"


def test_the_weakest_difference_decides() -> None:
    rows = row("a", 70, 54, 55, 56), row("b", 60, 50, 51, 52.5), row("c", 65, 54.1, 55.2, 56.1)
    found = verdict(leads("t/a", "t/b", "t/c"), *rows)
    assert found.status == Status.CONTRADICTED
    assert str(found.decisive and found.decisive.difference) == "`a` over `c`"
    assert verdict(leads("t/a", "t/b"), *rows).status == Status.CONFIRMED


def test_a_contradiction_by_one_of_many_is_corrected_for_their_number() -> None:
    """Trailing by 1, 2 and 1.5 points has p 0.0175 alone: beyond chance as one of 2, but not as one of 3."""
    names = ("b", "c", "d")
    rows = [row("a", 70, 50, 50, 50), row("b", 60, 51, 52, 51.5)]
    rows += [row(name, 60, 40, 41, 40.5) for name in names[1:]]
    for number, remark in ((2, ""), (3, "may be chance")):
        found = verdict(leads("t/a", *(f"t/{name}" for name in names[:number])), *rows)
        assert (found.status, found.remark) == (Status.CONTRADICTED, remark)


def test_rows_that_count_as_equal_must_stay_within_the_margin() -> None:
    reference = row("a", 70, 50, 51, 52)
    near, off, wide = row("b", 70, 50.2, 51.1, 51.9), row("b", 70, 48, 49.1, 50.2), row("b", 70, 50.9, 50, 53)
    assert verdict(alike("t/a", "t/b"), reference, near).status == Status.CONFIRMED
    assert verdict(alike("t/a", "t/b"), reference, off).status == Status.CONTRADICTED
    assert verdict(alike("t/a", "t/b"), reference, wide).status == Status.DIRECTION
    assert verdict(alike("t/a", "t/b"), row("a", 70, 48, 49.1, 50.2), row("b", 70, 50, 51, 52)).status != (
        Status.CONFIRMED
    ), "on either side"
    assert verdict(keeps("t/a", "t/b"), row("a", 70, 48, 49.1, 50.2), row("b", 70, 50, 51, 52)).status == (
        Status.CONFIRMED
    ), "a gain is no loss"


def with_gain(lead: float, printed: float) -> Gathered:
    """A lead in a scale at which training adds 10 points; it adds 71.1 in the paper."""
    both = gathered(row("a", 60 + printed, *(50 + lead + e for e in (-0.1, 0, 0.1))), row("b", 60, 50, 50, 50))
    both.tables += gathered(row("tau-0.99", 72.5, 47), table="targets").tables
    both.tables += gathered(row("random", 1.4, 37), table="methods").tables
    return both


def test_sizes_are_shares_of_what_training_adds() -> None:
    claim = Claim("a claim", leads("t/a", "t/b"))
    assert judge(claim, with_gain(2, 71.1 * 0.39)).status == Status.CONFIRMED, "a fifth here, two fifths there"
    found = judge(claim, with_gain(2, 71.1 * 0.8))
    assert (found.status, found.remark) == (Status.DIRECTION, "25 % of the paper's size")


def test_losing_less_is_a_difference_of_differences() -> None:
    rows = row("byol-x", 72, 50, 51), row("byol-y", 70, 49, 50.5), row("simclr-x", 68, 52, 53)
    (difference,) = loses_less("t", "x", "y")
    found = measure(difference, gathered(*rows, row("simclr-y", 60, 48, 50)))
    assert found is not None
    assert found.by_seed == pytest.approx({0: 4 - 1, 1: 3 - 0.5})
    assert found.paper == 8 - 2


def test_differences_are_named_by_their_cells() -> None:
    assert [str(one) for one in chain("t/a", "t/b", "t/c")] == ["`a` over `b`", "`b` over `c`"]
    assert [str(one) for one in leads("t/a", "other/b")] == ["`t/a` over `other/b`"]
    assert [str(one) for one in keeps("t/a", "t/b", points=1.5)] == ["`b` at most 1.5 below `a`"]


def test_every_table_has_claims_and_they_make_its_sentence() -> None:
    assert {name: table.claims for name, table in TABLES.items()} == CLAIMS
    assert TABLES["lr"].claim == (
        "learning rates from 0.2 to 0.5 are nearly equal; a thirtieth of the learning rate halves the accuracy"
    )
    texts = [claim.text for claims in CLAIMS.values() for claim in claims]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("scale", [cpu(), small(), paper()], ids=lambda scale: scale.name)
def test_the_papers_own_numbers_satisfy_every_claim(scale: object) -> None:
    printed = {
        f"{table.name}/{cell.name}": cell.paper and cell.paper.value
        for table in TABLES.values()
        for cell in table.cells(scale)  # type: ignore[arg-type]
    }
    for table in TABLES.values():
        for claim in table.claims if table.cells(scale) else ():  # type: ignore[arg-type]
            for difference in claim.differences:
                assert set(difference.cells) <= set(printed), f"{claim.text}: no such cell at this scale"
                plus, minus = ([printed[name] for name in side] for side in (difference.plus, difference.minus))
                if None not in plus + minus:
                    assert sum(plus) - sum(minus) >= difference.least - 1e-9, claim.text  # type: ignore[arg-type]
