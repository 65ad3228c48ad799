"""Apply what was drawn: flips, color, blur, solarize, and the normalization, as pure functions of a batch."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from byol.augment.color import blur_taps, gaussian_blur, solarize, to_grayscale
from byol.augment.crop import crop_resize, crop_window
from byol.augment.draw import Drawn, ViewParams
from byol.augment.jitter import first_turns, jitter, jitter_one, last_turns
from byol.config.views import Normalization, ViewConfig
from byol.runtime.threads import parallel_for

CHUNK_BYTES = 16 << 20
"""Pixels that a CPU works on at once: as few as stay in a cache, as many as keep the calls few."""

LARGE_BYTES = 128 << 10
"""Floats of one image from which on a part is a single image, that one core takes by itself (104 px of color)."""


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


def apply_color(images: Tensor, params: ViewParams, config: ViewConfig) -> Tensor:
    """The official `postprocess` (utils/augmentations.py:69-120) of (N, C, H, W) floats in [0, 1].

    Flip, jitter, gray, blur and solarize, each where it was drawn, with the official clips. Without three channels,
    saturation, hue and gray are left out: they have no meaning there.
    """
    if len(images) == 1:
        return _view_of_one(images, params, config, size=None)
    x, place = _views_in_any_order(images, params, config, size=None)
    return _pick(x, place)


def _views_in_any_order(
    images: Tensor, params: ViewParams, config: ViewConfig, size: int | None
) -> tuple[Tensor, Tensor]:
    """Crop (with a `size`), flip and color; images as they are stored, or floats.

    Returns:
        (N, C, S, S) in [0, 1], and (N,) the place of each image there: bringing them together by their operations
        costs least while they are bytes, and bringing them back where they are copied anyway.
    """
    first, last = first_turns(params), last_turns(params)
    x, drawn = _pick(images, first.order), params[first.order]
    x = _flip(as_float(x), drawn) if size is None else crop_views(x, drawn, size, flips=True)
    x, drawn = jitter(x, params, first, last), params[last.order]
    if x.shape[1] == 3:
        x = _where(x, drawn.gray, lambda part, _: to_grayscale(part))
    x = x.clamp_(0, 1)
    x = blur_drawn(x, drawn)
    x = _where(x, drawn.solarize, lambda part, _: solarize(part, config.solarize_threshold))
    return x.clamp_(0, 1), last.order.argsort()


def blur_drawn(x: Tensor, params: ViewParams) -> Tensor:
    """Blur the images (N, C, H, W) that are to be, in place; none where they are too small for a kernel."""
    taps = blur_taps(x.shape[2])
    if taps == 1:
        return x
    return _where(x, params.blur, lambda part, rows: gaussian_blur(part, rows(params.sigma), taps))


def _flip(x: Tensor, params: ViewParams) -> Tensor:
    """Mirror the images that are to be, in place."""
    x = _where(x, params.flip, lambda part, _: part.flip(3))
    return _where(x, params.vertical_flip, lambda part, _: part.flip(2))


def _view_of_one(image: Tensor, params: ViewParams, config: ViewConfig, size: int | None) -> Tensor:
    """The same for one image (1, C, H, W), without the bookkeeping of a batch."""
    drawn = params.one_by_one()[0]
    x = _flip_one(image, drawn) if size is None else crop_views(image, params, size, flips=True)
    return _color_one(x, drawn, config)


def _flip_one(image: Tensor, drawn: Drawn) -> Tensor:
    """One image as floats of its own, mirrored where it is to be."""
    dims = [dim for dim, mirrored in ((3, drawn.flip), (2, drawn.vertical_flip)) if mirrored]
    x = as_float(image.flip(dims) if dims else image)
    return x.clone() if x is image else x


def _color_one(x: Tensor, drawn: Drawn, config: ViewConfig) -> Tensor:
    """What follows crop and flip, of one image (1, C, H, W) that is overwritten."""
    x = jitter_one(x, drawn)
    if drawn.gray and x.shape[1] == 3:
        x = to_grayscale(x)
    taps = blur_taps(x.shape[2])
    if drawn.blur and taps > 1:
        x = gaussian_blur(x.clamp_(0, 1), torch.tensor([drawn.sigma], device=x.device), taps)
    if drawn.solarize:
        x = solarize(x.clamp_(0, 1), config.solarize_threshold)
    return x.clamp_(0, 1)


def _pick(x: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.index_select(x, 0, index.to(x.device, non_blocking=True), out=out)


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


def normalize_images(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...], out: Tensor | None = None) -> Tensor:
    """Subtract each channel's mean and divide by its standard deviation; (N, C, H, W)."""
    scale, shift = normalization(mean, std, x.dtype, x.device)
    return torch.mul(x, scale, out=out).add_(shift)


@cache
def normalization(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Factor and summand (1, C, 1, 1), made once: a GPU would wait for them at every step."""
    scale = torch.tensor([1 / s for s in std], dtype=dtype, device=device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=dtype, device=device)
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)


def make_views(images, params, normalization: Normalization, sizes=None):  # type: ignore[no-untyped-def]
    view = ViewConfig()
    size = sizes[0] if sizes else None
    first = images[0]
    out = tuple(_empty_view(x, s) for x, s in zip(images, sizes or [None] * len(images)))
    if sizes and len(set(sizes)) > 1:
        return tuple(
            make_view(x, p, view, normalization.mean, normalization.std, s) for x, p, s in zip(images, params, sizes)
        )
    rows = _rows(first, views=len(images))

    def fill(part: slice) -> None:
        x, p, places = [i[part] for i in images], [q[part] for q in params], [o[part] for o in out]
        if rows > 1 and len({i.dtype for i in images}) == 1:
            joined = p[0]
            for other in p[1:]:
                joined = ViewParams.join(joined, other)
            _fill(torch.cat(x), joined, view, size, normalization.mean, normalization.std, places)
        else:
            for i in range(len(images)):
                _fill(x[i], p[i], view, size, normalization.mean, normalization.std, [places[i]])

    _in_parts(first, rows, fill)
    return out


def make_views_of_one(crops, drawn, normalization, out):  # type: ignore[no-untyped-def]
    for crop, numbers, place in zip(crops, drawn, out, strict=True):
        normalize_images(
            _color_one(_flip_one(crop, numbers), numbers, ViewConfig()),
            normalization.mean,
            normalization.std,
            out=place,
        )


def make_view(
    images: Tensor,
    params: ViewParams,
    view: ViewConfig,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: int | None = None,
) -> Tensor:
    """One normalized view of each image; arguments as for `make_views`."""
    out = _empty_view(images, size)

    def fill(part: slice) -> None:
        _fill(images[part], params[part], view, size, mean, std, [out[part]])

    _in_parts(images, _rows(images, views=1), fill)
    return out


def _fill(
    images: Tensor,
    params: ViewParams,
    view: ViewConfig,
    size: int | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    places: list[Tensor],
) -> None:
    """Write the normalized views of all images to `places`, one after the other."""
    if len(images) == 1:
        normalize_images(_view_of_one(images, params, view, size), mean, std, out=places[0])
        return
    x, where = _views_in_any_order(images, params, view, size)
    for index, place in zip(torch.split(where, [len(place) for place in places]), places, strict=True):
        normalize_images(_pick(x, index, out=place), mean, std, out=place)


def _empty_view(images: Tensor, size: int | None) -> Tensor:
    side = images.shape[2:] if size is None else (size, size)
    dtype = images.dtype if images.is_floating_point() else torch.float32
    return torch.empty(*images.shape[:2], *side, dtype=dtype, device=images.device)


def is_large(channels: int, height: int, width: int) -> bool:
    """Whether one core works on an image of that size by itself."""
    return 4 * channels * height * width >= LARGE_BYTES


def _rows(images: Tensor, views: int) -> int:
    """Images of a part: on a CPU as many as stay near, equally many in each part, or one."""
    if images.device.type != "cpu" or not len(images):
        return max(1, len(images))
    if is_large(*images.shape[1:]):
        return 1
    parts = -(-views * 4 * images.numel() // CHUNK_BYTES)
    return -(-len(images) // parts)  # no last part of a few images: it would cost as many calls as a full one


def _in_parts(images: Tensor, rows: int, fill: Callable[[slice], None]) -> None:
    parts = [slice(start, start + rows) for start in range(0, len(images), rows)]
    if rows == 1:
        parallel_for(fill, parts)
    else:
        for part in parts:
            fill(part)
