"""Build an encoder from its spec: any timm model, the paper's wider ResNets, and stems for small images."""

from functools import cache
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from byol.config.encoder import EncoderSpec, Stem
from byol.encoders.init import initialize, scale_weights
from byol.encoders.names import SHALLOW, check_name, fixed_input_size
from byol.encoders.padding import pad_as_tensorflow
from byol.errors import UserError

USUAL_SIZE = 224
"""Side of the images with which an encoder is tried that is bound to none."""


def make_encoder(spec: EncoderSpec | str, *, channels: int = 3, **settings: Any) -> nn.Module:
    """Build an encoder: images (N, channels, H, W) -> features (N, encoder.num_features).

    Its weights are fresh; `byol.encoders.start.start_encoder` also loads those that a spec names.

    Args:
        spec: which encoder; or its name, with the other settings of an `EncoderSpec` as keywords.
        channels: of the images, where `spec` is a name.

    Raises:
        UserError: an unknown name, a tag whose weights would not be loaded, a width or a stem that the family does not
            have, or a network that gives no vector per image.
    """
    if isinstance(spec, str):
        spec = EncoderSpec.of(spec, channels, **settings)
    check_name(spec)
    name = spec.architecture
    kwargs = timm_arguments(spec)
    if name in SHALLOW:
        name, kwargs["layers"] = SHALLOW[name]
    if issubclass(_entry_class(name), ResNet):
        kwargs["zero_init_last"] = spec.zero_init_last
        if spec.width != 1:
            kwargs["channels"] = tuple(_scaled(c, spec.width) for c in (64, 128, 256, 512))
    elif spec.width != 1 or spec.stem != "standard" or spec.padding != "symmetric":
        given = f"width {spec.width:g}" if spec.width != 1 else f"the stem {spec.stem!r}"
        given = given if spec.width != 1 or spec.stem != "standard" else f"the padding {spec.padding!r}"
        raise UserError(f"Encoder {name!r} is no ResNet, so {given} means nothing for it; leave it at its default.")
    try:
        encoder: nn.Module = timm.create_model(name, pretrained=False, **kwargs)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        built_for = f" for images of {spec.native_size} px" if spec.native_size else ""
        raise UserError(
            f"timm cannot build {name!r} with {spec.channels} input channels and width {spec.width:g}{built_for}: "
            f"{error}"
        ) from error
    if isinstance(encoder, ResNet):
        if spec.width != 1:
            _widen_stem(encoder, _scaled(64, spec.width))
        if spec.stem != "standard":
            _replace_stem(encoder, spec.stem)
        if spec.padding == "same":
            pad_as_tensorflow(encoder)
    if spec.init == "official":
        initialize(encoder)
        if isinstance(encoder, ResNet) and spec.zero_init_last:
            for block in encoder.modules():
                if hasattr(block, "zero_init_last"):
                    block.zero_init_last()
    if not isinstance(encoder, ResNet) and (count := _returned_features(spec.untrained())):
        encoder.num_features = count  # type: ignore[assignment]
    if spec.init_scale != 1:
        scale_weights(encoder, spec.init_scale)
    return encoder


def timm_arguments(spec: EncoderSpec) -> dict[str, Any]:
    """What `timm.create_model` is told of an encoder of any family."""
    size = {} if spec.native_size is None else {"img_size": spec.native_size}
    heads = {} if spec.heads is None else {"num_heads": spec.heads}
    return {"num_classes": 0, "in_chans": spec.channels, **size, **heads}


@cache
def _returned_features(spec: EncoderSpec) -> int | None:
    """Length of the vectors that `forward` really returns: some families widen the pooled features once more.

    None where the encoder does not take images of the size that was tried.
    """
    size = spec.native_size or fixed_input_size(spec.name) or spec.input_size or USUAL_SIZE
    with torch.device("meta"), torch.no_grad():
        encoder = timm.create_model(spec.architecture, pretrained=False, **timm_arguments(spec)).eval()
        try:
            shape = tuple(encoder(torch.empty(2, spec.channels, size, size)).shape)
        except (AssertionError, RuntimeError, ValueError, AttributeError):
            return None
    if len(shape) != 2:
        raise UserError(
            f"The encoder {spec.name!r} returns features of shape (N, {', '.join(map(str, shape[1:]))}) instead of one "
            "vector per image; give another --encoder."
        )
    return int(shape[1])


def feature_count(encoder: nn.Module) -> int:
    """Length of the feature vectors that an encoder gives."""
    return int(encoder.num_features)  # type: ignore[arg-type]


@cache
def _entry_class(name: str) -> type[nn.Module]:
    """Class of a timm model, found without allocating its weights twice on the device of work."""
    with torch.device("meta"):
        return type(timm.create_model(name, pretrained=False, num_classes=0))


LEAST_CHANNELS = 16
"""Fewest channels of a stage. PyTorch 2.14 on a processor (oneDNN 3.12) corrupts memory in the bf16 backward pass of a
strided 1x1 convolution of 8 or 12 channels over an odd number of images."""


def _scaled(channels: int, width: float) -> int:
    return max(LEAST_CHANNELS, round(channels * width))


def _widen_stem(encoder: ResNet, channels: int) -> None:
    """Give a ResNet's stem `channels` outputs: timm scales the stages but keeps the stem at 64."""
    if not isinstance(encoder.conv1, nn.Conv2d):
        raise UserError("Width multiplies plain ResNets only; this encoder has a deep stem. Use resnet18 to resnet200.")
    encoder.conv1 = _conv_like(encoder.conv1, out_channels=channels)
    encoder.bn1 = nn.BatchNorm2d(channels)
    first = encoder.layer1[0]
    first.conv1 = _conv_like(first.conv1, in_channels=channels)
    out_channels = (first.conv3 if hasattr(first, "conv3") else first.conv2).out_channels
    if out_channels == channels:  # a basic block keeps its identity shortcut, as at width 1
        first.downsample = None
    else:  # timm made none where the stage happened to be as wide as its stem of 64
        shortcut = nn.Conv2d(channels, out_channels, 1, bias=False)
        first.downsample = nn.Sequential(_conv_like(shortcut), nn.BatchNorm2d(out_channels))
    encoder.feature_info[0]["num_chs"] = channels


def _replace_stem(encoder: ResNet, stem: Stem) -> None:
    if not isinstance(encoder.conv1, nn.Conv2d):
        raise UserError("The small stems are for plain ResNets only (resnet18 to resnet200); leave the stem standard.")
    encoder.conv1 = _conv_like(
        encoder.conv1, kernel_size=3, stride=2 if stem == "stride2" else 1, padding=2 if stem == "padded" else 1
    )
    encoder.maxpool = nn.Identity()


def _conv_like(
    conv: nn.Conv2d,
    *,
    in_channels: int | None = None,
    out_channels: int | None = None,
    kernel_size: int | None = None,
    stride: int | None = None,
    padding: int | None = None,
) -> nn.Conv2d:
    new = nn.Conv2d(
        in_channels or conv.in_channels,
        out_channels or conv.out_channels,
        kernel_size or conv.kernel_size,  # type: ignore[arg-type]
        stride or conv.stride,  # type: ignore[arg-type]
        conv.padding if padding is None else padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")  # as timm starts a ResNet
    return new


def parameter_count(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def features_of(encoder: nn.Module, images: Tensor) -> Tensor:
    """Features of normalized images, (N, C, H, W) -> (N, D) float32, whatever the precision of the pass."""
    output: Tensor = encoder(images)
    return output.flatten(1).float()
