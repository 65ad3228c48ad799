"""Seconds from `byol pretrain` to the end of its first step, as someone at a terminal waits for it.

    python benchmarks/startup.py                   # a minute on two cores

A process is started on a small folder of images and watched until it has written the first line of its metrics, which
it does after every step here; so imports, the survey, decoding, building and the step itself are all in it. Nothing is
compiled. The first start of a day also reads the libraries from the disk: it is not counted, but kept in the file.
Writes benchmarks/results/startup.json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from byol.data.sources.embedded import embedded_photos
from byol.errors import UserError
from results_file import RESULTS, Row, show, write

GOAL = 6.0
"""Seconds that a first step may take."""
IMAGES = 1000
"""Of the folder, 64 px: what `auto` trains on them takes no time to speak of."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=IMAGES, help="images of the folder")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        make_folder(folder, options.images)
        first, *values = [seconds_to_first_step(folder, Path(name) / f"run-{i}") for i in range(options.rounds + 1)]
    about = {"images": options.images, "size": 64, "recipe": "auto", "epochs": 2, "first start": first}
    row = Row("startup", "from `byol pretrain` to the first step", "s", values, about, goal=GOAL, at_most=True)
    show(row)
    print(f"written to {write('startup', [row], options.out)}")
    return [row]


def make_folder(folder: Path, count: int) -> None:
    """Patches of the embedded photographs as JPEG files, in no classes."""
    source = embedded_photos(size=64, per_photo=-(-count // 17))
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = source.image(index).permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(folder / f"{index:05d}.jpg", quality=90)


def seconds_to_first_step(folder: Path, run: Path, flags: tuple[str, ...] = ()) -> float:
    """Start a run, with more flags if wanted, wait for the first line of its metrics, and end it.

    Raises:
        UserError: the run ended before, with what it said.
    """
    command = [sys.executable, "-m", "byol", "pretrain", str(folder), "--out", str(run)]
    command += ["--epochs", "2", "--logging.log-every", "1", *flags]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = run / "metrics.jsonl"
    while not (metrics.is_file() and metrics.stat().st_size):
        if process.poll() is not None:
            raise UserError(f"The run ended before its first step: {process.communicate()[0]}")
        time.sleep(0.005)
    seconds = time.perf_counter() - began
    process.terminate()
    process.communicate()
    return seconds


if __name__ == "__main__":
    main()
