"""The two-minute demonstration: train on embedded photographs, and see what that bought with a few labels."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from byol.data.sources.embedded import embedded_photos
from byol.encoders.load import open_encoder
from byol.evals import fewshot
from byol.evals.cache import FeatureConfig
from byol.evals.evaluation import Task
from byol.pretraining.finish import Outcome
from byol.pretraining.run import pretrain
from byol.runtime import device as machine
from byol.runtime.checkpoint import write_atomically
from byol.runtime.program import program

PER_CLASS = (1, 5, 10)
"""Labels per photograph."""
DRAWS = 5
"""Random draws of these labels."""


def demo(out: str | Path | None = None) -> Outcome:
    """Train on patches of 17 photographs, then tell from which photograph unseen patches come, with a few labels.

    Prints a table of test accuracy for pixels, for an untrained encoder and for the trained one, and writes it as
    `demo.json` into the run's folder.
    """
    outcome = pretrain("photos:train", recipe="photos", out=out)
    if outcome.verdict is None or outcome.verdict.stops:
        return outcome
    rows = measure(outcome.folder)
    content = {"per_class": PER_CLASS, "draws": DRAWS, "rows": rows, "machine": machine.describe()}
    content["verdict"] = asdict(outcome.verdict)
    write_atomically(outcome.folder / "demo.json", json.dumps(content, indent=2) + "\n")
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    console.print(_table(rows))
    five = {name: 100 * values["top1_5"] for name, values in rows.items()}
    console.print(
        f"With five labels for each of 17 photographs, the trained encoder names the photograph of an unseen patch "
        f"{five['trained'] - five['untrained']:.0f} points more often than the same network untrained, and "
        f"{five['trained'] - five['pixels']:.0f} points more often than bare pixels."
    )
    console.print(f"The run is in {outcome.folder}; next: {program()} pretrain YOUR_FOLDER", style="bold")
    return outcome


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Accuracy on unseen patches with 1, 5 and 10 labels per photograph, mean and spread over draws, by encoder."""
    train, test = embedded_photos("train"), embedded_photos("test")
    config = fewshot.FewshotConfig(per_class=PER_CLASS, draws=DRAWS, features=FeatureConfig(cache=False))
    specs = {"pixels": "pixels", "untrained": f"random:{folder}", "trained": str(folder)}
    return {name: fewshot.evaluate(Task(open_encoder(spec), train, test), config) for name, spec in specs.items()}


def _table(rows: dict[str, dict[str, float]]) -> Table:
    table = Table("accuracy on unseen patches", *(f"{n} label{'s' if n > 1 else ''} each" for n in PER_CLASS))
    words = {"pixels": "pixels", "untrained": "untrained encoder", "trained": "this run"}
    for name, values in rows.items():
        cells = [f"{100 * values[f'top1_{n}']:.1f} ± {100 * values[f'top1_{n}_std']:.1f}" for n in PER_CLASS]
        table.add_row(words[name], *cells)
    table.caption = f"percent, mean and standard deviation over {DRAWS} draws of the labels; chance is {100 / 17:.1f}"
    return table
