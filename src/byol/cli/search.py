"""`byol search`: the images of a set that are nearest to a picture, or to each picture of a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from byol.cli.parse import check_place, parse
from byol.config.run import Device

SHOWN = 5
"""Queries whose neighbors are printed; all of them are in the file."""


def run(arguments: list[str]) -> int:
    """`byol search ENCODER DATA QUERY [-k 20] [--out FILE]`."""
    from byol.evals.cache import FeatureConfig

    features_type: Any = Annotated[FeatureConfig, arg(name="features")]

    @dataclass(frozen=True, kw_only=True)
    class Command:
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, a file of weights (docs/weights.md), timm:NAME, hf-hub:NAME, random:NAME, or pixels."""
        data: Annotated[Positional[str], arg(metavar="DATA")]
        """Images to search: a folder, a list, Parquet, or a named data set."""
        query: Annotated[Positional[str], arg(metavar="QUERY")]
        """A picture, or many of them: a folder, a list, Parquet."""
        k: Annotated[int, arg(aliases=["-k"])] = 20
        """Neighbors of each picture."""
        out: str | None = None
        """CSV file for the neighbors of all pictures."""
        device: Device = "auto"
        """Where it runs."""
        features: features_type = FeatureConfig()

    command = parse(Command, arguments, "byol search", "The nearest images of a picture, by an encoder's features.")
    from byol.cli.exploring import open_images, open_labeled
    from byol.cli.progress import Bars
    from byol.encoders.load import open_encoder
    from byol.errors import UserError
    from byol.explore.findings import as_csv
    from byol.explore.search import SearchConfig, search
    from byol.runtime.checkpoint import write_atomically
    from byol.runtime.device import choose_device

    if command.k < 1:
        raise UserError(f"-k is {command.k}, but must be 1 or more.")
    device, _ = choose_device(command.device)
    check_place(command.out)
    encoder = open_encoder(command.encoder)
    source, queries = open_labeled(command.data, encoder), open_images(command.query, encoder)
    with Bars() as progress:
        config = SearchConfig(k=command.k, features=command.features)
        found = search(encoder, source, queries, config, device, progress)
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    for warning in progress.warnings():
        console.print(warning, markup=False)
    for lines in found[:SHOWN]:
        table = Table("rank", "cosine", "image", "label", title=lines[0].query, title_justify="left")
        for line in lines:
            table.add_row(str(line.rank), f"{line.similarity:.4f}", line.path, line.label)
        console.print(table, markup=False)
    if command.out is not None:
        head = ["query", "rank", "similarity", "index", "path", "label"]
        body = ([x.query, x.rank, x.similarity, x.index, x.path, x.label] for lines in found for x in lines)
        write_atomically(Path(command.out), as_csv([head, *body]))
        console.print(f"written to {command.out}", markup=False)
    elif len(found) > SHOWN:
        console.print(f"{len(found) - SHOWN} more pictures are left out here; give --out FILE for all of them.")
    return 0
