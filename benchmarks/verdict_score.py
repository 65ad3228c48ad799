"""Judge the recorded runs of `verdicts.py` by the words of the product, and count how often these are right."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from byol.evals.paired import Pairs
from byol.methods.base import Method
from byol.methods.table import METHODS
from byol.pretraining.health import Health
from byol.pretraining.monitor import Reading
from byol.pretraining.verdict import Course, Verdict, judge, with_labels

Line = Mapping[str, Any]
Truth = Literal["better", "not better", "unclear", "broken"]

CLEAR_GAIN = 0.01
"""Mean gain of k-NN and linear accuracy from which an encoder is better, if its interval is above 0."""
SMALL = 0.02
"""Mean gain that the interval must rule out for an encoder that is not better."""
COLLAPSES = ("no predictor", "VICReg without variance")
"""Cases that collapse by their construction: nothing keeps the projections apart."""


def truth_of(line: Line) -> Truth:
    """Whether the encoder is better than its start, by both classifiers on the held-out images."""
    found = line["truth"]
    if not found["finite"]:
        return "broken"
    pairs = [Pairs(found["queries"], found[by]["gained"], found[by]["lost"]) for by in ("knn", "linear")]
    gain = sum(p.gain for p in pairs) / 2
    error = 1.96 * sum(p.error for p in pairs) / 2  # both are of the same images: no square root of two is gained
    if gain >= CLEAR_GAIN and gain - error > 0:
        return "better"
    return "not better" if gain <= 0 or gain + error < SMALL else "unclear"


def collapses(line: Line) -> bool:
    """Whether a run collapses by its construction."""
    return line["case"].startswith(COLLAPSES)


def method_of(line: Line) -> type[Method]:
    """The method of a case."""
    names = {config.name: method for config, method in METHODS.items()}
    return names[next((n for n in ("simclr", "moco", "vicreg") if line["case"].lower().startswith(n)), "byol")]


def without_labels(line: Line) -> Verdict:
    """What the product says of the measures alone."""
    columns = line["looks"]
    looks = [
        Health(**{k: math.nan if v is None else v for k, v in zip(columns, row, strict=True) if k != "step"})
        for row in zip(*columns.values(), strict=True)
    ]
    numbers = [[math.nan if v is None else v for v in line[key]] for key in ("losses", "gradient_norms")]
    started = line["case"].startswith("start")
    return judge(Course(looks[1:], *numbers, start=looks[0], started=started), method_of(line))


def with_readings(line: Line) -> Verdict | None:
    """What it says where labels are known; None where there were none."""
    readings = line["readings"]
    if "gained" not in readings or without_labels(line).word == "diverged":
        return None
    queries = round(readings["sample_images"])
    start = readings.get("start", readings.get("untrained"))
    before, after = _answers(queries, start, int(readings["gained"]), int(readings["lost"]), _bank(line))
    pixels = _reading(torch.arange(queries) < round(readings["pixels"] * queries), _bank(line))
    pixels = replace(pixels, copies=int(readings.get("copies", 0)))
    return with_labels(without_labels(line), after, before, pixels, line["case"].startswith("start"))


def _bank(line: Line) -> int:
    """Labeled images that voted."""
    first, _, rest = line["case"].partition(" ")
    return int(first) if rest == "images" else 1500


def _answers(queries: int, accuracy: float, gained: int, lost: int, bank: int) -> tuple[Reading, Reading]:
    """Readings with so many right answers, gained and lost."""
    right = round(accuracy * queries)
    before = torch.arange(queries) < right
    after = before.clone()
    after[:lost] = False
    after[right : right + gained] = True
    return _reading(before, bank), _reading(after, bank)


def _reading(correct: torch.Tensor, bank: int) -> Reading:
    return Reading(float(correct.float().mean()), bank, len(correct), correct=correct)


@dataclass(frozen=True)
class Rate:
    """How many of some runs were judged in a way."""

    what: str
    hits: int
    runs: int
    goal: float | None
    at_most: bool = True

    @property
    def share(self) -> float:
        return self.hits / self.runs if self.runs else 0.0


def rates(lines: Sequence[Line]) -> list[Rate]:
    """The figures that goals are set for."""
    known = [line for line in lines if "looks" in line]
    images = [line for line in known if line["case"] != "shuffled labels"]  # the truth of these is of no images
    alone = {id(line): without_labels(line) for line in known}
    labeled = {id(line): verdict for line in known if (verdict := with_readings(line)) is not None}

    def count(what: str, goal: float | None, of: Callable[[Line], bool], hit: Callable[[Line], bool]) -> Rate:
        runs = [line for line in (images if what.startswith("without") else known) if of(line)]
        return Rate(what, sum(map(hit, runs)), len(runs), goal)

    def decided(line: Line) -> bool:
        return id(line) in labeled and truth_of(line) in ("better", "not better") and not labeled[id(line)].failed

    told = [line for line in known if decided(line) and labeled[id(line)].word != "cannot tell"]
    right = [line for line in told if (labeled[id(line)].word.startswith("learned")) == (truth_of(line) == "better")]
    return [
        count(
            "without labels: 'learned' of runs that are not better",
            0.02,
            lambda line: truth_of(line) in ("not better", "broken") or collapses(line),
            lambda line: alone[id(line)].word == "learned",
        ),
        count("without labels: missed collapse", 0.01, collapses, lambda line: not alone[id(line)].failed),
        count(
            "without labels: false alarm of collapse",
            0.05,
            lambda line: truth_of(line) == "better" and not line["case"].startswith(COLLAPSES),
            lambda line: alone[id(line)].failed,
        ),
        count(
            "without labels: 'learned' of runs that are better",
            None,
            lambda line: truth_of(line) == "better" and not line["case"].startswith(COLLAPSES),
            lambda line: alone[id(line)].word.startswith("learned"),
        ),
        Rate("with labels: right, of those that are told", len(right), len(told), 0.97, at_most=False),
        count("with labels: cannot tell", None, decided, lambda line: labeled[id(line)].word == "cannot tell"),
    ]


def table(lines: Sequence[Line]) -> str:
    """For each case what is true and what is said, over all data sets and seeds, as text."""
    cases = dict.fromkeys(line["case"] for line in lines)
    rows = [("case", "runs", "truth", "said without labels", "said with labels")]
    for case in cases:
        runs = [line for line in lines if line["case"] == case and "looks" in line]
        said = [verdict.word for line in runs if (verdict := with_readings(line)) is not None]
        words = (map(truth_of, runs), (without_labels(line).word for line in runs), said)
        rows.append((case, str(len(runs)), *(_counted(list(column)) for column in words)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common()) or "-"
