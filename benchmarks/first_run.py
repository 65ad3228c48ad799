"""What a first run on one's own folder prints: the text that stands in the README.

    python benchmarks/first_run.py            # about eleven minutes

Writes a folder `photos/` of 6,000 images in twelve class folders (Tiny-ImageNet, 64 px), one of them corrupt, runs
`byol pretrain photos/ --budget 10m` there, and keeps what it printed as `benchmarks/results/first-run.txt`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from byol.data.sources.open import open_source
from byol.runtime.checkpoint import write_atomically
from results_file import RESULTS
from workloads import DATA

CLASSES, PER_CLASS = 12, 500
COMMAND = ["pretrain", "photos/", "--budget", "10m"]


def main() -> None:
    """Make the folder, run, and keep the text."""
    source = open_source(DATA / "tiny-imagenet-100" / "train.parquet")
    assert source.labels is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        count = dict.fromkeys(range(CLASSES), 0)
        for index, label in enumerate(source.labels):
            if label in count and count[label] < PER_CLASS:
                place = folder / f"class-{label:02d}" / f"{count[label]:03d}.jpg"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(source.read(index))
                count[label] += 1
        (folder / "class-00" / "broken.jpg").write_bytes(b"not a picture")
        command = [sys.executable, "-m", "byol", *COMMAND]
        done = subprocess.run(command, cwd=name, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="")
    if done.returncode == 0:
        # a terminal shows a bar where these lines are
        lines = [line for line in done.stdout.splitlines(True) if not re.match(r"after \d+ of \d+ updates: loss", line)]
        write_atomically(RESULTS / "first-run.txt", f"$ byol {' '.join(COMMAND)}\n{''.join(lines)}")


if __name__ == "__main__":
    main()
