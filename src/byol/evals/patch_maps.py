"""Features of a vision transformer's patches as maps, for images of any size."""

from typing import Self

import timm
from torch import Tensor, nn

from byol.config.encoder import EncoderSpec
from byol.encoders.build import timm_arguments
from byol.encoders.load import LoadedEncoder


class PatchMaps(nn.Module):
    """A copy of a vision transformer: normalized images (N, C, H, W) -> features of patches (N, D, h, w), normalized.

    Positions are interpolated to the images' size, and the last patches are filled up, as timm does it.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    @classmethod
    def of(cls, encoder: LoadedEncoder) -> Self | None:
        """The maps of an encoder; None of one that has no patches, or that timm does not build for all sizes."""
        if encoder.spec is None or not hasattr(encoder.module, "patch_embed"):
            return None
        built = _for_any_size(encoder.spec)
        if built is None:
            return None
        built.load_state_dict(encoder.copy().state_dict(), strict=True)
        return cls(built)

    def forward_features(self, images: Tensor) -> Tensor:
        """The map after the last block and its normalization."""
        maps: list[Tensor] = self.transformer.forward_intermediates(  # type: ignore[operator]
            images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps[-1]


def _for_any_size(spec: EncoderSpec) -> nn.Module | None:
    try:
        built: nn.Module = timm.create_model(
            spec.architecture, pretrained=False, dynamic_img_size=True, dynamic_img_pad=True, **timm_arguments(spec)
        )
    except TypeError:  # a family whose grid is fixed, or that has none
        return None
    return built
