"""The verdict's one paragraph: plain words, and nothing in them but the numbers of the table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Scores = Mapping[str, Mapping[str, tuple[float, float, float]]]
"""Row to column to mean, standard deviation over draws, and standard error, each in [0, 1]."""

CHANGED = 0.1
"""Part of the images of two k-NN readings that change sides between them: what the standard error of their difference
is reckoned from. On 1,000 images, twice that is 2 points."""
MANY_PASSES = 100
"""Times that each image was seen from which a run that has leveled off is short of images rather than of time. Our
own choice; the paper does not decide it."""
LEVEL = 0.03
"""Rise that may be chance from which on nothing is said of a run that did not rise more: the images were too few."""
ASKED = 1000
"""Images of a reading during training, where there are so many."""
CLEAR = 2.0
"""Standard errors that a difference must have to be called one."""


@dataclass(frozen=True)
class Seen:
    """What a run was trained on."""

    images: int
    epochs: float
    asked: int = ASKED
    """Images that each k-NN accuracy during training is of."""


def paragraph(
    scores: Scores, labels: Mapping[str, float], history: Sequence[float] = (), seen: Seen | None = None
) -> str:
    """What pretraining bought, and where more training, more images or more labels would help.

    Args:
        scores: a row `this run`, and others to compare with.
        labels: columns in order, to labels per class; the last has all.
        history: k-NN accuracies over the run, evenly spaced.
        seen: how many images the run had, how often it saw each, and how many its history is of.
    """
    sentences = [_bought(scores, column, labels[column]) for column in _ends(labels)]
    sentences += [
        text for text in (_saved(scores, labels), _more_labels(scores, labels), _more_training(history, seen)) if text
    ]
    return " ".join(sentences)


def _ends(labels: Mapping[str, float]) -> list[str]:
    """The last number of labels before all, and all."""
    columns = list(labels)
    return columns[-2:] if len(columns) > 1 else columns


def _words(column: str, count: float) -> str:
    if column == "all":
        return f"all labels ({count:,.0f} per class)"
    return "one label per class" if count == 1 else f"{count:g} labels per class"


def _bought(scores: Scores, column: str, count: float) -> str:
    """The run beside the best of what needs no pretraining."""
    mean, std, doubt = scores["this run"][column]
    others = {row: cells[column] for row, cells in scores.items() if row != "this run"}
    start = f"With {_words(column, count)} this run's features reach {_percent(mean, std)}"
    if not others:
        return start + "."
    plain = {row: cell for row, cell in others.items() if row != "ImageNet weights"}
    text = start
    if plain:
        best = max(plain, key=lambda row: plain[row][0])
        gain = mean - plain[best][0]
        error = CLEAR * math.hypot(doubt, plain[best][2])
        listed = ", ".join(f"{row} {_percent(*cell[:2])}" for row, cell in plain.items())
        if gain > error:
            text += f" ({listed}): pretraining bought {100 * gain:.1f} points over the best of these, {best}"
        elif gain < -error:
            text += f" ({listed}): pretraining did not pay, {best} came out {-100 * gain:.1f} points better"
        else:
            text += f" ({listed}): no clear difference to {best} ({100 * gain:+.1f} points; {_chance(error)})"
    if "ImageNet weights" in others:
        gap = 100 * (mean - others["ImageNet weights"][0])
        text += f"; weights trained on ImageNet's labels are {abs(gap):.1f} points {'worse' if gap > 0 else 'better'}"
    return text + "."


def _saved(scores: Scores, labels: Mapping[str, float]) -> str:
    """How many labels training from scratch needs to reach what the run reaches with few."""
    columns = list(labels)
    if "from scratch" not in scores or len(columns) < 2:
        return ""
    fewest = columns[-2]
    mean = scores["this run"][fewest][0]
    enough = [column for column in columns if scores["from scratch"][column][0] >= mean]
    words = _words(fewest, labels[fewest])
    if not enough:
        return f"Training from scratch does not reach with all labels what this run reaches with {words}."
    if labels[enough[0]] <= labels[fewest]:
        return ""
    ratio = labels[enough[0]] / labels[fewest]
    return f"Training from scratch needs more than {words} to get there, at most {ratio:,.0f} times as many."


def _more_labels(scores: Scores, labels: Mapping[str, float]) -> str:
    columns = list(labels)
    if len(columns) < 2:
        return ""
    cells, (before, after) = scores["this run"], columns[-2:]
    if labels[after] <= labels[before]:
        return ""
    rise = cells[after][0] - cells[before][0]
    each = 100 * rise / math.log2(labels[after] / labels[before])
    start = f"From {_words(before, labels[before])} to all ({labels[after]:,.0f})"
    error = CLEAR * math.hypot(cells[before][2], cells[after][2])
    if abs(rise) <= error:
        return (
            f"{start} accuracy changes by {100 * rise:+.1f} points ({_chance(error)}): more labels alone help little."
        )
    advice = "more labels still help" if each >= 1 else "more labels help little"
    return f"{start} each doubling of the labels brings {each:.1f} points: {advice}."


def _more_training(history: Sequence[float], seen: Seen | None) -> str:
    """Whether the run was still rising when it ended; nothing is said of fewer than four readings."""
    if len(history) < 4:
        return ""
    start = history[-1 - max(1, len(history) // 4)]
    rise = history[-1] - start
    change = f"k-NN accuracy went from {100 * start:.1f} to {100 * history[-1]:.1f} % over the last quarter of the run"
    times = "" if seen is None else "once" if round(seen.epochs) == 1 else f"{seen.epochs:,.0f} times"
    passes = "" if seen is None else f", which saw each of its {seen.images:,} images {times}"
    chance = CLEAR * math.sqrt(CHANGED / (seen.asked if seen else ASKED))
    if rise >= chance:
        return f"{change}{passes}: longer training would help."
    if chance > LEVEL:
        return ""
    if seen is None:
        return f"{change}: it had leveled off, so the same for longer would help little."
    if seen.epochs >= MANY_PASSES:
        return f"{change}{passes}: it had leveled off, so more images would help more than longer training."
    return (
        f"{change}{passes}: it had leveled off before its images were used up, so neither more images nor a "
        "longer run of the same would help much; another encoder, image size or learning rate might."
    )


def _chance(error: float) -> str:
    return f"anything below {100 * error:.1f} may be chance"


def _percent(mean: float, std: float) -> str:
    return f"{100 * mean:.1f} %" if std == 0 else f"{100 * mean:.1f} ± {100 * std:.1f} %"
