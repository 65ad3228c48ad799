"""`byol embed`: every image as a vector, in one file that other programs read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import Positional, arg

from byol.cli.parse import check_place, given, parse
from byol.config.run import Device


def run(arguments: list[str]) -> int:
    """`byol embed ENCODER DATA --out FILE`."""
    from byol.explore.embed import EmbedConfig, embed
    from byol.explore.patch_files import patches_beside
    from byol.explore.vectors import check_suffix, names_beside

    config_type: Any = Annotated[EmbedConfig, arg(name="")]

    @dataclass(frozen=True, kw_only=True)
    class Command:
        encoder: Annotated[Positional[str], arg(metavar="ENCODER")]
        """A run's folder, a file of weights (docs/weights.md), timm:NAME, hf-hub:NAME, random:NAME, or pixels."""
        data: Annotated[Positional[str], arg(metavar="DATA")]
        """Images: a folder, a list, Parquet, or a named data set."""
        out: str = "features.parquet"
        """File to write: .parquet, .csv, or .npy with a .names.csv beside it."""
        labels: Annotated[str | None, given("FILE", "the data's own")] = None
        """A CSV file of path and label, instead of the data's own labels."""
        device: Device = "auto"
        """Where it runs."""
        config: config_type = EmbedConfig()

    command = parse(Command, arguments, "byol embed", "Write every image as a vector, in the order of the images.")
    from byol.cli.exploring import check_apart, open_labeled
    from byol.cli.progress import Bars
    from byol.encoders.load import open_encoder
    from byol.runtime import distributed
    from byol.runtime.device import choose_device

    out = Path(command.out)
    check_suffix(out)
    check_apart(out, command.data)
    check_place(command.out)
    device, _ = choose_device(command.device)
    with distributed.processes(device):
        encoder = open_encoder(command.encoder)
        source = open_labeled(command.data, encoder, command.labels)
        with Bars() as progress:
            found = embed(encoder, source, out, command.config, device, progress)
        if distributed.is_first():
            console = Console(highlight=False, emoji=False, soft_wrap=True)
            if found.unreadable:
                console.print(
                    f"{found.unreadable} of {len(source)} images could not be read and have no row.", style="yellow"
                )
            if found.resumed:
                console.print(f"{found.resumed} of the rows are from an earlier call that was interrupted.")
            names = f", names in {names_beside(out)}" if out.suffix.lower() == ".npy" else ""
            console.print(f"{found.rows} images, {found.features} features each, written to {out}{names}", markup=False)
            if found.patches is not None:
                grid = f"{found.patches.rows} x {found.patches.columns} patches of {found.patches.channels} features"
                console.print(f"{grid} of each image, written to {patches_beside(out)}", markup=False)
    return 0
