"""The page of a run: the verdict first, then its course, its data, its settings, and how to use what it left.

It is made from the files of the run's folder alone, so that it can be made of any run, of one that goes on too.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from byol.config.run import PretrainConfig
from byol.config.values import from_json, to_json
from byol.data.sample import evenly
from byol.encoders.file import EncoderCard, card_of, has_card
from byol.pretraining.pictures import MapPoints, Pictures, Sheet
from byol.pretraining.run_folder import RunFolder, RunPlan, load_plan
from byol.pretraining.verdict import Verdict
from byol.report.axis import Axis
from byol.report.chart import Plot, chart
from byol.report.document import Block, Commands, Figure, Grid, Heading, Items, Note, Paragraph, Picture, literal, page
from byol.report.marks import BLUE, GRAY, GREEN, ORANGE, PALETTE, SHAPES, Level, Line, Mark, Points
from byol.runtime.checkpoint import write_atomically
from byol.runtime.metrics import read_metrics

DRAWN = 500
"""Values of a curve that are drawn, evenly spread."""
FEW = 40
"""Values up to which each is marked on its line."""
NAMED, LONGEST = 10, 40
"""Labels that have a color of their own on the map, and signs of a name in its legend."""
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


def write_run_page(path: str | Path, reload_seconds: int | None = None) -> Path:
    """Write `report.html` into a run's folder, and return its path.

    Args:
        path: of the run's folder.
        reload_seconds: after which a browser loads the page again, while the run goes on and writes it anew.

    Raises:
        UserError: the folder holds no run, or cannot be written.
    """
    folder, plan = load_plan(path)
    shown = [*blocks(folder, plan, reload_seconds)]
    write_atomically(folder.page, page(f"Run {folder.path}", shown, reload_seconds))
    return folder.page


def blocks(folder: RunFolder, plan: RunPlan, reload_seconds: int | None = None) -> Iterator[Block]:
    """The page as blocks, from top to bottom."""
    lines = read_metrics(folder.metrics)
    card = card_of(folder.path) if has_card(folder.path) else None
    pictures = Pictures.load(folder)
    yield from _verdict(folder, plan, lines, reload_seconds)
    yield Heading("Its course")
    yield from _course(lines)
    for sheet in pictures.sheets[:1]:
        yield from _shown(sheet)
    yield Heading("What was read")
    yield Items(tuple(_read(folder, plan)))
    for sheet in pictures.sheets[1:]:
        yield from _shown(sheet)
    if pictures.map is not None:
        yield from _map_by_label(pictures.map)
    yield Heading("Use the encoder")
    yield from _use(folder, card)
    yield Heading("Settings")
    yield from _differences(plan)
    yield Heading("All settings", 3)
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


def _verdict(
    folder: RunFolder, plan: RunPlan, lines: Sequence[dict[str, Any]], reload_seconds: int | None
) -> Iterator[Block]:
    step = max((line["step"] for line in lines), default=0)
    total = plan.config.total_steps(plan.images)
    kept = json.loads(folder.verdict.read_text()) if folder.verdict.is_file() else None
    if kept is not None and kept["step"] >= step:
        yield Paragraph(f"**{literal(kept['sentence'])}**")
        if kept["advice"]:
            yield Paragraph(literal(kept["advice"]))
    elif step >= total and reload_seconds is not None:
        yield Paragraph(f"**No verdict yet:** all {total:,} updates are made, and the encoder is being judged.")
    elif step >= total:
        yield Paragraph("**No verdict is kept:** the end of the log, below, has it.")
    else:
        yield Paragraph(f"**No verdict yet:** the last line of metrics is of update {step:,} of {total:,}.")
    if reload_seconds is not None:
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
        yield Note(
            f"The run goes on. This page was written at {now} and reloads itself every {reload_seconds} seconds."
        )
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


def _shown(sheet: Sheet) -> Iterator[Block]:
    yield Heading(literal(sheet.title))
    yield Note(literal(sheet.note))
    yield Picture(sheet.jpeg, f"{sheet.title}. {sheet.note}", "image/jpeg")


def _map_by_label(found: MapPoints) -> Iterator[Block]:
    """The points of the map with the colors of their labels; nothing without labels."""
    sizes = Counter(label for label in found.labels if label is not None)
    if not sizes:
        return
    named = [name for name, _ in sizes.most_common(NAMED)]
    looks = [(color, shape) for shape in SHAPES for color in PALETTE[:-1]]
    marks: list[Mark] = []
    rest = [point for point, label in zip(found.points, found.labels, strict=True) if label not in named]
    if rest:
        marks.append(Points(points=rest, color=GRAY, radius=2, name="others"))
    for name, (color, shape) in zip(named, looks, strict=False):
        points = [point for point, label in zip(found.points, found.labels, strict=True) if label == name]
        words = name if len(name) <= LONGEST else name[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
        marks.append(Points(points=points, color=color, shape=shape, radius=3, name=words))
    axis = Axis(low=-0.02, high=1.02, ticks={})
    plot = Plot(x=axis, y=axis, marks=marks, width=520, height=520)
    kept = "" if math.isnan(found.kept) else f" The map keeps {found.kept:.0%} of the ten nearest neighbors."
    yield Figure(chart([plot], "The map by label"), f"The same images by their label.{kept}")


def _differences(plan: RunPlan) -> Iterator[Block]:
    """What a run's settings have that its recipe did not decide."""
    if plan.recipe_config is None:
        return
    decided = dict(_flat(_typed(plan.recipe_config)))
    rows = [
        (literal(name), literal(value), literal(decided.get(name, "(another kind)")))
        for name, value in _flat(to_json(plan.config))
        if decided.get(name) != value
    ]
    if not rows:
        yield Paragraph(f"All settings are those of the recipe {literal(plan.recipe)}.")
        return
    yield Paragraph(
        f"What differs from the recipe {literal(plan.recipe)}: what was given, and what the machine and the images "
        "made of `auto`."
    )
    yield Grid(("setting", "value", "recipe"), tuple(rows))


def _settings(config: PretrainConfig) -> Iterator[tuple[str, str, str]]:
    usual = dict(_flat(_typed(to_json(PretrainConfig()))))
    for name, value in _flat(to_json(config)):
        default = usual.get(name, "")
        yield literal(name), literal(value), "" if default == value else literal(default or "(another kind)")


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """The same values with numbers as a config of a file has them: 1.0 where 1 was written."""
    return to_json(from_json(PretrainConfig, values))


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value)
