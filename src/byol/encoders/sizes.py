"""Sizes of images that an encoder takes: tried with shapes alone, and chosen where it is bound to one."""

import dataclasses
import math
import warnings
from functools import cache

import torch
from torch import nn

from byol.config.encoder import EncoderSpec, Stem
from byol.encoders.build import make_encoder
from byol.encoders.names import check_name, fixed_input_size
from byol.errors import UserError

STEM_SIZES: dict[Stem, int] = {"standard": 224, "stride2": 64, "small": 32, "padded": 32}
"""Side of the images of an encoder whose size was not given: what each stem is meant for."""
UNITS = (14, 16, 32)
"""Pixels of which transformers' images are multiples: the sides of their patches, and of the last stage's places."""
LARGEST_TRIED = 256
"""Side of the largest images that are tried for an encoder that is bound to no size."""


@cache
def unsupported_reason(spec: EncoderSpec, size: int) -> str:
    """Why an encoder takes no square images of a size in pixels; empty where it does.

    Raises:
        UserError: there is no such encoder, or it gives no vector per image.
    """
    with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong is the reason
        encoder = make_encoder(spec.untrained()).eval()
        if inside := _resized_inside(encoder, size):
            return f"it would enlarge them to {inside} px, at the cost of that size"
        if spec.native_size and (edge := _edge_left_out(encoder, size)):
            return f"its patches would leave out the last {edge} px"
        try:
            encoder(torch.empty(2, spec.channels, size, size))
        except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())[:100]
            return said if " " in said else "its layers do not fit such images"
    return ""


def fitted(spec: EncoderSpec, size: int) -> EncoderSpec:
    """The encoder built for images of a size, where the one that timm has takes no such images and can be so built.

    Raises:
        UserError: as `unsupported_reason`.
    """
    if spec.native_size is not None or fixed_input_size(spec.name) is None or not unsupported_reason(spec, size):
        return spec
    built = dataclasses.replace(spec, native_size=size)
    try:
        return spec if unsupported_reason(built, size) else built
    except UserError:  # timm cannot build it for another size
        return spec


def nearest_size(spec: EncoderSpec, size: int) -> int:
    """The smallest size from `size` on of which an encoder takes images; `size` itself where none is found.

    Raises:
        UserError: as `unsupported_reason`.
    """
    largest = fixed_input_size(spec.name) or LARGEST_TRIED
    multiples = {unit * math.ceil(part * size / unit) for unit in UNITS for part in (1, 1.5, 2, 3)}
    tried = [size, *sorted(side for side in multiples if size < side < largest), largest]
    return next((side for side in tried if not unsupported_reason(fitted(spec, side), side)), size)


def check_size(spec: EncoderSpec, size: int, flag: str) -> None:
    """See that an encoder takes images of a size in pixels, which a flag has set.

    Raises:
        UserError: it does not; or it takes no images of such channels.
    """
    check_name(spec)
    why = unsupported_reason(spec, size)
    if not why:
        return
    colored = spec.for_channels(3)
    taken = nearest_size(colored, size)
    if spec.channels != 3 and not unsupported_reason(colored, taken) and unsupported_reason(fitted(spec, taken), taken):
        raise UserError(
            f"The encoder {spec.name!r} takes images of 3 channels only, not of {spec.channels}; give --data.channels "
            "3, or another --encoder."
        )
    taken = spec.native_size or taken
    there = f"{flag} {taken}" if taken != size else f"a larger {flag}, or another --encoder"
    raise UserError(f"The encoder {spec.name!r} takes no images of {size} px ({why}); give {there}.")


def _resized_inside(encoder: nn.Module, size: int) -> int | None:
    """The side to which a network of two scales (CrossViT) enlarges smaller images itself."""
    scaled = getattr(encoder, "img_size_scaled", None)
    return None if scaled is None or max(scaled[0]) <= size else int(max(scaled[0]))


def _edge_left_out(encoder: nn.Module, size: int) -> int:
    """Pixels at the lower and right edges that no patch covers."""
    patch = getattr(getattr(encoder, "patch_embed", None), "patch_size", None)
    side = patch[0] if isinstance(patch, tuple) else patch
    return size % side if isinstance(side, int) else 0
