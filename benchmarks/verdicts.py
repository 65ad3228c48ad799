"""How often the verdict of a run is right: short runs whose truth is known, judged by the words of the product.

    OMP_NUM_THREADS=1 python benchmarks/verdicts.py --run --only cifar10 photos  # a quarter of an hour of one core each
    python benchmarks/verdicts.py                                               # judge what was run, and write

`--run` trains the cases of `verdict_cases.py` on the sets of `verdict_data.py` and keeps what the product saw of each,
and the truth, as lines of benchmarks/results/verdict-runs.jsonl; runs that are there are not repeated. Without it these
lines are judged again by today's rules, which takes a second.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from byol.runtime.checkpoint import write_atomically
from byol.runtime.device import choose_device, make_ready
from results_file import RESULTS, Row, read_lines, show, write
from verdict_cases import cases
from verdict_data import DATA_SETS, SET_ASIDE
from verdict_runs import run_case
from verdict_score import Line, rates, table

RUNS, TABLE = "verdict-runs.jsonl", "verdict-table.txt"
PARTS = {"rules chosen on": [name for name in DATA_SETS if name not in SET_ASIDE], "set aside": list(SET_ASIDE)}
"""Groups of the results, and their data sets."""


def main(arguments: list[str] | None = None) -> None:
    """Run or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(DATA_SETS), default=list(DATA_SETS), metavar="SET")
    parser.add_argument("--cases", nargs="+", default=[""], help="those whose names contain one of these")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results files")
    options = parser.parse_args(arguments)
    if options.run:
        make_ready(choose_device("cpu")[0])
        for name in options.only:
            run_set(name, options.cases, options.out / RUNS)
        return
    lines = read_lines(options.out / RUNS)
    rows = [row for group, sets in PARTS.items() for row in rows_of(group, [x for x in lines if x["set"] in sets])]
    for row in rows:
        show(row)
    write_atomically(options.out / TABLE, table(lines))
    (options.out / "verdicts.json").unlink(missing_ok=True)  # names of rows hold counts: old ones would stay
    print(f"written to {write('verdicts', rows, options.out)} and {options.out / TABLE}")


def rows_of(group: str, lines: list[Line]) -> list[Row]:
    """The rates of some data sets, as rows of the results."""
    about = {"sets": sorted({line["set"] for line in lines}), "runs": len(lines)}
    return [
        Row(group, f"{r.what} ({r.hits} of {r.runs})", "accuracy", [r.share], about, r.goal, r.at_most)
        for r in rates(lines)
        if r.runs
    ]


def run_set(name: str, wanted: list[str], file: Path) -> None:
    """Run the cases of one data set that are not in the file yet."""
    done = {(line["set"], line["case"], line["seed"]) for line in read_lines(file)}
    data = DATA_SETS[name]()
    with tempfile.TemporaryDirectory() as folder:
        starts: dict[str, Path] = {}
        for case in cases():
            keeps = case.seed == 0 and case.name == "trained, 40 passes"
            if not any(part in case.name for part in wanted) or ((name, case.name, case.seed) in done and not keeps):
                continue
            began = time.perf_counter()
            line = run_case(case, data, starts, Path(folder))
            if keeps:
                starts[case.name] = Path(folder) / line["folder"]
            if (name, case.name, case.seed) not in done:
                with file.open("a") as stream:
                    stream.write(json.dumps(line, separators=(",", ":")) + "\n")
            print(f"{name}: {case.name}, seed {case.seed}: {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
