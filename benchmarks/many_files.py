"""How long `byol pretrain` takes to begin on a million files, and how much memory, beside the same images in shards.

    python benchmarks/many_files.py                            # a million files: 20 minutes of two cores, 4 GB of disk
    python benchmarks/many_files.py --images 100000 --rounds 2
    python benchmarks/many_files.py --only files

The files are hard links to a few small JPEG files, in 1,000 folders that are classes; `byol pack` makes shards of them.
A process of its own does what a run does before its first update, once the libraries are imported: it opens the images,
surveys them, plans, sets images with labels aside, notes names and contents in the run's folder, and makes the first
batch in the order of the epoch. Its peak memory is that of the whole process, libraries included. A run of the command
is watched to its first update too; it has imports and the network's first look in it. Names and sizes are in the
system's cache. Writes benchmarks/results/many-files.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from byol.data.pack import pack
from byol.data.sources.open import open_source
from byol.errors import UserError
from results_file import RESULTS, Row, show, write
from startup import make_folder, seconds_to_first_step

IMAGES, FOLDERS, ORIGINALS = 1_000_000, 1000, 64
LINKS = 60_000
"""Names of a file at most; ext4 allows 65,000."""
GOALS = {"files": 30.0, "shards": 3.0}
"""Seconds until the first update, without the libraries and the network."""
MOST_MEMORY = 1000.0
"""MB (10^6 bytes)."""
FLAGS = ("--data.memory", "never")
"""Images this small would be decoded into memory where enough is free, which takes minutes."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Make the files, measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    parser.add_argument("--begin", nargs=2, metavar=("DATA", "OUT"), help="what a process that is measured does")
    options = parser.parse_args(arguments)
    if options.begin:
        print(json.dumps(begin(*options.begin)))
        return []
    with tempfile.TemporaryDirectory(prefix="byol-many-") as name:
        place = Path(name)
        os.environ["BYOL_HOME"] = str(place / "home")  # where indices of shards are kept
        stored = {"files": place / "files"}
        link_images(stored["files"], place / "originals", options.images)
        if "shards" in options.only:
            stored["shards"] = place / "shards"
            pack(open_source(stored["files"], 3), stored["shards"])
        rows = [row for kind in options.only for row in measure(kind, stored[kind], place, options)]
    if options.images == IMAGES:
        print(f"written to {write('many-files', rows, options.out)}")
    return rows


def link_images(folder: Path, originals: Path, count: int) -> None:
    """A folder of so many images of 64 px, as hard links to a few, in `FOLDERS` folders that are classes."""
    kinds = max(ORIGINALS, -(-count // LINKS))
    make_folder(originals, kinds)
    files = sorted(originals.iterdir())
    for number in range(min(FOLDERS, count)):
        (folder / f"class_{number:04d}").mkdir(parents=True)
    for number in range(count):
        # the classes in turn, so that each has images of all kinds
        os.link(files[number * kinds // count], folder / f"class_{number % FOLDERS:04d}" / f"photo_{number:07d}.jpg")


def measure(kind: str, data: Path, place: Path, options: argparse.Namespace) -> list[Row]:
    """What beginning on the files, or on the shards, takes."""
    found, commands = [], []
    for number in range(options.rounds):
        found.append(begun_in_a_process(data, place / f"{kind}-begun-{number}"))
        commands.append(seconds_to_first_step(data, place / f"{kind}-run-{number}", FLAGS))
    about = {
        "images": options.images,
        "size": 64,
        "recipe": "auto",
        "seconds": {part: [round(each[part], 2) for each in found] for part in found[0] if part != "memory"},
    }
    full = options.images == IMAGES
    totals = [sum(seconds for part, seconds in each.items() if part != "memory") for each in found]
    rows = [
        Row(kind, "survey, plan, order", "s", totals, about, GOALS[kind] if full else None, at_most=True),
        Row(kind, "peak memory", "MB", [each["memory"] for each in found], about, MOST_MEMORY, at_most=True),
        Row(kind, "from the command to the first update", "s", commands, about),
    ]
    for row in rows:
        show(row)
    return rows


def begun_in_a_process(data: Path, out: Path) -> dict[str, float]:
    """Seconds of each part of a beginning, and the peak memory of the process in MB.

    Raises:
        UserError: it failed, with what it said.
    """
    command = [sys.executable, __file__, "--begin", str(data), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"The run did not begin: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def begin(data: str, out: str) -> dict[str, float]:
    """Do what `byol pretrain` does before it builds the network, and make the first batch."""
    from byol.pretraining.run import Request, on_device, plan_for, prepared_run

    settings = {"data__memory": "never", "epochs": 2, "precision": "float32"}  # nothing is timed to choose
    request = Request(data=data, out=out, quiet=True, settings=settings)
    began = time.perf_counter()
    with on_device(settings) as device:
        planned = plan_for(request, device)
        opened = time.perf_counter()
        with prepared_run(planned, device) as (run, _):
            prepared = time.perf_counter()
            next(run.loader.batches(0, 1))
            ended = time.perf_counter()
    return {
        "open, survey, plan": opened - began,
        "labels, names, contents": prepared - opened,
        "order, first batch": ended - prepared,
        "memory": peak_memory(),
    }


def peak_memory() -> float:
    """The most memory that this process had at a time, in MB; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
