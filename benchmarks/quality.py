"""How good the processor recipes are: the demo on embedded photographs, cifar10-cpu, and the same by SimCLR.

    python benchmarks/quality.py                  # all, about an hour on two cores
    python benchmarks/quality.py --only demo      # three minutes

Each is a whole run of the product, from stored images to the encoder; nothing else should run on the machine.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from byol.cli import demonstration
from byol.pretraining.run import pretrain
from byol.pretraining.run_folder import load_plan
from byol.runtime.checkpoint import write_atomically
from results_file import RESULTS, Row, show, write
from workloads import DATA

GOALS = {"cifar10-cpu": 0.55, "cifar10-cpu-simclr": 0.60}
"""20-NN accuracy that is wanted, by recipe."""
TRAINED = "20-NN accuracy on the test part"
UNITS = {
    TRAINED: "accuracy",
    "20-NN accuracy, untrained": "accuracy",
    "minutes from start to verdict": "min",
    "minutes of all cores together": "min",
}
"""Of the figures of a run."""


def main(arguments: list[str] | None = None) -> None:
    """Run, print, and write a file of `benchmarks/results/` for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["demo", *GOALS], default=["demo", *GOALS])
    parser.add_argument("--train", default=str(DATA / "cifar10" / "train.parquet"))
    parser.add_argument("--test", default=str(DATA / "cifar10" / "test.parquet"))
    parser.add_argument(
        "--runs", type=Path, default=None, help="keep the runs below this folder, and repeat none that is there"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results files")
    options = parser.parse_args(arguments)
    runs = options.runs or Path(tempfile.mkdtemp())
    for name in options.only:
        if name == "demo":
            tell(name, measure_demo(runs, options.seeds), options.out)
            continue
        for count in range(len(options.seeds)):  # what is known is written after each run
            rows = measure_cifar10(name, runs, options.train, options.test, options.seeds[: count + 1])
            tell(name, rows, options.out)
    if options.runs is None:
        shutil.rmtree(runs)


def tell(name: str, rows: list[Row], out: Path) -> None:
    """Show the rows of a recipe, and write them."""
    for row in rows:
        show(row)
    print(f"written to {write(name, rows, out)}")


def measure_demo(runs: Path, seeds: list[int]) -> list[Row]:
    """Accuracy with few labels on unseen patches: pixels, untrained, trained; and the time it took."""
    seconds: list[float] = []
    tables: list[dict[str, dict[str, float]]] = []
    for seed in seeds:
        began = time.perf_counter()
        outcome = pretrain("photos:train", recipe="photos", out=runs / f"demo-{seed}", seed=seed)
        seconds.append(time.perf_counter() - began)
        tables.append(demonstration.measure(outcome.folder))
    about = about_run(outcome.folder)
    rows = [
        Row("demo", f"{name}, {n} labels each", "accuracy", [t[name][f"top1_{n}"] for t in tables], about)
        for n in demonstration.PER_CLASS
        for name in tables[0]
    ]
    for other, goal in (("untrained", 0.10), ("pixels", 0.25)):
        gains = [t["trained"]["top1_5"] - t[other]["top1_5"] for t in tables]
        rows.append(Row("demo", f"trained minus {other}, 5 labels each", "accuracy", gains, about, goal))
    rows.append(Row("demo", "seconds from start to verdict", "s", seconds, about))
    return rows


def measure_cifar10(recipe: str, runs: Path, train: str, test: str, seeds: list[int]) -> list[Row]:
    """20-NN accuracy on the test part, beside an untrained encoder's; and the time and processor time it took."""
    folders = [runs / f"{recipe}-{seed}" for seed in seeds]
    known = [measured_run(recipe, folder, train, test, seed) for folder, seed in zip(folders, seeds, strict=True)]
    about = about_run(folders[-1])
    return [
        Row(recipe, name, unit, [run[name] for run in known], about, GOALS[recipe] if name == TRAINED else None)
        for name, unit in UNITS.items()
    ]


def measured_run(recipe: str, folder: Path, train: str, test: str, seed: int) -> dict[str, float]:
    """A run's figures by their names in `UNITS`; they stay in its folder, and a run that has them is not repeated."""
    kept = folder / "measured.json"
    if kept.is_file():
        known: dict[str, float] = json.loads(kept.read_text())
        return known
    began, worked = time.perf_counter(), time.process_time()
    outcome = pretrain(train, recipe=recipe, monitor=test, out=folder, seed=seed)
    minutes, worked_minutes = (time.perf_counter() - began) / 60, (time.process_time() - worked) / 60
    assert outcome.reading is not None
    assert outcome.start is not None
    figures = (outcome.reading.accuracy, outcome.start.accuracy, minutes, worked_minutes)
    known = dict(zip(UNITS, figures, strict=True))
    write_atomically(kept, json.dumps(known) + "\n")
    return known


def about_run(folder: Path) -> dict[str, Any]:
    """What a run was, for the results file."""
    plan = load_plan(folder)[1]
    config = plan.config
    return {
        "recipe": plan.recipe,
        "method": config.method.name,
        "images": plan.images,
        "encoder": config.encoder.name,
        "width": config.encoder.width,
        "stem": config.encoder.stem,
        "image_size": config.image_size,
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "precision": config.precision,
        "compile": config.optim.compile,
        "cuda_graph": config.optim.cuda_graph,
    }


if __name__ == "__main__":
    main()
