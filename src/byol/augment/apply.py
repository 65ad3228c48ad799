"""Walk the table of operations over a batch, or over one image: pure functions of pixels and drawn numbers."""

import torch
from torch import Tensor

from byol.augment import crop, ops
from byol.augment.normalize import as_float
from byol.augment.ops import APPLIED, Operation
from byol.augment.params import OneImage, ViewParams, pick


def apply_operations(images: Tensor, params: ViewParams, size: int | None = None) -> Tensor:
    """Apply all operations where they were drawn, in the official order (utils/augmentations.py:69-120).

    Args:
        images: with `size` whole images (N, C, H, W), otherwise crops (N, C, S, S); uint8 or float in [0, 1].
        params: what was drawn for them.
        size: side of the crops, where they are still to be made.

    Returns:
        (N, C, S, S) floats in [0, 1]. Operations that need red, green and blue are left out without three channels.
    """
    if len(images) == 1:
        return apply_to_one(images, params, size)
    x, position = apply_to_batch(images, params, size)
    return select(x, position)


def apply_to_batch(images: Tensor, params: ViewParams, size: int | None) -> tuple[Tensor, Tensor]:
    """Apply all operations to a batch; arguments as for `apply_operations`.

    Operations that work on runs of neighbors change the order of the images. It costs least to bring them into the
    first order while they are bytes, and back into their own where they are copied anyway.

    Returns:
        (N, C, S, S) in [0, 1], and (N,) int64, the position of each image there.
    """
    geometric, others = ops.geometric(), ops.others()
    plans = {operation: operation.plan(params.numbers[operation.name]) for operation in others if operation.plan}
    order = next((plan.before for plan in plans.values()), torch.arange(len(images)))
    x = select(images, order)
    if size is not None:
        x = crop.crop_views(x, params[order], size)
    else:
        for operation in geometric:
            x = apply_where_drawn(x, operation, params, order)
        x = as_float(x)
    for operation in others:
        if operation in plans:
            plan = plans[operation]
            if order is not plan.before:
                x = select(x, order.argsort()[plan.before])
            x, order = plan.apply(x), plan.after
        else:
            x = apply_where_drawn(x, operation, params, order)
    return x, order.argsort()


def apply_where_drawn(x: Tensor, operation: Operation, params: ViewParams, order: Tensor | None = None) -> Tensor:
    """Apply an operation to the images it was drawn for, in place.

    The numbers are on the CPU, so nothing waits for a GPU to learn how many images there are.

    Args:
        x: (N, C, H, W), overwritten.
        operation: which.
        params: what was drawn, for the images in their own order.
        order: (N,) int64, the image at each position of `x`; None for their own order.
    """
    if not operation.suits(x):
        return x
    if operation.draw is None:
        return operation.changed(x, {})
    numbers = params.numbers[operation.name]
    numbers = numbers if order is None else pick(numbers, order)
    applied = numbers.get(APPLIED, torch.ones(len(x), dtype=torch.bool))
    index = applied.nonzero().squeeze(1)
    if len(index) == 0:
        return x
    some = len(index) < len(x)
    values = {
        key: (t[index] if some else t).to(x.device, non_blocking=True) for key, t in numbers.items() if key != APPLIED
    }
    if not some:
        return operation.changed(x, values)
    on_device = index.to(x.device, non_blocking=True)
    return x.index_copy_(0, on_device, operation.changed(x.index_select(0, on_device), values))


def apply_to_one(image: Tensor, params: ViewParams, size: int | None) -> Tensor:
    """`apply_operations` for one image (1, C, H, W), without the bookkeeping of a batch."""
    values = params.one_by_one()[0]
    if size is None:
        return apply_to_one_crop(image, values)
    return _apply_others(crop.crop_views(image, params, size), values)


def apply_to_one_crop(image: Tensor, values: OneImage) -> Tensor:
    """Apply all operations to one crop (1, C, S, S), uint8 or float in [0, 1], which is left alone."""
    x = image
    for operation in ops.geometric():
        x = operation.one(x, values[operation.name])
    x = as_float(x)
    return _apply_others(x.clone() if x is image else x, values)


def _apply_others(x: Tensor, values: OneImage) -> Tensor:
    unclipped = False
    for operation in ops.others():
        if operation is ops.CLIP:  # left until something reads the pixels: it is a pass over them
            unclipped = True
        elif operation.is_applied(x, drawn := values.get(operation.name, {})):
            x = operation.changed(ops.CLIP.change(x, {}) if unclipped else x, drawn)
            unclipped = False
    return ops.CLIP.change(x, {}) if unclipped else x


def select(x: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    """The images at some positions, (n,) int64 on the CPU."""
    return torch.index_select(x, 0, index.to(x.device, non_blocking=True), out=out)
