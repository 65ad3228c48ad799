"""Ranks, and the report that is made from results files alone."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from byol.cli.main import main
from byol.config.values import replace, to_json
from byol.errors import UserError
from byol.paper.catalog import TABLES
from byol.paper.chance import order_p
from byol.paper.costs import costs_at
from byol.paper.evaluation import evaluation_of
from byol.paper.ranks import Row, decided, on_shared_seeds, sentences, swaps, tau_b, tau_by_seed
from byol.paper.report import marks, write_report
from byol.paper.results import append_line, results_file
from byol.paper.scales import Scale, cpu, cpu_long
from byol.paper.summary import drops, gather

MARKS = marks("results")

few = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)


@given(few)
def test_tau_b_is_scipys(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    ours, theirs = tau_b(x, y), scipy.stats.kendalltau(x, y).statistic
    assert (math.isnan(ours) and math.isnan(theirs)) or ours == pytest.approx(theirs)


def row(name: str, paper: float, *ours: float, spread: float = 0.0) -> Row:
    return Row(name, paper, dict(enumerate(ours)), spread)


def test_every_seed_has_a_tau_of_its_own() -> None:
    rows = [row("a", 3, 30, 10), row("b", 2, 20, 20), row("c", 1, 25, 30)]
    assert tau_by_seed(rows) == pytest.approx({0: 1 / 3, 1: -1})
    assert tau_by_seed([]) == {}


def test_rows_are_compared_on_the_seeds_that_all_have() -> None:
    rows = [Row("a", 2, {0: 1.0, 1: 9.0}), Row("b", 1, {2: 4.0, 0: 2.0})]
    assert [one.by_seed for one in on_shared_seeds(rows)] == [{0: 1.0}, {0: 2.0}]
    assert on_shared_seeds([*rows, Row("c", 0, {3: 0.0})]) == []
    assert on_shared_seeds([]) == []


def test_swapped_pairs_and_their_sentences() -> None:
    rows = [row("a", 70, 50, 52), row("b", 68, 60, 61), row("c", 67.8, 55, 57), row("d", 10, 20, 22)]
    found = {(swap.upper.name, swap.lower.name) for swap in swaps(rows)}
    assert found == {("a", "b"), ("a", "c")}
    assert decided(rows) == (3, 5), "of six pairs, b and c are told apart by nobody; two of five are swapped"
    assert sentences(rows) == [
        "**a** is swapped with b: in the paper 2.0 points above it, here 9.5 below (in each of 2 seeds). Also with c."
    ]
    (close,) = sentences([row("a", 70.2, 50, 52, 51), row("b", 70, 49, 56, 52)])
    assert close.endswith(
        "in the paper 0.2 points below it (within the paper's own spread), here 1.3 above (in 2 of 3 seeds)."
    )
    assert "(one seed, which may be chance)" in sentences([row("a", 2, 1), row("b", 1, 2)])[0]
    assert sentences([row("a", 2, 2), row("b", 1, 1)]) == []


@pytest.mark.parametrize(
    ("points", "spread", "told"),
    [(0.6, 0.0, True), (0.5, 0.0, False), (2.2, 2.1, False), (2.4, 2.1, True), (0.6, 0.1, True)],
)
def test_the_papers_seeds_tell_rows_apart_that_differ_by_both_half_ranges(
    points: float, spread: float, told: bool
) -> None:
    """A half-range that is not printed is a quarter of a point at most (Section 5)."""
    rows = [row("a", 60 + points, 1), row("b", 60, 2, spread=spread)]
    assert decided(rows) == (0, int(told))
    assert ("within the paper's own spread" not in sentences(rows)[0]) == told


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8))
def test_sentences_leave_no_swapped_pair_out(values: list[tuple[int, int]]) -> None:
    rows = [row(f"r{number}", paper, ours) for number, (paper, ours) in enumerate(values)]
    named = {found for sentence in sentences(rows) for found in re.findall(r"\*\*(r\d)\*\*", sentence)}
    assert all({swap.upper.name, swap.lower.name} & named for swap in swaps(rows))


def line_of(
    table: str, cell: str, seed: int, linear: float | None, scale: Scale | None = None, **more: Any
) -> dict[str, Any]:
    """A line as the runner writes it."""
    scale = scale or cpu()
    found = next(one for one in TABLES[table].cells(scale) if one.name == cell)
    config = replace(found.config(scale), seed=seed, device="cpu", precision="bf16", data__workers=1)
    return {
        "table": table,
        "cell": cell,
        "seed": seed,
        "config": to_json(config),
        "scale": scale.name,
        "evaluation": evaluation_of(scale, found.extras),
        "data": {"images": 20000, "test_images": 10000, "classes": 10, "fingerprint": "f" * 16},
        "knn": None if linear is None else linear - 0.05,
        "linear": linear,
        "l2": 1.0,
        "semi": None,
        "verdict": "healthy",
        "seconds": {"training": 200.0, "evaluation": 40.0},
        "machine": {"cpu": "A CPU", "gpu": None, "cores": 2, "threads": 1, "torch": "2.14", "byol": "0.1", "date": "D"},
        **more,
    }


BATCHES = (4096, 2048, 1024, 512, 256)
LOST = {"byol": (0, 0.1, 0.3, 0.6, 1), "simclr": (0, 1, 2, 4, 6)}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Made-up results: targets with one collapsed and one diverged row, and batch sizes of two seeds."""
    folder = tmp_path / "results"
    for cell, linear in {"tau-0.99": 0.6, "tau-0.9": 0.62, "tau-0.999": 0.55, "tau-1": 0.4}.items():
        append_line(results_file(folder, "targets", "cpu"), line_of("targets", cell, 0, linear))
    collapsed = line_of("targets", "tau-0", 0, 0.2, verdict="collapsed")
    append_line(results_file(folder, "targets", "cpu"), collapsed)
    diverged = line_of("targets", "tau-0-predictor-x20", 0, None, verdict="diverged")
    append_line(results_file(folder, "targets", "cpu"), diverged)
    for method, lost in LOST.items():
        for batch, points in zip(BATCHES, lost, strict=True):
            for seed in (0, 1):
                value = 0.6 - points / 100 + seed * (0.02 if points else 0.01)
                line = line_of("batch-size", f"{method}-{batch}", seed, value)
                append_line(results_file(folder, "batch-size", "cpu"), line)
    return folder


def test_the_mean_is_over_the_tables_with_as_many_seeds_as_most(results: Path, tmp_path: Path) -> None:
    """Two tables of two seeds, one in the paper's order and one the other way round; `targets` has one seed."""
    sizes = {"16": 69.9, "32": 71.3, "64": 72.2}
    for seed in (0, 1):
        for number, cell in enumerate(sizes):
            line = line_of("projection", cell, seed, 0.6 - number / 100)
            append_line(results_file(results, "projection", "cpu"), line)
    text = report_on(results, tmp_path)[0]
    found = {
        name: float(re.search(rf"`{name}` .*?\| (-?\d\.\d\d) \|", text)[1]) for name in ("batch-size", "projection")
    }  # type: ignore[index]
    assert found["projection"] == -1
    mean = sum(found.values()) / 2
    assert f"over 2 tables of 2 seeds: **{mean:.2f}** (seed by seed " in text


def report_on(results: Path, tmp_path: Path) -> tuple[str, str]:
    document = tmp_path / "paper.md"
    if not document.is_file():
        document.write_text(f"# By hand\n\n{MARKS[0]}\nold\n{MARKS[1]}\n\nbelow\n")
    write_report(results, document, tmp_path / "report.html")
    return document.read_text(), (tmp_path / "report.html").read_text()


def test_the_report_has_the_papers_rows_beside_ours(results: Path, tmp_path: Path) -> None:
    text, html = report_on(results, tmp_path)
    assert text.startswith("# By hand\n\n" + MARKS[0])
    assert text.endswith(MARKS[1] + "\n\nbelow\n")
    assert "\nold\n" not in text
    assert "| tau 0.99: moving average of online | 72.5 | 60.0 | 55.0 | healthy | 1 |" in text
    assert "| tau 0: stop-gradient of online | 0.3 | 20.0 | 15.0 | collapsed | 1 |" in text
    assert "| tau 0, predictor's rate x 20 | 66.3 ± 0.3 | 10.0 | 10.0 | diverged | 1 |" in text, (
        "chance, of ten classes"
    )
    assert "| SimCLR, 256 (8 here) | 64.3 ± 2.1 | 55.0 ± 1.0 | 50.0 ± 1.0 | healthy | 2 |" in text
    assert "Not run yet: tau 0, predictor's rate x 0; tau 0, predictor's rate x 2" in text
    assert "with 20,000 images a batch of 4096 is too large" in text.lower()
    taus = {"paper": [18.8, 69.8, 72.5, 68.4, 0.3, 66.3], "ours": [40, 55, 60, 62, 20, 10]}
    tau = scipy.stats.kendalltau(taus["paper"], taus["ours"]).statistic
    assert f"**{tau:.2f}** (p {order_p(taus['paper'], taus['ours']):.3f}; one seed)" in text
    assert "**tau 0, predictor's rate x 20** is swapped with" in text
    of_byol = scipy.stats.kendalltau([72.5, 72.4, 72.2, 72.2, 71.8], [60.5, 60.9, 60.7, 60.4, 60.0]).statistic
    of_seeds = [
        scipy.stats.kendalltau([72.5, 72.4, 72.2, 72.2, 71.8], values).statistic
        for values in ([60.0, 59.9, 59.7, 59.4, 59.0], [61.0, 61.9, 61.7, 61.4, 61.0])
    ]
    assert re.search(
        rf"; of BYOL's rows alone \*\*{of_byol:.2f}\*\* \(p 0\.\d+; {of_seeds[0]:.2f}, {of_seeds[1]:.2f}\)", text
    )
    assert "; of SimCLR's rows alone **1.00** (p 0.008; 1.00, " in text, "one order in 120"
    assert f"or **{(of_byol + 1) / 2:.2f}** if the rows of BYOL and of SimCLR" in text
    assert "A CPU, 1 of 2 cores per cell; torch 2.14, byol 0.1; bf16; D: 26 rows and seeds*" in text
    mean = re.search(r"Mean of Kendall's tau-b over 1 table of 2 seeds: \*\*([\d.-]+)\*\*", text)
    assert mean is not None
    assert -1 <= float(mean[1]) <= 1
    assert "Not run at this scale: `bridge`, `augmentations`" in text
    for words in ("tau 0.99: moving average of online", "collapsed", "stop-gradient"):
        assert words in html
    assert report_on(results, tmp_path) == (text, html), "made anew, it is the same"


def test_headline_claims_are_drops_from_each_methods_own_baseline(results: Path, tmp_path: Path) -> None:
    found = gather(results, cpu(), TABLES).table("batch-size")
    assert found is not None
    lost = drops(found)
    assert [drop.paper for drop in lost["byol"]] == pytest.approx([0, 0.1, 0.3, 0.3, 0.7])
    last = lost["simclr"][-1]
    assert last.ours == pytest.approx((6.0, 5.0)), "seed by seed"
    assert (last.mean, last.spread) == (pytest.approx(5.5), pytest.approx(0.5))
    text, _ = report_on(results, tmp_path)
    assert (
        "256 (8 here): BYOL loses 0.5 points, SimCLR 5.5: BYOL **5.0 points less** (in each of 2 seeds); in the paper "
        "2.9 points less." in text
    )
    assert "| 256 (8 here) | -0.7 | -3.6 | -0.5 ± 0.5 | -5.5 ± 0.5 |" in text
    assert "![Smaller batches" in text
    svg = ElementTree.parse(tmp_path / "paper-batch-size-cpu.svg").getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.skipif(not costs_at(cpu()), reason="no cost has been measured yet")
def test_systems_stand_side_by_side_after_the_same_passes_and_the_same_minutes(tmp_path: Path) -> None:
    """Made up: by linear classifier the systems have the published order, by their best layer the opposite one."""
    folder = tmp_path / "results"
    published = {"jigsaw": 45.7, "pirl": 63.6, "simclr": 69.3, "byol": 74.3}
    for seed in (0, 1):
        for number, cell in enumerate(("random", *published)):
            more = {
                "few": 0.2 + number / 100,
                "layers": {"layer3": 0.5 - number / 100, "layer4": 0.9},
                "layer": "layer3",
                "evaluation": evaluation_of(cpu(), frozenset({"layers"})),
            }
            line = line_of("pretext", cell, seed, 0.3 + number / 100 + seed / 50, **more)
            append_line(results_file(folder, "pretext", "cpu"), line)
    more |= {"layers": None, "layer": None, "few": None, "seconds": {"training": 90.0, "evaluation": 1.0}}
    line = line_of("pretext-minutes", "jigsaw", 0, None, **more)
    append_line(results_file(folder, "pretext-minutes", "cpu"), line)
    text, html = report_on(folder, tmp_path)
    epochs = line["config"]["epochs"]
    assert epochs == round(10 / costs_at(cpu())["jigsaw"], 2)
    (grid,) = re.findall(r"### The systems side by side \(cpu\)\n(.*?)\n###", text, re.DOTALL)
    assert (
        "| jigsaw | 45.7 | 32.0 ± 1.0 | 27.0 ± 1.0 | 21.0 | 49.0 (layer3) | 3.3 "
        f"| 10.0 | 10.0 | 10.0 | 10.0 | {epochs:g} | 1.5 |" in grid.replace(" ± 0.0", "")
    ), "chance where features are not finite"
    assert "| BYOL | 74.3 | 35.0 ± 1.0 | 30.0 ± 1.0 | 24.0 | 46.0 (layer3) | 3.3 |  |  |  |  |  |  |" in grid.replace(
        " ± 0.0", ""
    )
    assert grid.index("untrained") < grid.index("| jigsaw") < grid.index("| PIRL") < grid.index("| BYOL")
    ours = [1.4, *published.values()]
    p = order_p(ours, [1, 2, 3, 4, 5])
    assert p == pytest.approx(1 / 120)
    assert f"| linear | 1.00 (p {p:.3f}; 1.00, 1.00) |  |" in grid
    assert "| best layer | -1.00 (p 1.000; -1.00, -1.00) |  |" in grid
    assert (
        "Same passes: 0 of 4 systems are above an untrained network, each at its best layer; not: jigsaw (-1.0), PIRL "
        "(-2.0), SimCLR (-3.0), BYOL (-4.0)." in grid
    )
    assert "Same passes: 4 of 4 systems are above an untrained network, with features of the last layer." in grid
    assert grid.count("Same minutes: the untrained network was not run, or nothing beside it.") == 1
    assert text.count("`byol paper pretext --scale cpu --seeds 3`") == 2, "one command makes both tables"
    assert "same passes: 10-shot" in html


def test_a_seed_that_only_one_method_has_is_not_compared(results: Path, tmp_path: Path) -> None:
    for batch, value in (("4096", 0.9), ("256", 0.1)):
        append_line(results_file(results, "batch-size", "cpu"), line_of("batch-size", f"byol-{batch}", 2, value))
    text, _ = report_on(results, tmp_path)
    assert "BYOL loses 0.5 points, SimCLR 5.5: BYOL **5.0 points less** (in each of 2 seeds)" in text
    assert "| 256 (8 here) | -0.7 | -3.6 | -27.0 ± 40.0 | -5.5 ± 0.5 |" in text, "the grid has all there is"
    assert "; of BYOL's rows alone **" in text


def test_a_longer_run_is_compared_on_the_rows_and_seeds_that_both_scales_have(results: Path, tmp_path: Path) -> None:
    """Longer, tau 0.99 passes 0.9, which gives four rows the order of the paper; what one scale lacks is left out."""
    long = cpu_long()
    more = {"tau-0.99": 0.7, "tau-0.9": 0.65, "tau-1": 0.41, "tau-0": 0.3, "tau-0-predictor-x2": 0.1}
    for cell, linear in more.items():
        append_line(results_file(results, "targets", long.name), line_of("targets", cell, 0, linear, long))
    append_line(results_file(results, "targets", long.name), line_of("targets", "tau-0.9", 1, 0.99, long))
    append_line(results_file(results, "batch-size", long.name), line_of("batch-size", "byol-4096", 0, 0.7, long))
    text, _ = report_on(results, tmp_path)
    ((_, compared),) = re.findall(r"### What a longer run changes (.*?)\n(.*?)###", text, re.DOTALL)
    before = scipy.stats.kendalltau([72.5, 68.4, 18.8, 0.3], [60, 62, 40, 20]).statistic
    assert "at 10 and at 40 epochs; nothing else differs" in compared
    assert f"over 1 table: **{before:.2f}** at 10 epochs, **1.00** at 40." in compared
    target = "`targets` What the target is, and how fast it moves"
    assert f"| {target} | 4 | 1 | {before:.2f} | 1.00 | 5 of 6 | 6 of 6 |" in compared
    assert "| `targets` tau 0.99: moving average of online | 72.5 | 60.0 | 70.0 | +10.0 |" in compared
    assert "predictor's rate" not in compared
    assert "A run has 6,250 updates" in text
    assert "`byol paper targets --scale cpu-long --seeds 3`" in text


def test_scales_that_share_too_few_rows_are_not_compared(results: Path, tmp_path: Path) -> None:
    long = cpu_long()
    for cell in ("tau-0.99", "tau-1"):
        append_line(results_file(results, "targets", long.name), line_of("targets", cell, 0, 0.6, long))
    assert "What a longer run changes" not in report_on(results, tmp_path)[0]


def test_two_rows_are_compared_in_words_alone(tmp_path: Path) -> None:
    for cell, value in (("byol", 0.3), ("no-predictor", 0.4)):
        line = line_of("mean-teacher", cell, 0, value)
        append_line(results_file(tmp_path / "results", "mean-teacher", "cpu"), line)
    text, _ = report_on(tmp_path / "results", tmp_path)
    assert "no predictor (unsupervised Mean Teacher)** is swapped with BYOL" in text
    assert "Kendall" not in text


def test_rows_that_are_all_alike_have_no_order(tmp_path: Path) -> None:
    for cell in ("l2", "layer", "none"):
        line = line_of("normalization", cell, 0, None, verdict="diverged")
        append_line(results_file(tmp_path / "results", "normalization", "cpu"), line)
    text, _ = report_on(tmp_path / "results", tmp_path)
    assert "nan" not in text
    assert "| l2-norm | 72.5 | 10.0 | 10.0 | diverged | 1 |" in text


def test_a_run_on_fewer_images_says_so_everywhere(tmp_path: Path) -> None:
    line = line_of("targets", "tau-0.99", 0, 0.5)
    line["data"]["images"] = 5000
    append_line(results_file(tmp_path / "results", "targets", "cpu"), line)
    text, _ = report_on(tmp_path / "results", tmp_path)
    assert "5,000 training and 10,000 test images" in text
    assert "A run has 390 updates" in text, "ten epochs of 39"


def test_the_page_needs_nothing_else(results: Path, tmp_path: Path) -> None:
    _, html = report_on(results, tmp_path)
    assert not re.search(r"(?:src|href)=|@import|url\(", html)
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(plots) == 3, "two tables, and one claim"
    for plot in plots:
        for part in ElementTree.fromstring(plot).iter():
            for name in ("cx", "cy"):
                assert math.isfinite(float(part.get(name, "0")))


def test_stale_corrupt_and_other_lines_count_for_nothing(results: Path, tmp_path: Path) -> None:
    before, _ = report_on(results, tmp_path)
    path = results_file(results, "targets", "cpu")
    other = line_of("targets", "tau-0.99", 0, 0.01)
    other["config"]["optim"]["lr"] = 1.0
    append_line(path, other)
    foreign = line_of("targets", "tau-0.99", 0, 0.02)
    foreign["data"]["fingerprint"] = "0" * 16
    append_line(path, foreign)
    with path.open("a") as file:
        file.write('{"torn')
    after, _ = report_on(results, tmp_path)
    for line in before.splitlines():
        if line.startswith("| tau"):
            assert line in after
    assert "1 line of other settings in the results file is ignored" in after
    assert "1 line of other images in the results file is ignored" in after
    assert "1 line that cannot be read in the results file is ignored" in after


def test_fine_tuning_is_reported_by_its_own_figures(tmp_path: Path) -> None:
    for name, low, high in (("byol", 0.5, 0.7), ("simclr", 0.4, 0.6), ("supervised", 0.2, 0.5)):
        for share in ("1", "10"):
            line = line_of("label-efficiency", f"{name}-{share}", 0, 0.6, semi={"1%": low, "10%": high})
            append_line(results_file(tmp_path / "results", "label-efficiency", "cpu"), line)
    text, _ = report_on(tmp_path / "results", tmp_path)
    assert "| BYOL, 10 % of the labels | 68.8 | 70.0 |" in text
    assert "| Supervised, 1 % of the labels | 25.4 | 20.0 |" in text


def test_without_marks_or_results_there_is_no_report(results: Path, tmp_path: Path) -> None:
    document = tmp_path / "bare.md"
    document.write_text("nothing")
    with pytest.raises(UserError, match="has no lines"):
        write_report(results, document, tmp_path / "x.html")
    with pytest.raises(UserError, match="no results in"):
        write_report(tmp_path / "empty", None, tmp_path / "x.html")


def test_claims_stand_at_the_top_and_in_three_lines_of_the_readme(results: Path, tmp_path: Path) -> None:
    document, readme = tmp_path / "paper.md", tmp_path / "README.md"
    document.write_text("# Tables\n\n" + "\n@@\n".join("\nold\n".join(marks(s)) for s in ("claims", "results")))
    readme.write_text("\nold\n".join(marks("summary")))
    assert readme in write_report(results, document, tmp_path / "report.html", readme)
    above, _, below = document.read_text().partition("@@")
    html = (tmp_path / "report.html").read_text()
    assert "\nold\n" not in above + below + readme.read_text()
    assert "Of 7 claims: 1 confirmed; 2 direction only; 0 contradicted at this scale; 4 not tested." in above
    claim = "`batch-size` BYOL loses less than SimCLR down to 256 images"
    decided = "SimCLR's loss over BYOL's, `4096` to `256` | +2.9 | +5.0 | 2 of 2 | < 0.001 | +5.0"
    assert f"| {claim} | **confirmed** | {decided} |" in above
    assert "down to 256 images | **" not in below
    assert html.index("BYOL loses less than SimCLR down to 256 images") < html.index("At the scale cpu<")
    before, *lines, after = readme.read_text().splitlines()
    assert (before, after) == marks("summary")
    assert [line.split("**")[1] for line in lines] == ["Confirmed", "Direction only", "Contradicted at this scale"]
    assert "BYOL loses less than SimCLR down to 256 images (+5.0)" in lines[0]
    assert lines[2].endswith("**Not tested**, 4: one seed or rows missing.")


def test_the_documents_are_those_that_the_results_give(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    for name in ("docs/paper.md", "README.md"):
        shutil.copy(root / name, tmp_path)
    write_report(root / "results/paper", tmp_path / "paper.md", tmp_path / "report.html", tmp_path / "README.md")
    for made in (root / "docs/paper.md", root / "README.md", *(root / "docs").glob("paper-*.svg")):
        assert made.read_text() == (tmp_path / made.name).read_text(), f"{made.name}: run byol paper report"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["paper", *map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code is None or isinstance(ended.value.code, int)
    return ended.value.code or 0, said.out, said.err


def test_the_list_says_what_tables_claim_and_cost(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--results", results)
    assert code == 0
    listed = out.split("\n")
    assert listed[0].startswith("targets           Tables 5a and 21: a slowly moving average is best")
    assert "cpu: 9 cells, 36 min (measured)" in listed[1], "240 s each, as the results file has them"
    assert "cpu: 9 cells," not in listed[3]
    assert "(estimated)" in listed[3]
    assert all(any(line.startswith(name + " ") for line in listed) for name in TABLES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batchsize"], "There is no table 'batchsize'. Did you mean 'batch-size'? There are: targets,"),
        (
            ["lr", "--scale", "smal"],
            "There is no scale 'smal'. Did you mean 'small'? The scales are: cpu, cpu-short, cpu-long, small, paper.",
        ),
        (["lr", "--seeds", "0"], "seeds is 0"),
        (["lr", "--jobs", "0"], "jobs is 0"),
        (["lr", "--images", "0"], "images is 0, but must be 1 or more"),
        (["lr", "--data", "somewhere"], "Give --test"),
        (["lr", "--scale", "paper"], "The scale paper needs your labeled images: give --data and --test"),
        (["all", "--scale", "paper", "--test", "in/val"], "The scale paper needs your labeled images: give --data"),
        (["lr", "--data", "nowhere/a.parquet", "--test", "nowhere/b.parquet"], "'nowhere/a.parquet' is not there"),
        (["lr", "--part", "5/4"], "part is '5/4'"),
        (["lr", "--only", "x7"], "No cell is called x7; the cells of lr are: x0.033,"),
    ],
)
def test_wrong_commands_get_one_sentence_and_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, *arguments, "--results", tmp_path)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_the_papers_scale_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "normalization", "--scale", "paper", "--data", "in/train", "--test", "in/val")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 8
    assert all("--logging.no-stop-on-collapse" in line for line in lines[::2]), "a row is the whole schedule"
    assert lines[2].startswith("torchrun --nproc-per-node 8 -m byol pretrain in/train --recipe paper-300 ")
    assert "--method.normalization layer" in lines[2]


def test_all_at_the_papers_scale_trains_once_and_evaluates_as_every_table_asks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capsys, "all", "--scale", "paper", "--data", "in/train", "--test", "in/val")
    assert code == 0
    lines = out.splitlines()
    trained = [line for line in lines if line.startswith("torchrun")]
    assert len(trained) == len(set(trained))
    few = [line for line in lines if line.startswith("byol eval semi")]
    assert len(few) == 3, "BYOL, SimCLR and untrained weights, of tables that come before"
    assert len([line for line in lines if line.startswith("byol eval linear")]) == len(trained)
    assert {line.split()[-1] for line in few}.isdisjoint(line.split()[-1] for line in lines if "linear" in line)


def test_report_by_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "report", "--results", results, "--document", "none.md", "--readme", "none.md")
    assert code == 0
    assert out.strip() == f"written to {results / 'report.html'}"
    assert json.loads((results / "targets-cpu.jsonl").read_text().splitlines()[0])["cell"] == "tau-0.99"
