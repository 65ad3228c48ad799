"""`byol views`: look at what the augmentations do, before paying for a run."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from byol.cli.parse import parse
from byol.cli.settings import explicit
from byol.config.run import DataConfig
from byol.config.views import AugmentConfig


@dataclass(frozen=True, kw_only=True)
class Views:
    """Look at what the augmentations do to your images, before paying for a run."""

    images: Annotated[Positional[str | None], arg(metavar="DATA")] = None
    """As for pretrain."""
    out: str = "views.png"
    """Picture to write: a row per image, first the image, then views of T and of T'."""
    recipe: str = "auto"
    """Whose views."""
    image_size: int | None = None
    """Side of the views, in pixels."""
    count: int = 6
    """Images to show."""
    seed: int = 0
    """Which views are drawn."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()


def run(arguments: list[str]) -> int:
    """Write the picture; the exit code."""
    command = parse(Views, arguments, "byol views", Views.__doc__ or "")
    from byol.cli.view_grid import write_views

    settings = explicit(command, arguments)
    settings.pop("seed", None)
    data = command.images or "photos:train"
    print(write_views(data, command.out, recipe=command.recipe, count=command.count, seed=command.seed, **settings))
    return 0
