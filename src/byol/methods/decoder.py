"""A decoder: from the last feature map of an encoder to an image of any number of channels."""

import math

from torch import nn

LEAST_CHANNELS = 16
"""Fewest channels of a layer."""


class Decoder(nn.Sequential):
    """(N, features, side, side) -> (N, channels, size, size).

    Each block doubles the side by repetition, and has a 3 x 3 convolution with batch norm and ReLU; the number of
    channels is halved each time. (Repetition before a convolution leaves no checkerboard, as a transposed one does.)

    Args:
        features: channels of the map.
        side: of the map.
        channels: of the result.
        size: side of the result, at least that of the map.
        width: channels of the first block.
    """

    def __init__(self, features: int, side: int, channels: int, size: int, width: int) -> None:
        layers: list[nn.Module] = []
        for number in range(max(1, math.ceil(math.log2(size / side)))):
            side = min(2 * side, size)
            to = max(LEAST_CHANNELS, width >> number)
            layers += [nn.Upsample(size=side), nn.Conv2d(features, to, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(to), nn.ReLU(True)]
            features = to
        super().__init__(*layers, nn.Conv2d(features, channels, 3, padding=1))
