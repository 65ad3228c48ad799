"""What a command prints, kept for the documents.

    python benchmarks/said.py bench bench --recipe cifar10-cpu

runs `byol bench --recipe cifar10-cpu` and writes `benchmarks/results/bench.txt`, the text between `<!-- said:bench -->`
and `<!-- /said:bench -->`. Nothing is written where the command fails. The folder that BYOL_DATA names stands there as
`$BYOL_DATA`.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from byol.runtime.checkpoint import write_atomically
from results_file import RESULTS


def main(arguments: list[str] | None = None) -> int:
    """Run, print and keep; the command's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the text")
    parser.add_argument("name", help="of the text")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="arguments of byol")
    options = parser.parse_args(arguments)
    done = subprocess.run([sys.executable, "-m", "byol", *options.command], capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="")
    if done.returncode == 0:
        options.out.mkdir(parents=True, exist_ok=True)
        text = f"$ byol {shlex.join(options.command)}\n{done.stdout}"
        if place := os.environ.get("BYOL_DATA"):
            text = text.replace(place, "$BYOL_DATA")
        write_atomically(options.out / f"{options.name}.txt", text)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
