"""Which network weights belong to, by their names and shapes: ResNets of any width, vision transformers."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm
from torch import Tensor

from byol.config.encoder import EncoderSpec, Stem
from byol.encoders.names import SHALLOW, fixed_input_size
from byol.encoders.sizes import STEM_SIZES
from byol.encoders.weights.found import Stated

BASIC: dict[tuple[int, ...], str] = {(1, 1, 1, 1): "resnet10", (2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet34"}
BOTTLENECK: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "resnet26",
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
    (3, 8, 36, 3): "resnet152",
    (3, 24, 36, 3): "resnet200",
}
"""Residual blocks per stage, and the ResNet that has so many (arXiv:1512.03385, Table 1)."""
TRANSFORMERS: dict[tuple[int, int], str] = {
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1280, 32): "huge",
}
"""Width and depth of the usual vision transformers (arXiv:2010.11929, Table 1; arXiv:2012.12877, Table 1)."""
FIRST_LAYERS: dict[int, Stem] = {7: "standard", 3: "small"}
"""Side of a ResNet's first convolution, and the stem that it stands for."""


def find_architecture(weights: Mapping[str, Any], stated: Stated) -> EncoderSpec | None:
    """The encoder that weights belong to; None where names and shapes do not tell.

    Args:
        weights: an encoder's, by the names of torchvision's and timm's networks.
        stated: what the file states besides.
    """
    if stated.spec is not None:
        return stated.spec
    shapes = {key: tuple(value.shape) for key, value in weights.items() if isinstance(value, Tensor)}
    spec = _resnet(shapes, stated) or _transformer(shapes) or _named(stated)
    if spec is None:
        return None
    return completed(spec, stated)


def completed(spec: EncoderSpec, stated: Stated) -> EncoderSpec:
    """An encoder with what a file states besides its weights: heads, mean and deviation, size of the images."""
    if stated.heads is not None and spec.heads is None:
        spec = replace(spec, heads=stated.heads)
    if stated.padding is not None:
        spec = replace(spec, padding=stated.padding)
    if stated.normalization is not None and len(stated.normalization.mean) == spec.channels:
        spec = replace(spec, mean=stated.normalization.mean, std=stated.normalization.std)
    return replace(spec, input_size=stated.input_size or spec.input_size or _usual_size(spec))


def _usual_size(spec: EncoderSpec) -> int:
    return spec.native_size or fixed_input_size(spec.name) or STEM_SIZES[spec.stem]


def _resnet(shapes: Mapping[str, tuple[int, ...]], stated: Stated) -> EncoderSpec | None:
    first = shapes.get("conv1.weight")
    if first is None or len(first) != 4 or first[-1] not in FIRST_LAYERS or "layer4.0.conv2.weight" not in shapes:
        return None
    blocks = tuple(_count(shapes, rf"layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4))
    deep = "layer4.0.conv3.weight" in shapes
    name = (BOTTLENECK if deep else BASIC).get(blocks)
    if name is None:
        return None
    inner, per_group = shapes["layer4.0.conv2.weight"][:2]
    planes = shapes["layer4.0.conv3.weight"][0] // 4 if deep else inner
    width = planes / 512
    if per_group != inner:
        name = f"{name.replace('resnet', 'resnext')}_{inner // per_group}x{per_group // 8}d"
    elif inner == 2 * planes:
        name = f"wide_{name}_2"
    if name not in SHALLOW and not timm.is_model(name):
        return _named(stated)
    stem = stated.stem or FIRST_LAYERS[first[-1]]
    return EncoderSpec.of(name, first[1], width=width, stem=stem)


def _transformer(shapes: Mapping[str, tuple[int, ...]]) -> EncoderSpec | None:
    patches, positions = shapes.get("patch_embed.proj.weight"), shapes.get("pos_embed")
    if patches is None or positions is None or len(patches) != 4 or len(positions) != 3:
        return None
    kind = TRANSFORMERS.get((patches[0], _count(shapes, r"blocks\.(\d+)\.norm1\.weight")))
    extra = sum(shapes[key][1] for key in ("cls_token", "reg_token") if key in shapes)
    side, patch = math.isqrt(max(0, positions[1] - extra)), patches[-1]
    if "reg_token" in shapes:  # timm adds no positions to the tokens of such networks
        side = math.isqrt(positions[1])
    if "blocks.0.ls1.gamma" in shapes:
        name = f"vit_{kind}_patch{patch}_{'reg4_' if 'reg_token' in shapes else ''}dinov2"
    else:
        name = f"vit_{kind}_patch{patch}_224"
    if kind is None or not timm.is_model(name):
        return None
    size = side * patch
    native = None if size == fixed_input_size(name) else size
    return EncoderSpec.of(name, patches[1], native_size=native)


def _named(stated: Stated) -> EncoderSpec | None:
    """The architecture that the file names, where timm has one of that name."""
    name = (stated.architecture or "").partition(".")[0]
    return EncoderSpec(name=name) if name and timm.is_model(name) else None


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    return len({found[1] for key in shapes if (found := re.fullmatch(pattern, key))})
