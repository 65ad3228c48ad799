"""Tiles of a view: where they are cut, and what keeps them from telling their place by a shortcut."""

import torch
from torch import Tensor

from byol.config.run import PretrainConfig
from byol.encoders.sizes import unsupported_reason
from byol.errors import UserError

SPREAD_FLOOR = 1e-2
"""Smallest standard deviation that a tile's values are divided by: a tile of one color stays dark, not noisy."""


def check_tiles(config: PretrainConfig, side: int) -> None:
    """See that a run's encoder takes tiles of a side in pixels.

    Raises:
        UserError: it does not.
    """
    why = "they are less than 4 px" if side < 4 else unsupported_reason(config.encoder, side)
    if why:
        raise UserError(
            f"The method {config.method.name} passes tiles of {side} px through the encoder, but "
            f"{config.encoder.name!r} takes none ({why}); give a larger --image-size, or another --encoder."
        )


def pick(draws: Tensor, count: int) -> Tensor:
    """Whole numbers from 0 to count - 1, each as likely, from numbers that are uniform in [0, 1)."""
    return (draws * count).long().clamp_max(count - 1)


def cut(images: Tensor, tops: Tensor, lefts: Tensor, side: int) -> Tensor:
    """Square tiles of images.

    Args:
        images: (N, C, H, W).
        tops: (N, T) int64, the first row of each tile.
        lefts: (N, T) int64, the first column.
        side: of all tiles, in pixels.

    Returns:
        (N, T, C, side, side); a tile that begins so late that it would end outside is moved back inside.
    """
    reach = torch.arange(side, device=images.device)
    rows = tops.clamp(0, images.shape[2] - side)[..., None] + reach
    columns = lefts.clamp(0, images.shape[3] - side)[..., None] + reach
    number = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    return images[number, :, rows[..., :, None], columns[..., None, :]].permute(0, 1, 4, 2, 3)


def grid(images: Tensor, cells: int, side: int, places: Tensor) -> Tensor:
    """A tile of each cell of a square grid, at a random place in its cell.

    The random place leaves gaps of random width between tiles, so that edges that go on tell nothing.

    Args:
        images: (N, C, S, S).
        cells: in each row and column of the grid.
        side: of the tiles in pixels, at most S // cells.
        places: (N, 2 * cells**2) uniform in [0, 1): rows, then columns.

    Returns:
        (N, cells**2, C, side, side), row by row.
    """
    cell = images.shape[2] // cells
    corners = cell * torch.arange(cells, device=images.device)
    offsets = pick(places, cell - side + 1)
    tops, lefts = offsets.chunk(2, dim=1)
    return cut(images, tops + corners.repeat_interleave(cells), lefts + corners.repeat(cells), side)


def standardized(tiles: Tensor) -> Tensor:
    """Tiles (..., s, s) less their own mean, divided by their own spread, channel by channel.

    Neighbors have similar brightness and contrast, which would betray them.
    """
    centered = tiles - tiles.mean((-2, -1), keepdim=True)
    spread = centered.square().mean((-2, -1), keepdim=True).sqrt()
    return centered / spread.clamp_min(SPREAD_FLOOR)
