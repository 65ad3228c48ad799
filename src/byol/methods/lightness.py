"""Light and color of normalized images: CIE Lab, gray images, and encoders that look at the gray alone."""

import torch
from torch import Tensor, nn

from byol.augment.color import GRAY_WEIGHTS
from byol.config.views import Normalization
from byol.methods.normalization import to_float32

TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""Linear sRGB to CIE XYZ (ITU-R BT.709 primaries, white D65)."""
WHITE = (0.95047, 1.0, 1.08883)
"""XYZ of the white D65, 2 degrees."""
EDGE = 0.008856
"""Where the cube root of CIE Lab becomes a line."""


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1], (N, 3, H, W), to CIE Lab: L in [0, 100], a and b from about -110 to 110."""
    rgb = to_float32(rgb)
    linear = torch.where(rgb > 0.04045, ((rgb.clamp_min(0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = torch.tensor(TO_XYZ, dtype=rgb.dtype, device=rgb.device)
    white = torch.tensor(WHITE, dtype=rgb.dtype, device=rgb.device).view(1, 3, 1, 1)
    xyz = torch.einsum("kc,nchw->nkhw", matrix, linear) / white
    root = torch.where(xyz > EDGE, xyz.clamp_min(EDGE) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


class Colors(nn.Module):
    """The colors of images (N, 3, H, W) that a normalization has been applied to.

    Args:
        normalization: of the views.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        # constants, and no state of the run
        self.register_buffer("mean", torch.tensor(normalization.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(normalization.std).view(1, -1, 1, 1), persistent=False)

    def rgb(self, images: Tensor) -> Tensor:
        """The images in [0, 1]."""
        return (images * self.std + self.mean).clamp(0, 1)

    def lab(self, images: Tensor) -> Tensor:
        """The images in CIE Lab."""
        with torch.autocast(images.device.type, enabled=False):  # a hundred levels need more digits than bf16 has
            return rgb_to_lab(self.rgb(images))

    def gray(self, images: Tensor) -> Tensor:
        """Normalized images without color: their luma in all three channels."""
        values = images * self.std + self.mean
        luma = (values * self._weights(images)).sum(1, keepdim=True)
        return (luma - self.mean) / self.std

    @torch.no_grad()
    def see_gray_alone(self, encoder: nn.Module) -> None:
        """Change an encoder's first convolution as little as possible, so that it sees of a color its luma alone.

        An encoder that is trained on gray images would otherwise meet color for the first time when it is used, with
        whatever its weights were at the start. Here it gives the same features for an image and its gray copy.
        """
        first = next((m for m in encoder.modules() if isinstance(m, nn.Conv2d)), None)
        if first is None or first.in_channels != 3:
            return
        # weights of normalized channels that respond to luma are proportional to these
        direction = self._weights(first.weight) * self.std.to(first.weight.dtype)
        share = (first.weight * direction).sum(1, keepdim=True) / direction.square().sum()
        first.weight.copy_(share * direction)

    def _weights(self, like: Tensor) -> Tensor:
        """Of red, green and blue in luma; their sum is 1."""
        weights = torch.tensor(GRAY_WEIGHTS, dtype=like.dtype, device=like.device)
        return (weights / weights.sum()).view(1, 3, 1, 1)
