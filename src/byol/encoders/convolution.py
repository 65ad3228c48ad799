"""Convolutions whose weight gradients are matrix products where a CPU's own way is slow: few outputs, many channels."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_OUTPUTS = 16
"""Outputs of an image, height times width, up to which the products are faster (docs/speed.md)."""
FEW_OUTPUTS_OF_MANY_CHANNELS = 49
"""The same for at least `MANY_CHANNELS` channels in and out."""
MANY_CHANNELS = 512


def speed_up_convolutions(network: nn.Module) -> None:
    """Let the plain convolutions of a network take their weight gradients from matrix products where that is faster.

    The weights, their names and the outputs stay what they are; in training in bf16 on a CPU, gradients of weights
    differ by rounding. Other devices, float32 and evaluations compute as before.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = ProductConv2d


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether nothing but kernel, stride and padding with zeros is asked for."""
    plain = layer.groups == 1 and set(layer.dilation) == {1} and layer.bias is None
    return plain and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


class ProductConv2d(nn.Conv2d):
    """A convolution without bias, groups and dilation; see `speed_up_convolutions`."""

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to (N, D, H', W')."""
        if not (self._is_in_bf16_on_cpu(x) and torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(x)
        if not self.has_few_outputs(tuple(x.shape[2:])):
            return super().forward(x)
        layer = (self.stride, self.padding)
        return ConvolutionByProducts.apply(x.bfloat16(), self.weight.bfloat16(), *layer)  # type: ignore[no-any-return]

    @staticmethod
    def _is_in_bf16_on_cpu(x: Tensor) -> bool:
        mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        return x.device.type == "cpu" and mixed

    def has_few_outputs(self, size: tuple[int, ...]) -> bool:
        """Whether products are faster for inputs of this height and width."""
        assert not isinstance(self.padding, str)
        layer = zip(size, self.kernel_size, self.stride, self.padding, strict=True)
        outputs = math.prod((side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in layer)
        many = min(self.in_channels, self.out_channels) >= MANY_CHANNELS
        return outputs <= (FEW_OUTPUTS_OF_MANY_CHANNELS if many else FEW_OUTPUTS)


class ConvolutionByProducts(torch.autograd.Function):
    """A convolution as PyTorch computes it, but for the gradient of its weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        """x is (N, C, H, W), weight (D, C, h, w)."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of x and weight."""
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_x = None
        if ctx.needs_input_grad[0]:
            wanted = (True, False, False)
            of_x, _, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, wanted
            )
        of_weight = weight_gradient(x, gradient, weight.shape[2:], ctx.stride, ctx.padding)
        return of_x, of_weight, None, None


def weight_gradient(
    x: Tensor, gradient: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient of a convolution's weights (D, C, h, w): for each place in the kernel, a product over all outputs
    that see the image there.

    Args:
        x: input, (N, C, H, W).
        gradient: of the output, (N, D, H', W').
        kernel, stride, padding: of the layer, rows and columns.
    """
    pixels, outputs = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
    weights = x.new_zeros(*kernel, outputs.shape[3], pixels.shape[3])
    for row in range(kernel[0]):
        out_rows, in_rows = _seen(row, pixels.shape[1], outputs.shape[1], stride[0], padding[0])
        for column in range(kernel[1]):
            out_columns, in_columns = _seen(column, pixels.shape[2], outputs.shape[2], stride[1], padding[1])
            left = outputs[:, out_rows, out_columns].reshape(-1, outputs.shape[3])
            right = pixels[:, in_rows, in_columns].reshape(-1, pixels.shape[3])
            if len(left):
                torch.mm(left.T, right, out=weights[row, column])
    return weights.permute(2, 3, 0, 1)


def _seen(place: int, inputs: int, outputs: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Along one axis: the outputs for which a place in the kernel lies on the image, and the inputs there."""
    offset = place - padding
    first = max(0, -(offset // stride))
    last = min(outputs, (inputs - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)
