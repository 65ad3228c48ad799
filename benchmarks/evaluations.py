"""The evaluations of `byol eval` on one trained encoder, beside the same network untrained and bare pixels.

    python benchmarks/evaluations.py RUN --train TRAIN --test TEST --name evaluations-cifar10 [--only knn ...]

Writes one row per figure to `benchmarks/results/NAME.json`; the protocols are those of docs/evaluate.md, `--quick`
where that exists. The trained encoder, the untrained one and pixels see the same images and the same draws of labels.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from byol.data.sources.open import open_source
from byol.encoders.load import open_encoder
from byol.evals import registry
from byol.evals.evaluation import Task
from results_file import RESULTS, Row, show, write

SETTINGS: dict[str, dict[str, Any]] = {"linear": {"cached": True}}
HEADLINES = (
    "top1",
    "top1_k20",
    "top1_1",
    "top1_5",
    "top1_10",
    "top1_1%",
    "top1_10%",
    "scratch_top1_1%",
    "scratch_top1_10%",
)
"""The figures that become rows; the rest stays with the command."""


def main(arguments: list[str] | None = None) -> None:
    """Run the evaluations asked for, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--name", required=True)
    names = ["knn", "linear", "fewshot", "transfer", "semi"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--encoders", nargs="+", choices=["trained", "untrained", "pixels"], help="by default all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    train, test = open_source(options.train, 3), open_source(options.test, 3)
    encoders = {"trained": str(options.run), "untrained": f"random:{options.run}", "pixels": "pixels"}
    for name in options.only:
        for who in options.encoders or encoders:
            if who == "pixels" and name in ("semi", "transfer"):  # no weights to train; too many features to sweep
                continue
            rows = measure(name, who, encoders[who], train, test)
            # after each: a call that is cut off leaves what it has measured
            print(f"written to {write(options.name, rows, options.out)}", flush=True)


def measure(name: str, who: str, spec: str, train: Any, test: Any) -> list[Row]:
    """The headline figures of one evaluation of one encoder."""
    evaluation = registry.load(name)
    config = evaluation.config(**SETTINGS.get(name, {}))
    if evaluation.quick is not None:
        config = evaluation.quick(config)
    began = time.perf_counter()
    result = evaluation.evaluate(Task(open_encoder(spec), train, test), config)
    about = {"seconds": round(time.perf_counter() - began, 1), "encoder": who}
    rows = [
        Row(name, f"{key.replace('_', ' ')}, {who}", "accuracy", [value], about)
        for key, value in result.items()
        if key in HEADLINES
    ]
    for row in rows:
        show(row)
    return rows


if __name__ == "__main__":
    main()
