"""`byol bench`: how fast this machine trains, and how fast it could."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional

from byol.cli.parse import check_place, given
from byol.config.optim import OptimConfig
from byol.config.run import DataConfig, Device, NetworkConfig, Precision
from byol.config.views import AugmentConfig


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How fast this machine trains beside how fast it could, and what holds it back.

    Takes those flags of `byol pretrain` that change what an update of BYOL costs, and measures the run that they would
    start, were there no budget.
    """

    images: Annotated[Positional[str | None], given("DATA", "photographs that come along, or made up")] = None
    """As for pretrain."""
    recipe: Annotated[str, given("NAME", "auto")] = "auto"
    """Starting point; see `byol recipes`."""
    encoder: Annotated[str | None, given("NAME")] = None
    """Any timm model name, or resnet10."""
    image_size: Annotated[int | None, given("PIXELS")] = None
    """Side of the square views."""
    batch_size: Annotated[int | None, given("IMAGES")] = None
    """Images per update."""
    device: Annotated[Device | None, given("{auto,cpu,cuda,mps}", "auto")] = None
    """Where; auto takes cuda, then mps, then cpu."""
    precision: Annotated[Precision | None, given("{auto,bf16,float32}", "auto")] = None
    """bf16 or float32; auto takes bf16 where it is faster."""
    seconds: float = 60.0
    """Time to measure for, about; at least a few updates are always measured."""
    json: Annotated[str | None, given("FILE", "none")] = None
    """File for the figures, with config, machine and versions."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    optim: OptimConfig = OptimConfig()


def run(command: Bench, settings: dict[str, Any], arguments: list[str]) -> int:
    """Measure, print, and write the file that was asked for; the exit code."""
    from byol.bench.run import bench
    from byol.bench.words import words
    from byol.runtime.checkpoint import write_atomically

    check_place(command.json)
    path = None if command.json is None else Path(command.json)
    report = bench(command.images, recipe=command.recipe, seconds=command.seconds, **settings)
    print("\n".join(words(report)))
    if path is not None:
        record = {**report.as_json(), "command": shlex.join(["byol", "bench", *arguments])}
        write_atomically(path, json.dumps(record, indent=1) + "\n")
        print(f"written to {path}")
    return 0
