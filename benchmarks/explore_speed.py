"""How fast `byol embed` is beside the bare forward pass, and `byol explore` by its parts.

    python benchmarks/explore_speed.py          # about a quarter of an hour on two cores
    python benchmarks/explore_speed.py --quick  # does it run at all; writes nothing

`byol embed` reads the images from their files, decodes them and writes Parquet; the bare forward pass has its
normalized batches ready. `byol explore` begins with stored features and ends with the tables and the page on the disk.
Both are called in this process, so that loading Python's packages does not count (`startup.py` measures that). Writes
benchmarks/results/explore-speed.json.
"""

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from byol.bench.stopwatch import Stopwatch
from byol.data.sources.open import open_source
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.evals.cache import FeatureConfig, cached_features
from byol.evals.calibration import calibrated
from byol.explore import findings, page
from byol.explore.embed import EmbedConfig, embed
from byol.explore.neighbors import ExactIndex
from byol.explore.projection import project
from byol.runtime import device as machine
from byol.runtime.checkpoint import write_atomically
from evaluation_speed import bare
from options import common_options
from results_file import Row, in_rounds, ratios, show, write
from workloads import DATA

EMBED_GOAL, SECONDS_GOAL, MEGABYTES_GOAL = 0.95, 90.0, 15.0
ENCODERS = {"resnet18-32": "random:resnet18@small/32", "narrow-32": "random:resnet10@stride2/x0.5/32"}
"""ResNet-18 with the stem for small images, and the network of the recipe cifar10-cpu."""
EXPLORED = "resnet18-32"
PARTS = (
    (findings, "cached_features", "features from the disk"),
    (findings, "small_copies", "small copies of the images"),
    (ExactIndex, "others", "neighbors"),
    (findings, "find_duplicates", "near-duplicates"),
    (findings, "find_outliers", "outliers"),
    (findings, "find_suspects", "label suspects"),
    (findings, "write_tables", "tables"),
    (page, "make_sheets", "pictures of the page"),
)
"""What is timed within `byol explore`; the map and the rest of the page are timed beside it."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = common_options(__doc__, 3, ["embed", "explore"])
    parser.add_argument("--images", default=str(DATA / "cifar10" / "train.parquet"), help="labeled images of 32 px")
    parser.add_argument("--keep", type=Path, help="folder in which the tables and the page are left")
    parser.add_argument("--map", choices=["auto", "umap", "pca"], default="auto")
    options = parser.parse_args(arguments)
    machine.keep_freed_memory()
    images, limit = str(options.images), 256 if options.quick else None
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BYOL_HOME"] = folder
        if "embed" in options.only:
            for name in ENCODERS:
                rows += embedding(name, images, limit, Path(folder), 1 if options.quick else options.rounds)
        if "explore" in options.only:
            options.keep = options.keep or Path(folder)
            options.keep.mkdir(parents=True, exist_ok=True)
            rows += exploring(images, limit, "pca" if options.quick else options.map, options.keep)
    for row in rows:
        show(row)
    if not options.quick:
        print(f"written to {write('explore-speed', rows, options.out)}")
    return rows


def embedding(name: str, images: str, limit: int | None, folder: Path, rounds: int) -> list[Row]:
    """Images per second of `byol embed`, from opening the data to the file, and of the encoder alone."""
    device, encoder = machine.choose_device("auto")[0], ready(name, images)
    precision, _ = machine.choose_precision("auto", device)
    config = EmbedConfig(precision=precision)
    opened = open_source(images, 3)
    every = range(len(opened))[:limit]

    def embedded() -> float:
        began = time.perf_counter()
        source = open_source(images, 3).subset(every)
        embed(encoder, source, folder / "features.parquet", config, device)
        return len(source) / (time.perf_counter() - began)

    alone = bare(
        encoder.module.to(device),
        opened.subset(every),
        encoder.transform,
        device,
        precision == "bf16",
        config.batch_size,
    )
    values = in_rounds({"byol embed": embedded, "bare forward": alone}, rounds)
    about = {
        "encoder": ENCODERS[name],
        "images": len(every),
        "batch_size": config.batch_size,
        "precision": precision,
        "from": Path(images).name,
    }
    share = ratios(values["byol embed"], values["bare forward"])
    return [
        *(Row(f"embed, {name}", what, "images/s", each, about) for what, each in values.items()),
        Row(f"embed, {name}", "byol embed / bare forward", "ratio", share, about, EMBED_GOAL),
    ]


def ready(name: str, images: str) -> LoadedEncoder:
    """An encoder whose batch norm has seen images."""
    device, _ = machine.choose_device("auto")
    return calibrated(open_encoder(ENCODERS[name]), open_source(images, 3), device)


def exploring(images: str, limit: int | None, kind: str, folder: Path) -> list[Row]:
    """Seconds of `byol explore` from stored features to the page, by part, and the size of the page."""
    device, encoder = machine.choose_device("auto")[0], ready(EXPLORED, images)
    source = open_source(images, 3)
    source = source.subset(range(len(source))[:limit])
    features = FeatureConfig()
    width = cached_features(encoder, source, features, device).values.shape[1]
    config = findings.ExploreConfig(features=features, map=kind)  # type: ignore[arg-type]
    watch, out = Stopwatch(), folder / "explore.html"
    began = time.perf_counter()
    with ExitStack() as stack:
        for owner, function, part in PARTS:
            stack.enter_context(watch.on(owner, function, part))
        found = findings.explore(encoder, source, config, device)
        findings.write_tables(folder, found)
        with watch.part("map"):
            projection = project(found.part.values, found.neighbors, config.map, config.seed)
        with watch.part("page"):
            write_atomically(out, page.explore_page("Images", source, found, projection))
    seconds = time.perf_counter() - began
    about = {"encoder": ENCODERS[EXPLORED], "images": len(source), "features": width, "map": projection.method}
    size = out.stat().st_size / 1e6
    return [
        Row("explore", "features to page", "s", [seconds], about, SECONDS_GOAL, at_most=True),
        Row("explore", "size of the page", "MB", [size], about, MEGABYTES_GOAL, at_most=True),
        *(Row("explore, by part", part, "s", [spent], about) for part, spent in watch.seconds.items()),
    ]


if __name__ == "__main__":
    main()
