"""The page of a run: the verdict first, then its course, its data, its settings, and how to use what it left.

It is made from the files of the run's folder alone, so that it can be made of any run, of one that goes on too.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from byol.config.run import PretrainConfig
from byol.config.values import to_json
from byol.data.sample import evenly
from byol.encoders.file import EncoderCard, card_of, has_card
from byol.pretraining.run_folder import RunFolder, RunPlan, load_plan
from byol.pretraining.verdict import Verdict
from byol.report.axis import Axis
from byol.report.chart import Plot, chart
from byol.report.document import Block, Commands, Figure, Grid, Heading, Items, Note, Paragraph, literal, page
from byol.report.marks import BLUE, GRAY, GREEN, ORANGE, Level, Line, Mark, Points
from byol.runtime.checkpoint import write_atomically
from byol.runtime.metrics import read_metrics

DRAWN = 500
"""Values of a curve that are drawn, evenly spread."""
FEW = 40
"""Values up to which each is marked on its line."""
LOG_LINES = 200
"""Last lines of the log on the page."""


@dataclass(frozen=True)
class Curve:
    """One chart of the page: a number of the metrics over updates."""

    key: str
    label: str
    """What the axis says."""
    levels: tuple[tuple[str, str], ...] = ()
    """Keys whose last value is drawn as a level, with its name."""


CURVES = (
    Curve("loss", "loss"),
    Curve("knn/sample_accuracy", "20-NN accuracy, sample", (("knn/start", "before"), ("knn/pixels", "pixels"))),
    Curve("health/spread", "spread of projections, of 1"),
    Curve("health/rank", "effective rank of features"),
    Curve("health/match", "views that find their image", (("health/chance", "chance"),)),
    Curve("lr", "learning rate"),
    Curve("tau", "tau of the moving average"),
    Curve("images_per_second", "images per second"),
)
"""In the order of the page; those without a value are left out."""


def save_verdict(folder: RunFolder, verdict: Verdict, step: int) -> None:
    """Keep the words of a verdict for the page."""
    write_atomically(folder.verdict, json.dumps({**asdict(verdict), "step": step}, indent=2) + "\n")


def write_run_page(path: str | Path, more: Sequence[Block] = ()) -> Path:
    """Write `report.html` into a run's folder, and return its path.

    Args:
        path: of the run's folder.
        more: blocks that stand before the settings, such as pictures.

    Raises:
        UserError: the folder holds no run, or cannot be written.
    """
    folder, plan = load_plan(path)
    write_atomically(folder.page, page(f"Run {folder.path}", [*blocks(folder, plan, more)]))
    return folder.page


def blocks(folder: RunFolder, plan: RunPlan, more: Sequence[Block] = ()) -> Iterator[Block]:
    """The page as blocks, from top to bottom."""
    lines = read_metrics(folder.metrics)
    card = card_of(folder.path) if has_card(folder.path) else None
    yield from _verdict(folder, plan, lines)
    yield Heading("Its course")
    yield from _course(lines)
    yield Heading("What was read")
    yield Items(tuple(_read(folder, plan)))
    yield Heading("Use the encoder")
    yield from _use(folder, card)
    yield from more
    yield Heading("Settings")
    yield Note("A setting that differs from the default of the configuration has that beside it.")
    yield Grid(("setting", "value", "default"), tuple(_settings(plan.config)))
    yield Heading("Machine and versions")
    machine = json.loads(folder.config.read_text()).get("machine", {})
    yield Grid(("what", "value"), tuple((literal(str(k)), literal(str(v))) for k, v in machine.items()))
    log = folder.path / "log.txt"
    if log.is_file():
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        yield Heading("Log")
        if len(said) > LOG_LINES:
            yield Note(f"The last {LOG_LINES} of {len(said):,} lines of log.txt.")
        yield Commands("\n".join(said[-LOG_LINES:]))


def _verdict(folder: RunFolder, plan: RunPlan, lines: Sequence[dict[str, Any]]) -> Iterator[Block]:
    step = max((line["step"] for line in lines), default=0)
    total = plan.config.total_steps(plan.images)
    kept = json.loads(folder.verdict.read_text()) if folder.verdict.is_file() else None
    if kept is not None and kept["step"] >= step:
        yield Paragraph(f"**{literal(kept['sentence'])}**")
        if kept["advice"]:
            yield Paragraph(literal(kept["advice"]))
    elif step >= total:
        yield Paragraph("**No verdict is kept:** the end of the log, below, has it.")
    else:
        yield Paragraph(f"**No verdict yet:** the last line of metrics is of update {step:,} of {total:,}.")
    name, encoder = plan.config.method.name, plan.config.encoder.name
    length = f"{plan.images:,} images, batch {plan.config.batch_size}, {plan.config.epochs:.4g} epochs"
    yield Note(literal(f"{name} on {encoder}, {length}, recipe {plan.recipe}, seed {plan.config.seed}."))


def _course(lines: Sequence[dict[str, Any]]) -> Iterator[Block]:
    drawn = 0
    for number, curve in enumerate(CURVES):
        points = [(float(line["step"]), line[curve.key]) for line in lines if line.get(curve.key) is not None]
        if not points:
            continue
        drawn += 1
        points = [points[place] for place in evenly(len(points), DRAWN)]
        color = (BLUE, ORANGE, GREEN)[number % 3]
        marks: list[Mark] = [Line(points=points, color=color)]
        if len(points) <= FEW:
            marks.append(Points(points=points, color=color))
        levels = [(_last(lines, key), words) for key, words in curve.levels]
        marks += [Level(value=value, words=words, color=GRAY) for value, words in levels if value is not None]
        heights = [y for _, y in points] + [value for value, _ in levels if value is not None]
        x = Axis.around([x for x, _ in points], label="updates", margin=0.02)
        y = Axis.around(heights, label=curve.label)
        plot = Plot(x=x, y=y, marks=marks, width=620, height=200)
        yield Figure(chart([plot], curve.label, f"{curve.label} over updates."))
    if not drawn:
        yield Paragraph("No metrics have been written yet.")


def _last(lines: Sequence[dict[str, Any]], key: str) -> float | None:
    return next((line[key] for line in reversed(lines) if line.get(key) is not None), None)


def _read(folder: RunFolder, plan: RunPlan) -> Iterator[str]:
    yield literal(f"{plan.images:,} images of {plan.data} (fingerprint {plan.fingerprint})")
    if plan.monitor is not None:
        yield literal(f"readings on {plan.monitor}")
    if plan.labels is not None:
        yield literal(f"labels of {plan.labels}")
    if plan.groups is not None:
        yield literal(f"groups of {plan.groups}")
    if not folder.bad_images.is_file():
        yield "every image could be read"
        return
    bad = folder.bad_images.read_text(encoding="utf-8", errors="replace").splitlines()
    first = bad[0].replace("\t", ": ")
    yield literal(f"{len(bad):,} images could not be read, such as {first}; bad_images.txt has all of them")


def _use(folder: RunFolder, card: EncoderCard | None) -> Iterator[Block]:
    if card is None:
        yield Paragraph("The run has left no encoder.")
        return
    size, channels = card.image_size, card.encoder.channels
    so_far = "" if card.finished else f" It is that of a run that went on, after {card.epochs:.3g} epochs."
    words = f"images of {size} px with {channels} channels to {card.features} features"
    yield Paragraph(literal(f"{card.encoder.name}: {words}.{so_far}"))
    yield Commands(
        "import byol\n"
        f"vectors = byol.Embedder({str(folder.path)!r}).transform('photos/')  # (N, {card.features}) float32\n"
        f"encoder = byol.load_encoder({str(folder.path)!r})  # a torch.nn.Module\n"
        f"# normalized images (N, {channels}, {size}, {size}) to (N, {card.features}); encoder.json has mean and std\n"
        f"# byol explore {folder.path} photos/    byol verdict {folder.path} --data labeled/"
    )


def _settings(config: PretrainConfig) -> Iterator[tuple[str, str, str]]:
    usual = dict(_flat(to_json(PretrainConfig())))
    for name, value in _flat(to_json(config)):
        default = usual.get(name, "")
        yield literal(name), literal(value), "" if default == value else literal(default or "(another kind)")


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value)
