"""A picture of what the augmentations do, to look at before paying for a run."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from byol.augment.apply import apply_operations
from byol.augment.draw import draw_view
from byol.augment.normalize import as_float
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.crop import crop_one
from byol.data.reading import opened_as
from byol.data.sample import evenly
from byol.data.sources.open import Source, open_training
from byol.data.sources.stretched import stretched
from byol.data.transform import Transform
from byol.errors import BadImage, UserError
from byol.recipes.facts import find_facts, visible_settings
from byol.recipes.presets import recipe_named
from byol.runtime.checkpoint import write_atomically
from byol.runtime.device import choose_device
from byol.runtime.seeds import generator_of

PER_VIEW = 4
"""Views of T, and of T', beside each image."""
GAP = 4
"""Pixels of white between pictures."""
HEAD = 24
"""Pixels of the line above, which says what the columns are and how large."""
LEAST_SIDE = 96
"""Small views are enlarged to about this many pixels, so that they can be looked at."""


def write_views(
    data: str | Path | Source,
    out: str | Path,
    *,
    recipe: str = "auto",
    count: int = 6,
    seed: int = 0,
    **settings: Any,
) -> str:
    """Write a PNG with a row per image: the image, then four views of T and four of T'; returns a sentence about it.

    Raises:
        UserError: no such data or recipe, nothing to show, or a path that cannot be written.
    """
    if count < 1:
        raise UserError(f"{count} images were asked for; give a --count of 1 or more.")
    path = Path(out)
    if isinstance(data, str | Path) and Path(data).is_dir() and path.resolve().is_relative_to(Path(data).resolve()):
        raise UserError(f"{path} lies among the images, which it would be taken for one of; give another --out.")
    asked = visible_settings(settings).data
    with opened_as(asked):
        source = open_training(data, settings.get("data__channels"))
    device, _ = choose_device("auto")
    facts, _ = find_facts(source, None, device, settings)
    config = replace(recipe_named(recipe).make(facts).config, **settings)
    limits = config.data.stretch
    source = stretched(source, limits)
    rows = []
    for index in evenly(len(source), count):
        try:
            rows.append(_row(source.image(index), config, seed, index))
        except BadImage:
            continue
    if not rows:
        raise UserError(f"None of the {count} images of {source.name!r} that were tried can be read; check the files.")
    picture = _grid(rows, config.image_size)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    write_atomically(path, file.getvalue())
    rule = (
        ""
        if limits is None
        else f" Values {limits[0]:g} to {limits[1]:g} are stretched from black to white, as in training (--data.range)."
    )
    return (
        f"{path}: {len(rows)} images; each row shows the image, {PER_VIEW} views of T, and {PER_VIEW} of T' "
        f"({config.image_size} px, recipe {recipe}). What no view shows, the encoder will not learn."
        f"{rule}"
    )


def _row(image: Tensor, config: PretrainConfig, seed: int, index: int) -> list[Tensor]:
    """The image and its views, (C, S, S) in [0, 1] each."""
    size, pictures = config.image_size, []
    look = Transform(image_size=size, mean=config.encoder.mean, std=config.encoder.std)
    pictures.append(as_float(look.crop(image)))
    for number, view in enumerate((config.augment.view1, config.augment.view2)):
        params = draw_view(view, PER_VIEW, partial(generator_of, seed, "views", index, number))
        crops = torch.stack([crop_one(image, params[i : i + 1], size) for i in range(PER_VIEW)])
        pictures += apply_operations(as_float(crops), params)
    return pictures


def _grid(rows: list[list[Tensor]], size: int) -> Image.Image:
    """All pictures on white below their headings; the first column and the two kinds of views stand apart."""
    scale = max(1, round(LEAST_SIDE / size))
    side = size * scale
    starts = [GAP + c * (side + GAP) + (2 * GAP if c >= 1 else 0) + (2 * GAP if c > PER_VIEW else 0) for c in range(9)]
    grid = Image.new("RGB", (starts[-1] + side + GAP, HEAD + GAP + len(rows) * (side + GAP)), "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(HEAD // 2)
    for start, words in zip((starts[0], starts[1], starts[1 + PER_VIEW]), ("image", "T", "T'"), strict=True):
        draw.text((start, HEAD // 4), f"{words}, {size} px", "black", font)
    for number, row in enumerate(rows):
        top = HEAD + GAP + number * (side + GAP)
        for start, picture in zip(starts, row, strict=True):
            grid.paste(_to_image(picture).resize((side, side), Image.Resampling.NEAREST), (start, top))
    return grid


def _to_image(picture: Tensor) -> Image.Image:
    """(C, S, S) in [0, 1] as RGB: gray is repeated, of many channels the first three are shown."""
    channels = picture[:3] if len(picture) >= 3 else picture[:1].expand(3, -1, -1)
    pixels = (channels * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return Image.fromarray(pixels.numpy())
