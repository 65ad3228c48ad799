"""Networks: any timm encoder, the paper's wider ResNets, small-image stems, and the MLP heads."""

import math
from functools import cache
from typing import Literal

import timm
import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from byol.errors import UserError, nearest

Stem = Literal["standard", "stride2", "small"]
Init = Literal["timm", "official"]

SHALLOW: dict[str, tuple[str, tuple[int, ...]]] = {"resnet10": ("resnet18", (1, 1, 1, 1))}
"""ResNets that timm has no name for: the one they are cut from, and their residual blocks per stage."""


class MLP(nn.Sequential):
    """Projector or predictor: (N, in_features) -> (N, out_features).

    Linear layers with batch norm and ReLU between them (Section 3.3); all but the last have a bias, the last has none
    (official code, utils/networks.py:41-44). Depth counts linear layers (Appendix F.1); depth 1 is one linear layer.

    Args:
        in_features: size of the input vectors.
        hidden: width of each hidden layer, 4096 in the paper.
        out_features: size of the output vectors, 256 in the paper.
        depth: number of linear layers, 1 to 3 in the paper's study.
    """

    def __init__(self, in_features: int, hidden: int, out_features: int, depth: int = 2) -> None:
        if depth < 1:
            raise UserError(f"A head of depth {depth} has no layer; give 1 or more (the paper's is 2).")
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            # momentum 0.1 is the paper's decay rate of 0.9 (Appendix J)
            layers += [nn.Linear(in_features, hidden), nn.BatchNorm1d(hidden, eps=1e-5, momentum=0.1), nn.ReLU(True)]
            in_features = hidden
        super().__init__(*layers, nn.Linear(in_features, out_features, bias=False))


def fixed_input_size(name: str) -> int | None:
    """Side of the images that an encoder is bound to, as timm says of most transformers; None of others."""
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return int(known.input_size[-1]) if known is not None and known.fixed_input_size else None


@cache
def unsupported_reason(name: str, size: int, *, width: float = 1.0, stem: Stem = "standard", in_chans: int = 3) -> str:
    """Why an encoder, told as for `make_encoder`, takes no square images of a size; empty where it does."""
    with torch.device("meta"):
        encoder = make_encoder(name, width=width, stem=stem, in_chans=in_chans).eval()
        try:
            encoder(torch.empty(2, in_chans, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            return " ".join(str(error).split())[:100] or type(error).__name__
    return ""


def make_encoder(
    name: str,
    *,
    width: float = 1.0,
    stem: Stem = "standard",
    in_chans: int = 3,
    init: Init = "timm",
    zero_init_last: bool = False,
) -> nn.Module:
    """Build an untrained encoder: images (N, in_chans, H, W) -> features (N, encoder.num_features).

    Args:
        name: any timm model, `resnet50` for example.
        width: multiplies every channel of a ResNet, its stem too (Section 3.3); other families take 1 only.
        stem: of a ResNet: `standard` is 7x7 with stride 2 and a max-pool, for photographs; `stride2` is 3x3 with
            stride 2, no max-pool; `small` is 3x3 with stride 1, no max-pool, for images up to about 64 px.
        in_chans: channels of the images.
        init: `timm` leaves the library's own (He et al.); `official` is the released code's (`initialize`).
        zero_init_last: start every residual block of a ResNet as the identity, by a last batch-norm scale of 0. The
            released code does so for bottleneck blocks, the paper's results did not (its README), so it is off here.

    Raises:
        UserError: an unknown name, a width or a stem that the family does not have.
    """
    kwargs: dict[str, object] = {"num_classes": 0, "in_chans": in_chans}
    if name in SHALLOW:
        name, layers = SHALLOW[name]
        kwargs["layers"] = layers
    elif not timm.is_model(name):
        raise UserError(
            f"There is no encoder {name!r}.{nearest(name, timm.list_models())} Any name of timm.list_models() will do."
        )
    is_resnet = issubclass(_entry_class(name), ResNet)
    if is_resnet:
        kwargs["zero_init_last"] = zero_init_last
        if width != 1:
            kwargs["channels"] = tuple(_scaled(c, width) for c in (64, 128, 256, 512))
    elif width != 1 or stem != "standard":
        given = f"width {width:g}" if width != 1 else f"the stem {stem!r}"
        raise UserError(f"Encoder {name!r} is no ResNet, so {given} means nothing for it; leave it at its default.")
    try:
        encoder: nn.Module = timm.create_model(name, pretrained=False, **kwargs)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise UserError(
            f"timm cannot build {name!r} with {in_chans} input channels and width {width:g}: {error}"
        ) from error
    # what comes out: some families (MobileNet, VGG) widen the pooled features once more
    encoder.num_features = getattr(encoder, "head_hidden_size", None) or encoder.num_features
    if isinstance(encoder, ResNet):
        if width != 1:
            _widen_stem(encoder, _scaled(64, width))
        if stem != "standard":
            _replace_stem(encoder, stride=2 if stem == "stride2" else 1)
    if init == "official":
        initialize(encoder)
        if isinstance(encoder, ResNet) and zero_init_last:
            for block in encoder.modules():
                if hasattr(block, "zero_init_last"):
                    block.zero_init_last()
    return encoder


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


def _replace_stem(encoder: ResNet, stride: int) -> None:
    if not isinstance(encoder.conv1, nn.Conv2d):
        raise UserError("The small stems are for plain ResNets only (resnet18 to resnet200); leave the stem standard.")
    encoder.conv1 = _conv_like(encoder.conv1, kernel_size=3, stride=stride, padding=1)
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


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """Draw a network's weights as the released code does, by dm-haiku's defaults.

    Convolutions and linear layers come from a normal of standard deviation 1/sqrt(fan_in) cut at two standard
    deviations; biases are 0, batch-norm scales 1 and offsets 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            sigma = 1 / math.sqrt(layer.weight[0].numel())
            nn.init.trunc_normal_(layer.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()


@torch.no_grad()
def scale_weights(module: nn.Module, factor: float) -> None:
    """Multiply the weights of a network's convolutions and linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.mul_(factor)


def parameter_count(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def features_of(encoder: nn.Module, images: Tensor) -> Tensor:
    """Features of normalized images, (N, C, H, W) -> (N, D) float32, whatever the precision of the pass."""
    output: Tensor = encoder(images)
    return output.flatten(1).float()
