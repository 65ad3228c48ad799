"""The official networks, made of ours: timm's ResNet and our heads, with the official geometry and batch norm.

Ours differ from the official code in three ways, as every PyTorch ResNet does: symmetric padding, no projection
shortcut where the shapes already agree, and a plain running average in batch norm. This module undoes those three, and
leaves the layers, their order and their weights to the code under test.
"""

import math

import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock, Bottleneck, ResNet, downsample_conv
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from byol.config.encoder import EncoderSpec
from byol.encoders.build import make_encoder
from byol.methods.heads import MLP
from golden_names import Arrays, batch_norm_states


def normalize_images(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] as the networks take them."""
    config = EncoderSpec()
    mean, std = (torch.tensor(v, dtype=images.dtype).view(3, 1, 1) for v in (config.mean, config.std))
    return (images - mean) / std


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding: what is left over after halving goes to the end."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    height, width = x.shape[-2:]
    return F.pad(x, (*same_padding(width, kernel, stride), *same_padding(height, kernel, stride)), value=value)


class SameConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(pad_same(x, self.kernel_size[0], self.stride[0], 0.0), self.weight, None, self.stride)


class SameMaxPool2d(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(pad_same(x, 3, 2, -math.inf), 3, 2)


class HaikuBatchNorm(_BatchNorm):
    """Batch norm with Haiku's running averages: biased variance, and the bias towards the start divided out."""

    decay = 0.9

    def __init__(self, like: _BatchNorm) -> None:
        super().__init__(like.num_features, eps=like.eps)
        self.weight, self.bias = like.weight, like.bias
        for statistic in ("mean", "var"):
            self.register_buffer(f"{statistic}_hidden", torch.zeros(like.num_features))
            self.register_buffer(f"{statistic}_average", torch.zeros(like.num_features))
        self.counter = 0

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim in (2, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.mean_average, self.var_average, self.weight, self.bias, eps=self.eps)
        with torch.no_grad():
            values = x.transpose(0, 1).flatten(1)
            self.counter += 1
            for statistic, value in (("mean", values.mean(1)), ("var", values.var(1, correction=0))):
                hidden, average = getattr(self, f"{statistic}_hidden"), getattr(self, f"{statistic}_average")
                hidden.lerp_(value, 1 - self.decay)
                average.copy_(hidden / (1 - self.decay**self.counter))
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def replace(root: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, new)


def make_official(network: nn.Module) -> nn.Module:
    """Give a network of ours the official padding, shortcuts and batch norm, in place; names and weights stay."""
    if isinstance(network, ResNet) and network.layer1[0].downsample is None:
        channels = network.conv1.out_channels
        network.layer1[0].downsample = downsample_conv(channels, channels, kernel_size=1)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            assert module.groups == 1
            new = SameConv2d(module.in_channels, module.out_channels, module.kernel_size, module.stride, bias=False)
            new.weight = module.weight
            replace(network, name, new)
        elif isinstance(module, nn.MaxPool2d):
            assert (module.kernel_size, module.stride) == (3, 2)
            replace(network, name, SameMaxPool2d())
        elif isinstance(module, _BatchNorm):
            replace(network, name, HaikuBatchNorm(module))
    return network


def official_encoder(config: dict) -> nn.Module:
    """The encoder of a case: `cls` is the official class."""
    kind = config["cls"]
    if kind in ("ResNet18", "ResNet50"):
        encoder = make_encoder(kind.lower(), width=config["width_multiplier"])
    elif kind == "TinyResNet":
        # utils/networks.py:154: one basic block of 8 channels per stage; the stem is a full one.
        encoder = ResNet(BasicBlock, (1, 1, 1, 1), num_classes=0, channels=(8, 8, 8, 8))
    else:
        assert kind == "ResNetTorso"
        block = Bottleneck if config["bottleneck"] else BasicBlock
        channels = tuple(c // block.expansion for c in config["channels_per_group"])
        encoder = ResNet(block, tuple(config["blocks_per_group"]), num_classes=0, channels=channels)
    return make_official(encoder)


def official_heads(features: int, projector_hidden: int, projection: int, predictor_hidden: int) -> nn.ModuleDict:
    """Our two heads, with the official batch norm."""
    return nn.ModuleDict(
        {
            "projector": make_official(MLP(features, projector_hidden, projection)),
            "predictor": make_official(MLP(projection, predictor_hidden, projection)),
        }
    )


@torch.no_grad()
def load_parameters(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Set every parameter; the names on both sides must be the same set."""
    ours = dict(network.named_parameters())
    assert ours.keys() == weights.keys(), sorted(ours.keys() ^ weights.keys())
    for name, parameter in ours.items():
        assert parameter.shape == weights[name].shape, name
        parameter.copy_(weights[name])


@torch.no_grad()
def load_state(network: nn.Module, arrays: Arrays, prefix: str) -> None:
    """Set the running averages of every batch norm."""
    states = dict(batch_norm_states(arrays, prefix))
    norms = {name: m for name, m in network.named_modules() if isinstance(m, HaikuBatchNorm)}
    assert norms.keys() == states.keys(), sorted(norms.keys() ^ states.keys())
    for name, norm in norms.items():
        state = states[name]
        for key in ("mean_hidden", "mean_average", "var_hidden", "var_average"):
            getattr(norm, key).copy_(torch.from_numpy(state[key]))
        assert state["mean_counter"] == state["var_counter"]
        norm.counter = int(state["mean_counter"].item())
