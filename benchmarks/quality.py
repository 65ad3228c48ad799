"""How good the two processor recipes are: the demo on embedded photographs, and cifar10-cpu.

    python benchmarks/quality.py                  # both, about half an hour on two cores
    python benchmarks/quality.py --only demo      # three minutes

Each is a whole run of the product, from stored images to the encoder; nothing else should run on the machine.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from byol.cli import demonstration
from byol.pretraining.run import Outcome, pretrain
from byol.pretraining.run_folder import load_plan
from results_file import RESULTS, Row, show, write
from workloads import DATA


def main(arguments: list[str] | None = None) -> None:
    """Run, print, and write a file of `benchmarks/results/` for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["demo", "cifar10-cpu"], default=["demo", "cifar10-cpu"])
    parser.add_argument("--train", default=str(DATA / "cifar10" / "train.parquet"))
    parser.add_argument("--test", default=str(DATA / "cifar10" / "test.parquet"))
    parser.add_argument("--runs", type=Path, default=None, help="keep the runs below this folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results files")
    options = parser.parse_args(arguments)
    runs = options.runs or Path(tempfile.mkdtemp())
    for name in options.only:
        if name == "demo":
            rows = measure_demo(runs, options.seeds)
        else:
            rows = measure_cifar10(runs, options.train, options.test, options.seeds)
        for row in rows:
            show(row)
        print(f"written to {write(name, rows, options.out)}")
    if options.runs is None:
        shutil.rmtree(runs)


def measure_demo(runs: Path, seeds: list[int]) -> list[Row]:
    """Accuracy with few labels on unseen patches: pixels, untrained, trained; and the time it took."""
    seconds: list[float] = []
    tables: list[dict[str, dict[str, float]]] = []
    for seed in seeds:
        began = time.perf_counter()
        outcome = pretrain("photos:train", recipe="photos", out=runs / f"demo-{seed}", seed=seed)
        seconds.append(time.perf_counter() - began)
        tables.append(demonstration.measure(outcome.folder))
    about = _about(outcome)
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


def measure_cifar10(runs: Path, train: str, test: str, seeds: list[int]) -> list[Row]:
    """20-NN accuracy on the test part, beside an untrained encoder's; and the time it took."""
    trained: list[float] = []
    untrained: list[float] = []
    minutes: list[float] = []
    for seed in seeds:
        began = time.perf_counter()
        outcome = pretrain(train, recipe="cifar10-cpu", monitor=test, out=runs / f"cifar10-cpu-{seed}", seed=seed)
        minutes.append((time.perf_counter() - began) / 60)
        assert outcome.reading is not None
        assert outcome.start is not None
        trained.append(outcome.reading.accuracy)
        untrained.append(outcome.start.accuracy)
    about = _about(outcome)
    return [
        Row("cifar10-cpu", "20-NN accuracy on the test part", "accuracy", trained, about, 0.55),
        Row("cifar10-cpu", "20-NN accuracy, untrained", "accuracy", untrained, about),
        Row("cifar10-cpu", "minutes from start to verdict", "min", minutes, about),
    ]


def _about(outcome: Outcome) -> dict[str, object]:
    plan = load_plan(outcome.folder)[1]
    config = plan.config
    return {
        "recipe": plan.recipe,
        "images": plan.images,
        "encoder": config.encoder.name,
        "width": config.encoder.width,
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "precision": config.precision,
    }


if __name__ == "__main__":
    main()
