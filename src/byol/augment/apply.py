"""Apply what was drawn: flips, colour, blur, solarise, and the normalisation, as pure functions of a batch."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from byol.augment.color import (
    Factor,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    blur_taps,
    gaussian_blur,
    solarize,
    to_grayscale,
)
from byol.augment.crop import crop_resize, crop_window
from byol.augment.draw import BRIGHTNESS, CONTRAST, HUE, SATURATION, Drawn, ViewParams
from byol.config import AugmentConfig, ViewConfig
from byol.threads import side_by_side

CHUNK_BYTES = 16 << 20
"""Pixels that a CPU works on at once: as few as stay in a cache, as many as keep the calls few."""

LARGE_BYTES = 128 << 10
"""Floats of one image from which on a part is a single image, that one core takes by itself (104 px of colour)."""

JITTER: dict[int, Callable[..., Tensor]] = {
    BRIGHTNESS: adjust_brightness,
    CONTRAST: adjust_contrast,
    SATURATION: adjust_saturation,
    HUE: adjust_hue,
}
COLOUR_ONLY = (SATURATION, HUE)
"""Operations that mean nothing without red, green and blue."""


def crop_views(images: Tensor, params: ViewParams, size: int, flips: bool = False) -> Tensor:
    """Crop, resize and perhaps flip: (N, C, H, W) uint8 or float in [0, 1] -> (N, C, size, size) float32 in [0, 1]."""
    top, left, height, width = (
        t.to(images.device, non_blocking=True) for t in crop_window(params, images.shape[2], images.shape[3])
    )
    mirrors = (t.to(images.device, non_blocking=True) for t in (params.flip, params.vertical_flip)) if flips else ()
    return crop_resize(images, top, left, height, width, size, *mirrors)


def as_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1]; floats pass."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def apply_color(images: Tensor, params: ViewParams, config: ViewConfig, flipped: bool = False) -> Tensor:
    """The official `postprocess` (utils/augmentations.py:69-120) of (N, C, H, W) floats in [0, 1].

    Flip (unless the crop has done so), jitter, grey, blur and solarise, each where it was drawn, with the official
    clips. Without three channels, saturation, hue and grey are left out: they have no meaning there.
    """
    if len(images) == 1:
        return _apply_to_one(images, params.one_by_one()[0], config, flipped)
    x = images
    if not flipped:
        x = x.clone()
        x = _where(x, params.flip, lambda part, _: part.flip(3))
        x = _where(x, params.vertical_flip, lambda part, _: part.flip(2))
    has_colour = x.shape[1] == 3
    x = _jitter(x, params, has_colour)
    if has_colour:
        x = _where(x, params.gray, lambda part, _: to_grayscale(part))
    x = x.clamp_(0, 1)
    taps = blur_taps(x.shape[2])
    if taps > 1:
        x = _where(x, params.blur, lambda part, rows: gaussian_blur(part, rows(params.sigma), taps))
    x = _where(x, params.solarize, lambda part, _: solarize(part, config.solarize_threshold))
    return x.clamp_(0, 1)


def _jitter(x: Tensor, params: ViewParams, has_colour: bool) -> Tensor:
    """The four colour operations, each image's in its own order; (N, C, H, W) -> a new tensor.

    For each turn the images are brought into the order of their operations, so that an operation works in place on
    neighbours: one copy a turn, where picking images out and putting them back would be two of a slower kind.
    """
    nothing = len(JITTER)
    turns = torch.where(params.jitter.view(-1, 1), params.order, nothing).T.contiguous()  # (4, N)
    sorted_by_turn = turns.argsort(dim=1, stable=True)
    where_is = sorted_by_turn.argsort(dim=1)
    counts = (turns.unsqueeze(2) == torch.arange(nothing)).sum(dim=1).tolist()
    to_turn = sorted_by_turn.clone()
    to_turn[1:] = where_is[:-1].gather(1, sorted_by_turn[1:])
    factors = params.factors[sorted_by_turn].to(x.device, non_blocking=True)  # (4, N, 4)
    to_turn, back = (t.to(x.device, non_blocking=True) for t in (to_turn, where_is[-1]))
    for turn in range(4):
        x = x.index_select(0, to_turn[turn])
        start = 0
        for code in JITTER:
            end = start + counts[turn][code]
            if end > start and (has_colour or code not in COLOUR_ONLY):
                _jitter_in_place(x[start:end], factors[turn, start:end, code], code)
            start = end
    return x.index_select(0, back)


def _apply_to_one(x: Tensor, drawn: Drawn, config: ViewConfig, flipped: bool) -> Tensor:
    """The same for one image (1, C, H, W), without the bookkeeping of a batch."""
    x = x.flip(3) if drawn.flip and not flipped else x.clone()
    if drawn.vertical_flip and not flipped:
        x = x.flip(2)
    has_colour = x.shape[1] == 3
    for code in drawn.order if drawn.jitter else ():
        if has_colour or code not in COLOUR_ONLY:
            _jitter_in_place(x, drawn.factors[code], code)
    if drawn.gray and has_colour:
        x = to_grayscale(x)
    taps = blur_taps(x.shape[2])
    if drawn.blur and taps > 1:
        x = gaussian_blur(x.clamp_(0, 1), torch.tensor([drawn.sigma], device=x.device), taps)
    if drawn.solarize:
        x = solarize(x.clamp_(0, 1), config.solarize_threshold)
    return x.clamp_(0, 1)


def _jitter_in_place(x: Tensor, factor: Factor, code: int) -> None:
    JITTER[code](x, factor, out=x)
    if code not in COLOUR_ONLY:  # those two stay within [0, 1]
        x.clamp_(0, 1)


def _where(x: Tensor, chosen: Tensor, operation: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Tensor:
    """Apply an operation to the chosen images, in place.

    The choice was drawn on the CPU, so nothing waits for a GPU to learn how many images there are.
    """
    index = chosen.nonzero().squeeze(1)
    if len(index) == 0:
        return x
    if len(index) == len(x):
        return operation(x, lambda t: t.to(x.device, non_blocking=True))
    on_device = index.to(x.device, non_blocking=True)
    part = operation(x.index_select(0, on_device), lambda t: t[index].to(x.device, non_blocking=True))
    return x.index_copy_(0, on_device, part)


def normalise_images(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...], out: Tensor | None = None) -> Tensor:
    """Subtract each channel's mean and divide by its standard deviation; (N, C, H, W)."""
    scale, shift = _normalisation(mean, std, x.dtype, x.device)
    return torch.mul(x, scale, out=out).add_(shift)


@cache
def _normalisation(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Factor and summand (1, C, 1, 1), made once: a GPU would wait for them at every step."""
    scale = torch.tensor([1 / s for s in std], dtype=dtype, device=device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=dtype, device=device)
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)


def make_views(
    images: tuple[Tensor, Tensor], params: tuple[ViewParams, ViewParams], config: AugmentConfig, size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Two normalised views (N, C, S, S) of each image.

    On a CPU, work goes through the batch in parts that stay in the cache. Of small images a part is many, with both
    views, and the cores share each operation: few operations, each long. Of large ones it is a single image, and each
    core takes one by itself.

    Args:
        images: what each view starts from, uint8 or float in [0, 1]: crops (N, C, S, S), or with `size` whole images
            (N, C, H, W), which may be the same tensor twice.
        params: what was drawn for each view.
        config: the two views and the normalisation.
        size: side of the views, where the crops are still to be made.
    """
    first = images[0]
    out = _empty_view(first, size), _empty_view(first, size)
    rows = _rows(first, views=2)
    alike = config.view1.solarize_threshold == config.view2.solarize_threshold and images[0].dtype == images[1].dtype

    def fill(part: slice) -> None:
        x, p = (images[0][part], images[1][part]), (params[0][part], params[1][part])
        if rows > 1 and alike:
            both = _colored(torch.cat(x), ViewParams.join(*p), config.view1, size)
            colored = both[: len(x[0])], both[len(x[0]) :]
        else:
            colored = _colored(x[0], p[0], config.view1, size), _colored(x[1], p[1], config.view2, size)
        for one, place in zip(colored, out, strict=True):
            normalise_images(one, config.mean, config.std, out=place[part])

    _in_parts(first, rows, fill)
    return out


def make_view(
    images: Tensor,
    params: ViewParams,
    view: ViewConfig,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: int | None = None,
) -> Tensor:
    """One normalised view of each image; arguments as for `make_views`."""
    out = _empty_view(images, size)

    def fill(part: slice) -> None:
        normalise_images(_colored(images[part], params[part], view, size), mean, std, out=out[part])

    _in_parts(images, _rows(images, views=1), fill)
    return out


def _colored(images: Tensor, params: ViewParams, view: ViewConfig, size: int | None) -> Tensor:
    """Views before the normalisation, in [0, 1]."""
    if size is None:
        return apply_color(as_float(images), params, view)
    return apply_color(crop_views(images, params, size, flips=True), params, view, flipped=True)


def _empty_view(images: Tensor, size: int | None) -> Tensor:
    side = images.shape[2:] if size is None else (size, size)
    dtype = images.dtype if images.is_floating_point() else torch.float32
    return torch.empty(*images.shape[:2], *side, dtype=dtype, device=images.device)


def _rows(images: Tensor, views: int) -> int:
    """Images of a part: on a CPU as many as stay near, equally many in each part, or one."""
    if images.device.type != "cpu" or not len(images):
        return max(1, len(images))
    if 4 * images[0].numel() >= LARGE_BYTES:
        return 1
    parts = -(-views * 4 * images.numel() // CHUNK_BYTES)
    return -(-len(images) // parts)  # no last part of a few images: it would cost as many calls as a full one


def _in_parts(images: Tensor, rows: int, fill: Callable[[slice], None]) -> None:
    parts = [slice(start, start + rows) for start in range(0, len(images), rows)]
    if rows == 1:
        side_by_side(fill, parts)
    else:
        for part in parts:
            fill(part)
