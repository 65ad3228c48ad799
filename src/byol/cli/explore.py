"""`byol explore`: what there is to find in a set of images, as tables and as a page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import Positional, arg

from byol.cli.parse import check_place, given, parse
from byol.config.run import Device


def run(arguments: list[str]) -> int:
    """`byol explore ENCODER DATA [--test DATA] [--suggest N]`."""
    from byol.explore.findings import ExploreConfig, explore, in_words, write_tables

    config_type: Any = Annotated[ExploreConfig, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command:
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, a file of weights (docs/weights.md), timm:NAME, hf-hub:NAME, random:NAME, or pixels."""
        data: Annotated[Positional[str], arg(metavar="DATA")]
        """Images: a folder, a list, Parquet, or a named data set; with labels or without."""
        test: str | None = None
        """Another part, such as the test images, that should share no image with DATA."""
        labels: Annotated[str | None, given("FILE", "the data's own")] = None
        """A CSV file of path and label, instead of the data's own labels."""
        out: str = "explore"
        """Folder for the page and the tables."""
        device: Device = "auto"
        """Where it runs."""
        config: config_type = ExploreConfig()

    command = parse(Command, arguments, "byol explore", "Near-duplicates, outliers, label suspects, and a map.")
    from byol.cli.exploring import open_labeled
    from byol.cli.progress import Bars
    from byol.encoders.load import open_encoder
    from byol.explore.listing import printable
    from byol.explore.page import explore_page
    from byol.explore.projection import project
    from byol.runtime.checkpoint import write_atomically
    from byol.runtime.device import choose_device

    device, _ = choose_device(command.device)
    folder = Path(command.out)
    check_place(str(folder / "explore.html"))
    encoder = open_encoder(command.encoder)
    source = open_labeled(command.data, encoder, command.labels)
    test = None if command.test is None else open_labeled(command.test, encoder)
    with Bars() as progress:
        found = explore(encoder, source, command.config, device, test=test, progress=progress)
        written = write_tables(folder, found)
        projection = project(found.part.values, found.neighbors, command.config.map, command.config.seed)
        page = folder / "explore.html"
        title = printable(f"{command.data}, as {command.encoder} sees it")
        write_atomically(page, explore_page(title, source, found, projection))
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    for warning in progress.warnings():
        console.print(warning, markup=False)
    for sentence in in_words(found):
        console.print(sentence, markup=False)
    console.print(f"tables {', '.join(str(path) for path in written)}", markup=False)
    console.print(f"page {page}", markup=False)
    return 0
