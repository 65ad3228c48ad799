"""Try the faults of the campaign; `make campaign` tries all of them.

    OMP_NUM_THREADS=1 python benchmarks/faults/run.py --part kills disks

Every line of benchmarks/results/faults.jsonl is one fault, tried once; those that are there are not tried again. Exit
code 1 where something was lost. Needs Linux.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # in the place of this folder, whose names are of parts

PARTS = (
    *("kills", "streams", "ranks", "disks", "owners", "growth", "bad_numbers", "hostile", "fuzz", "network"),
    "peers",
)
LINES = "faults.jsonl"


def main(arguments: list[str] | None = None) -> int:
    """Try what was not tried yet; the exit code."""
    from faults.trial import go_through
    from results_file import RESULTS, STARTED_FROM

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--count", type=int, default=50, help="random draws where a part draws")
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    options = parser.parse_args(arguments)
    lost = 0
    for part in options.part:
        trials = import_module(f"faults.{part}").trials(options.count)
        chosen = (trial for trial in trials if options.only in trial.fault)
        lines = go_through(part, chosen, options.out / LINES, STARTED_FROM)
        lost += sum(not line["held"] for line in lines)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
