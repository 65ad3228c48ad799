"""Numbers of a view by short names, and short ways to draw and apply them, for tests."""

from functools import partial

import torch
from torch import Tensor

from byol.augment.apply import apply_operations
from byol.augment.color import _distance_shares, _signed_hue_in_sixths, _value_and_chroma
from byol.augment.draw import draw_view
from byol.augment.params import ViewParams
from byol.augment.views import make_views
from byol.config.views import Normalization, ViewConfig
from byol.runtime.seeds import generator_of

PLACES = {
    "area": ("crop", "area"),
    "log_aspect": ("crop", "log_aspect"),
    "offset": ("crop", "offset"),
    "flip": ("flip", "applied"),
    "vertical_flip": ("vertical_flip", "applied"),
    "jitter": ("color_jitter", "applied"),
    "order": ("color_jitter", "order"),
    "factors": ("color_jitter", "factors"),
    "gray": ("grayscale", "applied"),
    "blur": ("blur", "applied"),
    "sigma": ("blur", "sigma"),
    "solarize": ("solarize", "applied"),
}
"""The operation that draws a number, and its name there."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Codes of the four color operations."""


def draw(view: ViewConfig, count: int, seed: int = 0) -> ViewParams:
    """The numbers of one view."""
    return draw_view(view, count, partial(generator_of, seed))


def number(params: ViewParams, name: str) -> Tensor:
    """One of the numbers that were drawn, (N, ...)."""
    operation, key = PLACES[name]
    return params.numbers[operation][key]


def changed(params: ViewParams, **values: Tensor) -> ViewParams:
    """The same with other numbers."""
    numbers = {operation: dict(inner) for operation, inner in params.numbers.items()}
    for name, value in values.items():
        operation, key = PLACES[name]
        numbers[operation][key] = value
    return ViewParams(numbers)


def apply_color(images: Tensor, params: ViewParams) -> Tensor:
    """Everything but the crop, and no normalization."""
    return apply_operations(images, params)


def make_view(
    images: Tensor, params: ViewParams, mean: tuple[float, ...], std: tuple[float, ...], size: int | None = None
) -> Tensor:
    """One normalized view of each image."""
    (view,) = make_views((images,), (params,), Normalization(mean, std), None if size is None else (size,))
    return view


def rgb_to_hsv(x: Tensor) -> Tensor:
    """(N, 3, H, W) RGB -> HSV, all in [0, 1]."""
    value, chroma = _value_and_chroma(x)
    colorful = chroma > 1e-20
    hue = torch.where(colorful, (_signed_hue_in_sixths(x, value, chroma) / 6).remainder(1), 0.0)
    saturation = torch.where(colorful, chroma / value, 0.0)
    return torch.cat([hue, saturation, value], dim=1)


def hsv_to_rgb(x: Tensor) -> Tensor:
    """(N, 3, H, W) HSV -> RGB, all in [0, 1]."""
    hue, saturation, value = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    return value - value * saturation * torch.cat(_distance_shares(6 * hue), dim=1)
