"""Tar shards beside the same images as they lie: in memory at 32 px, and as a folder of JPEG files at 224 px.

    python benchmarks/shards.py                        # about 10 minutes on two cores
    python benchmarks/shards.py --only pipeline-224 --copies 20
    python benchmarks/shards.py --quick                # does it run at all; writes nothing

Shards are written by `byol pack`, and read from the disk image by image. At 32 px a run trains from them and from
decoded images in memory, in turn. At 224 px the files leave the system's cache before each measurement: what is judged
is reading alone, by as many threads as a run has and in its order, since that is the speed of a run where reading is
the limit; reading and decoding are beside it. `--drop-caches` empties all caches of the machine, names of files
included, which takes the right to do so and slows others.
"""

import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from byol.data.order import EpochOrder
from byol.data.pack import pack
from byol.data.sources.open import Source, open_source
from byol.runtime.threads import single_threaded_pool
from options import add_images, common_options
from results_file import Row, in_rounds, ratios, show, write
from throughput import quick
from workloads import PIPELINES, WORKLOADS, Images, Ours, Workload, load

SMALL, LARGE = "resnet18-32", "pipeline-224"
GOALS = {SMALL: 0.95, LARGE: 1.3}
"""Least ratio of shards to images in memory, and to a folder of files."""
COPIES = 10
"""Of the folder of files, so that they are more than a disk reads ahead."""
DROP = Path("/proc/sys/vm/drop_caches")


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write `benchmarks/results/shards.json`."""
    parser = common_options(__doc__, 5, [SMALL, LARGE])
    add_images(parser)
    parser.add_argument("--copies", type=int, default=COPIES, help="of the folder of JPEG files")
    parser.add_argument("--drop-caches", action="store_true", help="empty all caches before each reading")
    options = parser.parse_args(arguments)
    rounds, copies = (1, 1) if options.quick else (options.rounds, options.copies)
    workloads = {SMALL: WORKLOADS[SMALL], LARGE: PIPELINES[LARGE]}
    if options.quick:
        workloads = {name: quick(workload) for name, workload in workloads.items()}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="byol-shards-") as name:
        place = Path(name)
        os.environ["BYOL_HOME"] = str(place / "home")  # where indices of shards are kept
        if SMALL in options.only:
            rows += training(workloads[SMALL], options.small, place / "small", rounds)
        if LARGE in options.only:
            folder = copied(Path(options.jpeg), place / "files", copies)
            rows += reading(workloads[LARGE], folder, place / "large", rounds, options.drop_caches)
    if not options.quick:
        print(f"written to {write('shards', rows, options.out)}")
    return rows


def training(workload: Workload, small: str, out: Path, rounds: int) -> list[Row]:
    """A run from images in memory, and one from shards."""
    held = Ours(workload, load(workload, small, ""))
    pack(held.images.source, out)
    shards = Ours(workload, Images(open_source(out, 3), None))
    values = in_rounds({"images in memory": held.together, "tar shards": shards.together}, rounds)
    return rows_of(SMALL, values, shards.describe())


def reading(workload: Workload, folder: Path, out: Path, rounds: int, drop: bool) -> list[Row]:
    """Encoded images, and views of them, from files and from shards that are in no cache."""
    source = open_source(folder, 3)
    pack(source, out)
    workload = one_epoch(workload, len(source))
    ways = {"folder of files": Ours(workload, Images(source, None))}
    ways["tar shards"] = Ours(workload, Images(open_source(out, 3), None))
    stored = [path for place in (folder, out) for path in place.rglob("*") if path.is_file()]

    def cold(measure: Callable[[], float]) -> float:
        forget(stored, drop)
        return measure()

    about = ways["tar shards"].describe() | {"cold": "all caches" if drop else "contents of files"}
    read = {name: partial(cold, partial(images_read, ours.images.source, ours.workers)) for name, ours in ways.items()}
    views = {name: partial(cold, ours.pipeline) for name, ours in ways.items()}
    rows = rows_of(f"{LARGE}, read", in_rounds(read, rounds), about, GOALS[LARGE])
    return rows + rows_of(f"{LARGE}, two views", in_rounds(views, rounds), about)


def rows_of(group: str, values: dict[str, list[float]], about: dict[str, Any], goal: float | None = None) -> list[Row]:
    """The speed of both ways, and their ratio round by round."""
    usual, shards = values
    rows = [Row(group, name, "images/s", each, about) for name, each in values.items()]
    goal = GOALS.get(group, goal)
    rows.append(Row(group, f"{shards} / {usual}", "ratio", ratios(values[shards], values[usual]), about, goal))
    for row in rows:
        show(row)
    return rows


def images_read(source: Source, workers: int) -> float:
    """Encoded images per second, all of them once, by some threads in the order of a run."""
    order = EpochOrder(len(source), 0, source.shards).epoch(0).tolist()
    with single_threaded_pool(workers, "read") as pool:
        began = time.perf_counter()
        for _ in pool.map(source.read, order):
            pass
        return len(order) / (time.perf_counter() - began)


def one_epoch(workload: Workload, images: int) -> Workload:
    """The same, over each image once: a second time they would be in the cache."""
    return dataclasses.replace(workload, pipeline_batches=max(1, images // workload.config.batch_size))


def copied(folder: Path, out: Path, copies: int) -> Path:
    """So many copies of a folder of images, each in a folder of its own."""
    for number in range(copies):
        shutil.copytree(folder, out / f"{number:03d}")
    return out


def forget(files: Iterable[Path], drop: bool) -> None:
    """Let the system forget what is in some files, or all that it has read."""
    if drop:
        os.sync()
        DROP.write_text("3")
        return
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)  # what is not written yet cannot be forgotten
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


if __name__ == "__main__":
    main()
