"""ResNet-50 BYOL at the paper's batch of 4096 on 8, 64 and 512 GPUs, on paper: no figure here was measured.

    python benchmarks/scaling_model.py

Writes `benchmarks/results/scaling-model.txt`, the table in docs/speed.md. The counts are those of the real networks;
the assumptions are the defaults of `byol.bench.scaling.Cluster` and those below, and are printed with the table.
"""

import argparse
import dataclasses
from pathlib import Path

from byol.bench.dry_run import batch_on_meta, build_on_meta, dry_step
from byol.bench.limits import limit_of
from byol.bench.scaling import OVERLAP, Cluster, scaled, traffic_of
from byol.config.values import replace
from byol.methods.base import TrainingSet
from byol.recipes.presets import official
from byol.runtime.checkpoint import write_atomically
from results_file import RESULTS

GPUS = (8, 64, 512)
LINKS = {"400 Gb/s": 50e9, "100 Gb/s": 12.5e9, "25 Gb/s": 3.125e9}
"""Of each GPU to other nodes."""
IMAGENET = TrainingSet(images=1_281_167)
FILE_BYTES = 138e9 / IMAGENET.images
"""Mean size of ImageNet's training JPEGs: 138 GB (image-net.org) for all of them."""
DECODED_PER_CORE = 400
"""Images per second that a core decodes and crops twice: assumed; `byol bench` measures it."""


def table() -> str:
    """The assumptions, and a line for each number of GPUs and each link."""
    config = replace(official(1000, lr=0.2, weight_decay=1.5e-6, tau=0.996), precision="bf16")
    method = build_on_meta(config, IMAGENET)
    traffic = traffic_of(method, dry_step(method, batch_on_meta(config)), joined=True)
    cluster = Cluster()
    lines = [
        "$ python benchmarks/scaling_model.py",
        f"{config.encoder.name}, {config.image_size} px, batch {config.batch_size} over all GPUs, bf16",
        f"a GPU: {cluster.peak / 1e12:g} TFLOP/s, {cluster.memory / 1e12:g} TB/s of memory, {cluster.reached:.0%} of "
        "either reached (assumed)",
        f"links: {cluster.inside / 1e9:g} GB/s within a node of {cluster.per_node}; "
        f"{1e6 * cluster.hop:g} us a small reduction for each doubling of the GPUs (assumed)",
        f"all-reduce: {traffic.gradients / 1e6:.1f} MB of gradients an update, hidden beside {OVERLAP:.0%} of the "
        f"backward pass, and {(traffic.statistics + traffic.gathered) / 1e6:.2f} MB of batch-norm statistics in "
        f"{traffic.calls} calls",
        f"a node reads files of {FILE_BYTES / 1e3:.0f} kB; a core decodes {DECODED_PER_CORE} images/s (assumed)",
        "",
        "GPUs  images each  link to nodes  compute  statistics  gradients  images/s  efficiency  node reads  cores/GPU",
    ]
    for gpus in GPUS:
        limit = limit_of(replace(config, batch_size=config.batch_size // gpus), IMAGENET)
        for link, speed in LINKS.items() if gpus > cluster.per_node else [("none", cluster.between)]:
            found = scaled(limit, traffic, dataclasses.replace(cluster, between=speed), gpus)
            each = found.images_per_second / gpus
            read = each * cluster.per_node * FILE_BYTES / 1e6
            lines.append(
                f"{gpus:4}  {limit.images:11}  {link:>13}  {1000 * found.compute:4.1f} ms  "
                f"{1000 * found.statistics:7.1f} ms  {1000 * found.gradients:6.1f} ms  "
                f"{found.images_per_second:8,.0f}  {found.efficiency:10.0%}  {read:5,.0f} MB/s  "
                f"{each / DECODED_PER_CORE:9.1f}"
            )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the text")
    options = parser.parse_args(arguments)
    text = table()
    print(text, end="")
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / "scaling-model.txt", text)


if __name__ == "__main__":
    main()
