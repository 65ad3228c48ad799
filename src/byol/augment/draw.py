"""Draw every random number of a batch of views, before a pixel is touched."""

from collections.abc import Callable

import torch

from byol.augment import ops
from byol.augment.params import ViewParams
from byol.config.views import ViewConfig


def draw_view(config: ViewConfig, count: int, generator_of: Callable[[str], torch.Generator]) -> ViewParams:
    """Draw one view's numbers for `count` images, with the official code's distributions.

    (deepmind-research/byol at f5de0ed: utils/augmentations.py:291-430, utils/dataset.py:206-233.)

    Each operation has a generator of its own, so adding, removing or changing one leaves the numbers of all others as
    they are. Numbers are drawn for every image, whether the operation is applied to it or not, so an image's numbers do
    not depend on its neighbors'. They are drawn on the CPU: every device sees the same ones.

    Args:
        config: the probabilities and ranges of the view.
        count: images of the whole batch; processes and micro-batches take slices of the result.
        generator_of: a CPU generator for an operation's name.
    """
    return ViewParams(
        {
            operation.name: operation.draw(config, count, generator_of(operation.name))
            for operation in ops.OPERATIONS
            if operation.draw is not None
        }
    )


def draw_spatial(config: ViewConfig, count: int, generator_of: Callable[[str], torch.Generator]) -> ViewParams:
    """The same, of crops and flips alone: whatever else there is in the table is applied to no image."""
    numbers = dict(draw_view(config, count, generator_of).numbers)
    for operation in ops.others():
        if operation.name in numbers:
            nowhere = torch.zeros(count, dtype=torch.bool)
            numbers[operation.name] = {**numbers[operation.name], ops.APPLIED: nowhere}
    return ViewParams(numbers)
