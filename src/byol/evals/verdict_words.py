"""The verdict in one paragraph, made from the numbers of the table alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Scores = Mapping[str, Mapping[str, tuple[float, float, float]]]
"""Row to column to mean, standard deviation over draws, and standard error, each in [0, 1]."""

CHANGED = 0.1
"""Share of the images whose k-NN prediction changes between right and wrong from one reading to the next. The standard
error of a difference is computed from it: on 1,000 images, twice that error is 2 points."""
MONITORED = 1000
"""Images of a k-NN reading during training, if there are so many."""
CLEAR = 2.0
"""A difference is called one from this many standard errors."""


@dataclass(frozen=True)
class TrainingRun:
    """How a run was trained, and how it was monitored."""

    images: int
    epochs: float
    monitored: int = MONITORED
    """Images that each k-NN accuracy during training is measured on."""


def paragraph(
    scores: Scores, labels: Mapping[str, float], history: Sequence[float] = (), run: TrainingRun | None = None
) -> str:
    """What pretraining gains, and whether more training, more images or more labels would help.

    Args:
        scores: a row `this run`, and others to compare with.
        labels: columns in order, to labels per class; the last has all.
        history: k-NN accuracies over the run, evenly spaced.
        run: how the encoder was trained.
    """
    sentences = [_bought(scores, column, labels[column]) for column in _ends(labels)]
    sentences += [
        text for text in (_saved(scores, labels), _more_labels(scores, labels), _more_training(history, run)) if text
    ]
    return " ".join(sentences)


def _ends(labels: Mapping[str, float]) -> list[str]:
    """The last two columns: the largest number of labels below all, and all."""
    columns = list(labels)
    return columns[-2:] if len(columns) > 1 else columns


def _words(column: str, count: float) -> str:
    if column == "all":
        return f"all labels ({count:,.0f} per class)"
    return "one label per class" if count == 1 else f"{count:g} labels per class"


def _bought(scores: Scores, column: str, count: float) -> str:
    """This run compared with the best row that needs no pretraining."""
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
    doublings = math.log2(labels[after] / labels[before])
    error = CLEAR * math.hypot(cells[before][2], cells[after][2])
    start = f"From {_words(before, labels[before])} to all ({labels[after]:,.0f})"
    each = 100 * rise / doublings
    if rise > error and each >= 1:
        return f"{start} each doubling of the labels brings {each:.1f} points: more labels still help."
    if 100 * (rise + error) / doublings < 1:
        return f"{start} a doubling of the labels brings less than a point: more labels help little."
    change = f"{start} accuracy changes by {100 * rise:+.1f} points ({_chance(error)})"
    return f"{change}: whether more labels would help cannot be told from this."


def _more_training(history: Sequence[float], run: TrainingRun | None) -> str:
    """Whether the run was still improving when it ended; needs four readings.

    A run that has leveled off may gain much from a longer schedule, whose rate falls later. So nothing is concluded
    from a level end.
    """
    if len(history) < 4:
        return ""
    start = history[-1 - max(1, len(history) // 4)]
    rise = history[-1] - start
    change = f"k-NN accuracy went from {100 * start:.1f} to {100 * history[-1]:.1f} % over the last quarter of the run"
    times = "" if run is None else "once" if round(run.epochs) == 1 else f"{run.epochs:,.0f} times"
    passes = "" if run is None else f", which saw each of its {run.images:,} images {times}"
    if rise >= CLEAR * math.sqrt(CHANGED / (run.monitored if run else MONITORED)):
        return f"{change}{passes}: longer training would help."
    return f"{change}{passes}: no clear rise, but whether a longer run would gain more cannot be told from this."


def _chance(error: float) -> str:
    return f"anything below {100 * error:.1f} may be chance"


def _percent(mean: float, std: float) -> str:
    return f"{100 * mean:.1f} %" if std == 0 else f"{100 * mean:.1f} ± {100 * std:.1f} %"
