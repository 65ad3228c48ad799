"""Measure everything on a GPU: the tests, speed beside peers, CIFAR-10, the paper's tables, continued pretraining.

On a machine with a network, once:

    python benchmarks/gpu.py --pack                # .gpu/: wheels, CIFAR-10, photographs; 64 MiB with the repository

On the GPU machine, in a copy of the repository with .gpu/ in it, as often as needed:

    python benchmarks/gpu.py --minutes 9 --out "$OUT"

Each call does what has no result yet, in order of worth, and starts only what fits into its minutes. It needs no
network and nothing installed but PyTorch and its companions: the rest comes from the carried wheels. Results are
written after each unit: gpu.json (the figures), campaign.json (how each unit ended), paper/*.jsonl, log.txt. Copy what
a call brings back into .gpu/results, and carry it to the next machine: what is done there is not done again. Trainings
that were stopped in time go on in the next call on the same machine; their checkpoints are too large to carry.

    python benchmarks/gpu.py --tiny --out /tmp/gpu # all of it on tiny work, in a minute on a processor
    python benchmarks/gpu.py --list                # the units, and how each stands
"""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.bare import REPOSITORY, make_importable

if TYPE_CHECKING:
    from campaign.unit import Unit

PACKED = REPOSITORY / ".gpu"
WORK = REPOSITORY / "runs" / "gpu"


def main(arguments: list[str] | None = None) -> int:
    """Pack, list, or run; 0 unless a unit failed."""
    options = _options().parse_args(arguments)
    os.environ.setdefault("PYTHONUNBUFFERED", "1")  # what a process says is in the log even if it is ended
    make_importable(PACKED / "wheels", options.work / "site")
    from byol.errors import UserError  # only now can byol be imported

    try:
        if options.pack:
            from campaign.pack import pack

            print("\n".join(pack(PACKED, options.far, options.start)))
            return 0
        return _campaign(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="the call ends within them")
    parser.add_argument("--out", type=Path, default=PACKED / "results", help="folder of the results")
    parser.add_argument(
        "--resume-from", type=Path, default=PACKED / "results", metavar="FOLDER", help="results of earlier calls"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder of unfinished trainings")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="STAGE",
        help="tests, speed, quality, paper, continued, or patterns such as '*200*'",
    )
    parser.add_argument("--again", action="store_true", help="also what has a result, except for trainings")
    parser.add_argument("--tiny", action="store_true", help="all of it on tiny work, in this process")
    parser.add_argument("--list", action="store_true", help="say how each unit stands, and run nothing")
    parser.add_argument("--pack", action="store_true", help="fill .gpu, which travels with the repository")
    parser.add_argument("--far", nargs=2, metavar=("TRAIN", "TEST"), help="for --pack: Parquet of a far domain")
    parser.add_argument("--start", type=Path, help="for --pack: folder of an encoder to start from")
    parser.add_argument("--unit", help=argparse.SUPPRESS)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    return parser


def _campaign(options: argparse.Namespace) -> int:
    """One call; or one unit of it, where this is the process of that unit."""
    from campaign.child import ChildRunner
    from campaign.drive import Campaign, in_this_process, summary
    from campaign.ledger import Ledger, restore
    from campaign.setting import packed_setting, tiny_setting
    from campaign.stages import units_of

    if options.tiny:
        setting = tiny_setting(options.out, options.work)
    else:
        setting = packed_setting(PACKED, options.out, options.work)
    units = units_of(setting, options.only)
    if options.unit:
        return _one(next(unit for unit in units if unit.name == options.unit), options.report)
    kept = options.work / "results"
    restore([options.resume_from, kept], options.out)
    ledger = Ledger(options.out, kept)
    if options.again:
        ledger.forget(units)
    if not options.list:
        places = ["--out", str(options.out), "--work", str(options.work)]
        runner = in_this_process if options.tiny else ChildRunner(places, options.out / "log.txt")
        Campaign(units, ledger, 60 * options.minutes, runner).go()
    print("\n".join(summary(units, ledger)), flush=True)
    return int(any(ledger.state(unit) == "failed" for unit in units))


def _one(unit: "Unit", report: Path) -> int:
    """Run a unit and write its outcome, for the process that started this one."""
    from campaign.unit import attempt

    warnings.simplefilter("ignore")
    report.write_text(json.dumps(attempt(unit).as_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
