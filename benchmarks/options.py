"""The options that benchmarks of workloads have in common."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from results_file import RESULTS
from workloads import DATA


def common_options(description: str | None, rounds: int, names: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A parser with `--rounds`, `--quick`, `--out`, and `--only` where there are names to choose from.

    Args:
        description: the module's docstring, shown as it stands.
        rounds: unless others are asked for.
        names: of the workloads.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if names:
        known = ", ".join(names)
        parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {known}")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--quick", action="store_true", help="one round of tiny work; writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    return parser


def add_images(parser: argparse.ArgumentParser) -> None:
    """Where the images of the workloads are."""
    parser.add_argument("--small", default=str(DATA / "cifar10" / "train.parquet"), help="32 px images, held in memory")
    parser.add_argument("--jpeg", default=str(DATA / "imagenet-samples"), help="folder of JPEG files")
