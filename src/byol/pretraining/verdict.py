"""The verdict on a run, in words: from the course of its measures, and from labels where there are some.

Every threshold was chosen on six data sets of `benchmarks/verdicts.py` and is judged on three others (docs/health.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from byol.evals.paired import CLEAR, Pairs
from byol.methods.base import Method
from byol.pretraining.health import Health
from byol.pretraining.monitor import Reading

Word = Literal[
    "learned",
    "learned little",
    "did not learn",
    "collapsing",
    "collapsed",
    "diverged",
    "forgot its start",
    "cannot tell",
    "untrained",
]

COLLAPSED_SPREAD = 0.1
"""Spread of the projections below which they all say the same."""
COLLAPSED_RANK = 1.5
"""Effective rank of the representation below which it is a single number."""
SHRUNKEN_SPREAD = 0.45
"""Share of the first spread below which projections are collapsing, where views agree as follows."""
CLOSE_AGREEMENT = 0.9
"""Mean cosine of two views that, with so small a spread, views of any two images have."""
MERGING_SPREAD = 0.6
"""Share of the first spread below which they are, where views stand out no farther than they did at first."""
SHRINKING_SPREAD, SHRINKING_SEPARATION = 0.8, 0.6
"""Shares of the first spread and separation below both of which they are, however views agree."""
SHRUNKEN_RANK = 0.15
"""Share of the first effective rank below which the representation is collapsing to a few directions."""
LEARNED, LEARNED_MATCH = 0.25, 0.075
"""How much farther views stand out from those of other images than before training (`Health.separation`), and how many
more of them find their own image, from both of which a run has learned."""
LEARNED_LITTLE = 0.12
"""How much farther views stand out where a run has learned a little, if more of them find their own image."""
LOST = 0.8
"""Share of the first separation below which a run has learned nothing that survives augmentation."""
STILL = 0.02
"""Changes of agreement and spread below which the network has hardly moved."""
ONE_OF_MANY = 0.2
"""Separation before training below which the images, or so few projections, cannot be told apart at all."""
ALIKE_MATCH = 0.5
"""Share of views that find their own image before training, from which views are too alike to show anything."""
ENOUGH_IMAGES = 64
"""Images below which the measures say too little."""

WORTH_IT = 0.05
"""Gain of accuracy that is worth it."""
SIGNIFICANT = 0.05
"""p of McNemar's test below which a gain is no chance."""
FEW_VOTERS = 60
"""Labeled images below which neighbors say too little."""
COPIES = 0.05
"""Share of the queries that may have a copy among the images that vote."""
NOTHING = 0.02
"""Gain that can be ruled out where a run is said not to have learned."""

LABELS_TELL = "Labels of a few hundred images would tell (--monitor)."


@dataclass(frozen=True)
class Verdict:
    """What is said of a run."""

    word: Word
    sentence: str
    advice: str = ""

    @property
    def stops(self) -> bool:
        """Whether going on is a waste."""
        return self.word in ("collapsed", "diverged")

    @property
    def failed(self) -> bool:
        """Whether the run went wrong, seen while it went on or at its end."""
        return self.word in ("collapsed", "collapsing", "diverged")


@dataclass(frozen=True)
class Course:
    """What was seen of a run, in the order in which it was."""

    looks: Sequence[Health]
    losses: Sequence[float]
    gradient_norms: Sequence[float]
    start: Health | None = None
    """At step 0; None in runs that did not keep it."""
    started: bool = False
    """Whether it began with weights that had been trained."""


def judge(course: Course, method: type[Method]) -> Verdict:
    """The verdict from the measures alone.

    Two looks in a row must agree on a collapse: a network passes through strange states in its first steps. A method
    under which views of an image need not become alike is judged by collapse and divergence only.
    """
    if any(not math.isfinite(v) for v in [*course.losses[-1:], *course.gradient_norms[-1:]]):
        return Verdict(
            "diverged",
            "Diverged: the loss or its gradient is no longer a number.",
            "Start again with a third of the learning rate (--optim.lr), a longer warm-up (--optim.warmup-epochs), "
            "or --precision float32.",
        )
    if not course.looks:
        return Verdict("cannot tell", "Cannot tell: too short a run, no measure was taken.", "Train longer (--epochs).")
    last, first = course.looks[-1], course.start or course.looks[0]
    words = _in_words(last, course.start)
    two = course.looks[-2:]
    if len(two) == 2 and all(_collapsed(look) for look in two):
        return Verdict(
            "collapsed",
            f"Collapsed: the network says the same of every image ({words}).",
            _advice(method, "raise the learning rate if it is very low, or the batch size if it is below 32"),
        )
    if len(two) == 2 and method.views_agree and all(_collapsing(look, first) for look in two):
        return Verdict(
            "collapsing",
            f"Collapsing: images become more and more alike ({words}).",
            _advice(method, "see whether the images differ at all (byol views)"),
        )
    if not method.views_agree:
        return Verdict("cannot tell", f"No collapse: {words}. Whether it learned is seen with labels (--monitor).")
    if course.started and course.start is not None:
        return _kept(last, course.start, words)
    return _learned(last, course.start, words)


def _kept(last: Health, start: Health, words: str) -> Verdict:
    """What views say of a run that began with trained weights: whether it lost them, not whether it improved them."""
    if last.separation < LOST * start.separation:
        return Verdict(
            "forgot its start",
            f"Forgot its start, as far as views tell: {words}.",
            f"Train with a tenth of the learning rate (--optim.lr). {LABELS_TELL}",
        )
    if _still(last, start):
        return Verdict("did not learn", f"Did not learn: the weights are nearly as they were; {words}.")
    return Verdict("cannot tell", f"Cannot tell whether it improved its start, from views alone: {words}.", LABELS_TELL)


def _still(last: Health, start: Health) -> bool:
    """Whether the network has hardly moved."""
    return max(abs(last.agreement - start.agreement), abs(last.spread - start.spread)) < STILL


def _learned(last: Health, start: Health | None, words: str) -> Verdict:
    """What views say of a run that neither collapsed nor diverged."""
    if start is None:
        return Verdict("cannot tell", f"Cannot tell: the measures at step 0 are not known; {words}.", LABELS_TELL)
    if last.chance > 1 / ENOUGH_IMAGES:
        count = round(1 / last.chance)
        return Verdict("cannot tell", f"Cannot tell: {count} images are too few; {words}.", LABELS_TELL)
    if start.match >= ALIKE_MATCH:
        return Verdict(
            "cannot tell",
            f"Cannot tell: the views of an image are so alike that an untrained network finds them; {words}.",
            f"Look at the views (byol views), and make them differ more. {LABELS_TELL}",
        )
    if start.separation < ONE_OF_MANY:
        return Verdict(
            "cannot tell",
            f"Cannot tell: before training, views of one image are hardly more alike than those of others; {words}.",
            f"See whether the images differ, or are copies of few (byol views). {LABELS_TELL}",
        )
    gain, more = last.separation - start.separation, last.match - start.match
    clear = more > CLEAR * _match_error(last, start)
    if clear and gain >= LEARNED and more >= LEARNED_MATCH:
        return Verdict("learned", f"Learned, as far as views tell: {words}.", LABELS_TELL)
    if clear and gain >= LEARNED_LITTLE:
        return Verdict(
            "learned little",
            f"Learned little, as far as views tell: {words}.",
            f"Train longer (--epochs, --budget). {LABELS_TELL}",
        )
    if _still(last, start) or last.separation < LOST * start.separation:
        return Verdict(
            "did not learn",
            f"Did not learn, as far as views tell: {words}.",
            "Train longer (--epochs, --budget), see whether the learning rate is far too small or too large "
            "(--optim.lr), and look at the views (byol views) for an augmentation that destroys what matters in your "
            "images.",
        )
    return Verdict("cannot tell", f"Cannot tell whether it learned, from views alone: {words}.", LABELS_TELL)


def _match_error(last: Health, start: Health) -> float:
    """Standard error of the change of the share of views that find their own image."""
    return math.sqrt(sum(look.match * (1 - look.match) * look.chance for look in (last, start)))


def with_labels(verdict: Verdict, after: Reading, before: Reading, pixels: Reading, started: bool) -> Verdict:
    """The verdict where labels are known: what training changed, by McNemar's test on the same images.

    Where groups are held apart, it is the test on the change of each group that answers.

    Args:
        verdict: from the measures; a collapse or a divergence stands, whatever the labels say.
        after: of the trained encoder.
        before: of the encoder that the run began with.
        pixels: of no encoder at all.
        started: whether the run began with weights that had been trained.
    """
    pairs = after.pairs_since(before)
    low, high = (100 * end for end in pairs.interval)
    between = f"{low:+.1f} to {high:+.1f}" if math.isfinite(low) else "one group alone gives no interval"
    kept = "the start weights" if started else "the same network untrained"
    votes = f"{after.queries} images" if after.bank < after.queries else f"{after.queries} images, {after.bank} vote"
    if after.groups is not None:
        votes += f", {len(set(after.groups.tolist()))} groups held apart"
    figures = (
        f"20-NN accuracy {after.accuracy:.1%} ({votes}); {kept} {before.accuracy:.1%}, bare pixels "
        f"{pixels.accuracy:.1%}: {100 * pairs.gain:+.1f} points ({between})"
    )
    seen = verdict.sentence.partition(": ")[2].removesuffix(".")
    if verdict.failed:
        return Verdict(verdict.word, f"{verdict.sentence} {figures}.", verdict.advice)
    if after.bank < FEW_VOTERS:
        return Verdict("cannot tell", f"Cannot tell: {after.bank} images are too few to vote; {figures}; {seen}.")
    if pixels.copies > COPIES * after.queries:
        words = f"{pixels.copies} of {after.queries} monitored images are copies of training images"
        return Verdict("cannot tell", f"Cannot tell: {words}; {figures}.", "Monitor images that training never sees.")
    word = _word(pairs, started)
    said = "Learned, and worth it" if word == "learned" else word.capitalize()
    below = after.pairs_since(pixels)
    if below.p < SIGNIFICANT and below.gain < 0:
        said = word.capitalize()
        figures += ", still less than bare pixels"
    return Verdict(word, f"{said}: {figures}; {seen}.", _what_next(word, after.queries, high))


def _word(pairs: Pairs, started: bool) -> Word:
    """What a change of right answers is called."""
    clear = pairs.p < SIGNIFICANT
    if clear and pairs.gain >= WORTH_IT:
        return "learned"
    if clear and pairs.gain > 0:
        return "learned little"
    if clear:
        return "forgot its start" if started else "did not learn"
    return "did not learn" if pairs.interval[1] < NOTHING else "cannot tell"


def _what_next(word: Word, queries: int, high: float) -> str:
    match word:
        case "learned":
            return ""
        case "learned little":
            return "A longer run may gain more (--epochs, --budget)."
        case "forgot its start":
            return "Use the start weights as they were, or train with a tenth of the learning rate (--optim.lr)."
        case "cannot tell":
            if not math.isfinite(high):
                return "Labels of more groups would tell."
            return f"On {queries} labeled images a gain of up to {high:.1f} points is possible; label more to tell."
    return "Train longer (--epochs, --budget), or see whether the learning rate fits (--optim.lr)."


def untrained(look: Health) -> Verdict:
    """What is said of an encoder that took no step."""
    return Verdict("untrained", f"Untrained, as asked: no step was taken; {_in_words(look, None)}.")


def _advice(method: type[Method], rest: str) -> str:
    """One sentence: what the method advises, and what holds for all."""
    sentence = ", ".join([*method.advice, rest])
    return f"{sentence[0].upper()}{sentence[1:]}."


def _in_words(h: Health, start: Health | None) -> str:
    match, spread, rank = "", "", ""
    if start is not None:
        match, spread, rank = f"{start.match:.0%} before training, ", f"{start.spread:.2f} to ", f"{start.rank:.0f} to "
    return (
        f"views find their own image among {round(1 / h.chance)} in {h.match:.0%} of cases ({match}chance "
        f"{h.chance:.1%}), spread {spread}{h.spread:.2f} of 1, effective rank {rank}{h.rank:.0f}"
    )


def _collapsed(h: Health) -> bool:
    return not math.isfinite(h.rank) or h.spread < COLLAPSED_SPREAD or h.rank < COLLAPSED_RANK


def _collapsing(h: Health, first: Health) -> bool:
    alike = h.spread < SHRUNKEN_SPREAD * first.spread and h.agreement > CLOSE_AGREEMENT
    merging = h.spread < MERGING_SPREAD * first.spread and h.separation <= first.separation
    shrinking = h.spread < SHRINKING_SPREAD * first.spread and h.separation < SHRINKING_SEPARATION * first.separation
    return _collapsed(h) or alike or merging or shrinking or h.rank < SHRUNKEN_RANK * first.rank
