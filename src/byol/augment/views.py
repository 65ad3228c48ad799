"""Normalized views of a batch, any number of each image: on a CPU in parts that stay in its cache."""

from collections.abc import Sequence

import torch
from torch import Tensor

from byol.augment.apply import apply_to_batch, apply_to_one, apply_to_one_crop, select
from byol.augment.normalize import normalize_images
from byol.augment.params import OneImage, ViewParams
from byol.config.views import Normalization
from byol.runtime.threads import parallel_for

CHUNK_BYTES = 16 << 20
"""Bytes of pixels that a CPU works on at once: few enough for a cache, enough to keep the calls few."""

LARGE_BYTES = 128 << 10
"""Bytes of one image as floats from which on a part is a single image for a single core (104 px of color)."""


def make_views(
    images: Sequence[Tensor],
    params: Sequence[ViewParams],
    normalization: Normalization,
    sizes: Sequence[int] | None = None,
) -> tuple[Tensor, ...]:
    """Normalized views, (N, C, S, S) each, of the same N images.

    Views of one size from images of one dtype are made together. On a CPU the work goes through the batch in parts that
    stay in the cache. A part of small images has many of them, with all views that are made together, and the cores
    share each operation: few operations, each long. A part of large images is a single one, and each core takes one.

    Args:
        images: what each view starts from, uint8 or float in [0, 1]: crops (N, C, S, S), or with `sizes` whole images
            (N, C, H, W), which may be the same tensor several times.
        params: what was drawn for each view.
        normalization: of all views.
        sizes: side of each view in pixels, where the crops are still to be made.
    """
    sides: list[int | None] = [None] * len(images) if sizes is None else list(sizes)
    out = [_empty_view(x, size) for x, size in zip(images, sides, strict=True)]
    for alike in alike_views(images, sizes):
        group = [images[i] for i in alike], [out[i] for i in alike], [params[i] for i in alike]
        _make_together(*group, normalization, sides[alike[0]])
    return tuple(out)


def alike_views(images: Sequence[Tensor], sizes: Sequence[int] | None = None) -> list[list[int]]:
    """Group the numbers of views that one call can make: of one size, from images of one shape and dtype."""
    groups: dict[object, list[int]] = {}
    for number, x in enumerate(images):
        groups.setdefault((sizes and sizes[number], x.shape, x.dtype), []).append(number)
    return list(groups.values())


def make_views_of_one(
    crops: Sequence[Tensor], values: Sequence[OneImage], normalization: Normalization, out: Sequence[Tensor]
) -> None:
    """Write all views of one image, from its crops (1, C, S, S), to `out`: the work of one thread."""
    for crop, numbers, view in zip(crops, values, out, strict=True):
        normalize_images(apply_to_one_crop(crop, numbers), normalization, out=view)


def is_large(channels: int, height: int, width: int) -> bool:
    """Whether one core works on an image of that size by itself."""
    return 4 * channels * height * width >= LARGE_BYTES


def _make_together(
    images: list[Tensor], out: list[Tensor], params: list[ViewParams], normalization: Normalization, size: int | None
) -> None:
    """Write views that are alike to `out`."""
    rows = _rows(images[0], views=len(images))

    def fill(part: slice) -> None:
        x, p, views = [x[part] for x in images], [p[part] for p in params], [view[part] for view in out]
        if rows > 1:
            _fill(torch.cat(x) if len(x) > 1 else x[0], ViewParams.join(*p), views, normalization, size)
        else:
            for image, drawn, view in zip(x, p, views, strict=True):
                normalize_images(apply_to_one(image, drawn, size), normalization, out=view)

    parts = [slice(start, start + rows) for start in range(0, len(images[0]), rows)]
    if rows == 1:
        parallel_for(fill, parts)
    else:
        for part in parts:
            fill(part)


def _fill(
    images: Tensor, params: ViewParams, views: list[Tensor], normalization: Normalization, size: int | None
) -> None:
    """Write the views of all images to `views`, the images of one view after those of the other."""
    x, positions = apply_to_batch(images, params, size)
    for index, view in zip(torch.split(positions, [len(view) for view in views]), views, strict=True):
        normalize_images(select(x, index, out=view), normalization, out=view)


def _empty_view(images: Tensor, size: int | None) -> Tensor:
    side = images.shape[2:] if size is None else (size, size)
    dtype = images.dtype if images.is_floating_point() else torch.float32
    return torch.empty(*images.shape[:2], *side, dtype=dtype, device=images.device)


def _rows(images: Tensor, views: int) -> int:
    """Images of a part: on a CPU as many as stay in the cache, equally many in each part, or one."""
    if images.device.type != "cpu" or not len(images):
        return max(1, len(images))
    if is_large(*images.shape[1:]):
        return 1
    parts = -(-views * 4 * images.numel() // CHUNK_BYTES)
    return -(-len(images) // parts)  # no last part of a few images: it would cost as many calls as a full one
