"""TensorFlow's SAME padding for a ResNet: what is left over after halving goes to the end."""

from timm.layers import Conv2dSame, create_pool2d
from timm.models.resnet import ResNet
from torch import nn


def pad_as_tensorflow(encoder: ResNet) -> None:
    """Let a ResNet pad as networks of TensorFlow and Haiku do; names and shapes of its weights stay.

    Only layers with a stride and a kernel of more than one pixel pad otherwise.
    """
    for name, layer in list(encoder.named_modules()):
        if isinstance(layer, nn.Conv2d) and layer.stride[0] > 1 and layer.kernel_size[0] > 1:
            same = Conv2dSame(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                stride=layer.stride,
                groups=layer.groups,
                bias=layer.bias is not None,
            )
            same.weight, same.bias = layer.weight, layer.bias
            _put(encoder, name, same)
        elif isinstance(layer, nn.MaxPool2d):
            _put(encoder, name, create_pool2d("max", layer.kernel_size, stride=layer.stride, padding="same"))


def _put(encoder: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(encoder.get_submodule(parent), child, layer)
